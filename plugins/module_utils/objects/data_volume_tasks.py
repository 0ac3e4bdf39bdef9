# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(data_volume): made, adopted or left alone, grown, and deleted only when nothing needs it."""

from __future__ import annotations

from collections.abc import Mapping

from ..cluster.client import Client
from ..cluster.declare import Outcome, read_many, remove
from ..cluster.errors import ClusterError, Forbidden, NotServed
from ..cluster.resource import Object, Resource
from ..cluster.shown import difference
from ..cluster.verdict import deleted
from ..cluster.wait import wait, wait_many
from ..machine import quantity
from ..task import Failure, Result, Task
from . import cdi, data_volumes
from .cdi import CDI_CONFIG, CDI_CONFIG_NAME, DATA_SOURCE, DATA_VOLUME, VOLUME_SNAPSHOT
from .claim_users import Users, may_clone, users
from .core import PVC, STORAGE_CLASS
from .kubevirt import at, label
from .lifecycle import Course, Group, Made, carry_out, differing, gathered_as, make

VOLUMES = Course(DATA_VOLUME, "data volume", ready={"status.phase": frozenset({"Succeeded"})}, failed={}, failing=())
_ORIGINS: Mapping[str, Resource] = {"PersistentVolumeClaim": PVC, "VolumeSnapshot": VOLUME_SNAPSHOT}


def declare_volumes(client: Client, task: Task) -> Result:
    """Run a task of C(data_volume). Raises Failure."""
    names = [task.params["name"]] if task.params["name"] else list(task.params["names"])
    if len(set(names)) < len(names):
        raise Failure("names: names a data volume twice.")
    for option in ("keep_claim", "force"):
        if task.params[option] and task.params["state"] == "present":
            raise Failure(f"{option}: means nothing with state: present; it is for absent.")
    if task.params["state"] == "absent":
        return _Removal(client, task, names).run()
    return _Presence(client, task, names).run()


def _read(client: Client, resource: Resource, namespace: str, names: list[str]) -> dict[str, Object]:
    found = read_many(client, resource, [(namespace, name) for name in names])
    return {name: item for (_namespace, name), item in found.items()}


class _Presence:
    """The volumes of one task, with their claims as they were last read."""

    def __init__(self, client: Client, task: Task, names: list[str]) -> None:
        self._client = client
        self._task = task
        self._params = task.params
        self._namespace: str = task.params["namespace"]
        self._names = names
        self._live = _read(client, DATA_VOLUME, self._namespace, names)
        self._claims = _read(client, PVC, self._namespace, names)
        self._config: Object | None = None
        self._checked: set[tuple[str, str, str]] = set()
        self._group = Group(
            VOLUMES,
            self._namespace,
            names,
            self._make,
            self._tell,
            "data_volumes",
            check=data_volumes.check(
                bind_now=task.params["bind_immediately"],
                counted={name: cdi.restarts(item) for name, item in self._live.items()},
            ),
            finish=self._finish,
            live={(self._namespace, name): item for name, item in self._live.items()},
            excuse=self._is_collected,
        )

    def run(self) -> Result:
        return carry_out(self._client, self._task, self._group)

    def _tell(self, volume: Object | None) -> Result:
        claim = self._claims.get(volume["metadata"]["name"]) if volume else None
        return data_volumes.tell(volume, claim)

    def _make(self, name: str, live: Object | None) -> Made:
        claim = self._claims.get(name)
        if live is None and claim is not None and data_volumes.is_collected(claim) and not self._params["adopt"]:
            self._group.settled.add(name)
            outcome = Outcome(DATA_VOLUME, "unchanged", None, None)
            grown = self._grow(name, None, claim)
            return outcome, {**data_volumes.tell(None, claim), "expanded": False, **grown}
        if live is None and claim is not None:
            self._refuse_claim(name, claim)
        desired = data_volumes.manifest(name, self._params, live, claim)
        if live is not None and self._params["recreate_unfilled"] and self._is_to_go(live, desired):
            self._clear_unfilled(live)
            if self._task.check_mode:
                return Outcome(DATA_VOLUME, "updated", live, desired), {"expanded": False}
            live = None
        if live is None:
            self._check_source(desired)
        outcome = make(self._client, VOLUMES, desired, live, self._task)
        grown = self._grow(name, live, claim) if live is not None and claim is not None else {}
        return outcome, {"expanded": False, **grown, "changed": outcome.changed or bool(grown)}

    def _refuse_claim(self, name: str, claim: Object) -> None:
        annotations = claim["metadata"].get("annotations") or {}
        if self._params["adopt"] or annotations.get(data_volumes.POPULATED_FOR) == name:
            return
        raise Failure(
            f"A claim {label(claim)} exists already, and no data volume made it. Set adopt: true to put it under a data"
            " volume as it is, or choose another name."
        )

    def _is_to_go(self, live: Object, desired: Object) -> bool:
        """Whether a data volume is not the one declared, and never got its content."""
        return cdi.phase(live) != "Succeeded" and bool(list(differing(desired["spec"], live.get("spec") or {})))

    def _clear_unfilled(self, live: Object) -> None:
        name = live["metadata"]["name"]
        remove(self._client, DATA_VOLUME, name, self._namespace, live=live, check_mode=self._task.check_mode)
        if self._task.check_mode:
            return
        for resource in (DATA_VOLUME, PVC):
            wait(self._client, resource, name, self._namespace, deleted, timeout=self._params["wait_timeout"])
        self._claims.pop(name, None)

    # What it is made from

    def _check_source(self, desired: Object) -> None:
        """Raises Failure where CDI would refuse the source, or wait for it for ever."""
        source = data_volumes.origin(desired)
        reference = at(desired, "spec.sourceRef")
        if reference:
            source = self._behind(reference)
        if source is None or source in self._checked:
            return
        kind, namespace, name = source
        if namespace != self._namespace and not may_clone(self._client, namespace):
            raise Failure(
                f"Not allowed to clone {kind} {namespace}/{name} into namespace {self._namespace}. Missing right: verb"
                f" create on datavolumes/source.cdi.kubevirt.io, granted by a Role and a RoleBinding in namespace"
                f" {namespace}."
            )
        found = self._look_up(_ORIGINS[kind], namespace, name, f"{kind} {namespace}/{name}")
        if found is not None and kind == "PersistentVolumeClaim":
            self._refuse_smaller(found)
        self._checked.add(source)

    def _behind(self, reference: Object) -> tuple[str, str, str] | None:
        """What a DataSource stands for."""
        namespace = reference.get("namespace") or self._namespace
        what = f"DataSource {namespace}/{reference['name']}"
        found = self._look_up(DATA_SOURCE, namespace, reference["name"], what)
        source = at(found, "status.source") or at(found, "spec.source") or {}
        body = {"metadata": {"namespace": namespace}, "spec": {"source": source}}
        return data_volumes.origin(body) if found else None

    def _look_up(self, resource: Resource, namespace: str, name: str, what: str) -> Object | None:
        try:
            found = self._client.get(resource, name, namespace)
        except (Forbidden, NotServed):
            return None
        if found is None:
            if not self._task.check_mode:
                raise Failure(f"There is no {what} to clone. Check the name and the namespace of the source.")
            self._task.warn(f"There is no {what} yet: whether it can be cloned could not be checked.")
        return found

    def _refuse_smaller(self, source: Object) -> None:
        """Raises Failure for a size into which the source does not fit."""
        size, present = self._params["size"], at(source, "spec.resources.requests.storage")
        if size is None or present is None:
            return
        usable = data_volumes.disk_size(quantity.amount(present), self._share(source))
        if quantity.parse(size, "size") < usable:
            raise Failure(
                f"size: {size} is smaller than the source {label(source)}, whose disk has {usable // 1024**2}Mi. Give"
                " that size or more, or leave size out to take that of the source."
            )

    # How large it is

    def _share(self, claim: Object) -> float:
        """What the file system of a claim takes of it."""
        if at(claim, "spec.volumeMode") == "Block":
            return 0.0
        if self._config is None:
            try:
                self._config = self._client.get(CDI_CONFIG, CDI_CONFIG_NAME) or {}
            except Forbidden:
                self._config = {}
        return data_volumes.overhead(self._config, at(claim, "spec.storageClassName"))

    def _grow(self, name: str, live: Object | None, claim: Object) -> Result:
        """Give the claim the declared size, if it has less. Raises Failure where it cannot."""
        wanted = self._params["size"]
        if wanted is None:
            return {}
        # CDI adds what a file system takes only where spec.storage asks for the claim.
        share = self._share(claim) if at(live, "spec.storage") is not None else 0.0
        declared = at(live, "spec.storage.resources.requests.storage") or at(
            live, "spec.pvc.resources.requests.storage"
        )
        needed = data_volumes.growth(name, wanted, declared, claim, share)
        if needed is None:
            return {}
        if at(claim, "status.phase") != "Bound":
            raise Failure(
                f"size: the volume {label(claim)} cannot grow to {wanted} before it is bound (its claim is"
                f" {at(claim, 'status.phase')}). Wait for it, or delete it and make it anew."
            )
        self._refuse_rigid(claim)
        body = {"spec": {"resources": {"requests": {"storage": data_volumes.text(needed)}}}}
        after = self._client.patch(PVC, name, self._namespace, body, dry_run=self._task.check_mode)
        self._claims[name] = after
        result: Result = {"expanded": True}
        if self._task.diff:
            result["diff"] = difference(PVC, claim, after)
        return result

    def _refuse_rigid(self, claim: Object) -> None:
        name = at(claim, "spec.storageClassName")
        if not name:
            return
        try:
            storage_class = self._client.get(STORAGE_CLASS, name)
        except Forbidden:
            return
        if storage_class is not None and not storage_class.get("allowVolumeExpansion"):
            raise Failure(
                f"size: the volume {label(claim)} cannot grow: its storage class {name} does not allow it"
                " (allowVolumeExpansion). Clone it into a larger one instead."
            )

    # Afterwards

    def _is_collected(self, name: str, error: ClusterError) -> bool:
        """Whether a data volume went because it is done."""
        del error
        claim = self._client.get(PVC, name, self._namespace)
        return data_volumes.is_collected(claim) and at(claim, "status.phase") == "Bound"

    def _finish(self, name: str, volume: Object, made: Made) -> Result:
        if self._task.check_mode:
            return {}
        if self._params["wait"] and made[1]["expanded"]:
            wanted = int(quantity.amount(at(self._claims[name], "spec.resources.requests.storage")))
            grown = wait(
                self._client,
                PVC,
                name,
                self._namespace,
                data_volumes.resized(wanted),
                timeout=self._params["wait_timeout"],
                progress=self._task.progress,
            )
            if grown is not None:
                self._claims[name] = grown
        elif made[0].changed or self._params["wait"]:
            claim = self._client.get(PVC, name, self._namespace)
            if claim is not None:
                self._claims[name] = claim
        told = data_volumes.tell(volume, self._claims.get(name))
        if told["phase"] is None and data_volumes.is_collected(self._claims.get(name)):
            told["phase"] = "Succeeded"
        if told["clone_fallback_reason"] and made[0].changed:
            reason = told["clone_fallback_reason"]
            self._task.warn(f"{self._namespace}/{name} was cloned the slow way, {told['clone_type']}: {reason}")
        return told


class _Removal:
    """Data volumes that are to go, each with its claim unless that is to be kept."""

    def __init__(self, client: Client, task: Task, names: list[str]) -> None:
        self._client = client
        self._task = task
        self._namespace: str = task.params["namespace"]
        self._names = names
        self._keep: bool = task.params["keep_claim"]
        self._live = _read(client, DATA_VOLUME, self._namespace, names)
        self._claims = _read(client, PVC, self._namespace, names)
        self._users = Users()
        if (self._live or self._claims) and not task.params["force"] and not self._keep:
            self._users = users(client, self._namespace)

    def run(self) -> Result:
        keys: list[tuple[str | None, str]] = [(self._namespace, name) for name in self._names]
        results: list[Result | Failure] = list(self._client.in_parallel(self._one, self._names))
        if self._task.params["wait"] and not self._task.check_mode:
            results = self._awaited(keys, results)
        return gathered_as(keys, results, self._task.diff, "data volumes", "data_volumes")

    def _one(self, name: str) -> Result | Failure:
        volume, claim = self._live.get(name), self._claims.get(name)
        result: Result = {
            "name": name,
            "namespace": self._namespace,
            "changed": False,
            **data_volumes.tell(volume, claim),
            "expanded": False,
        }
        try:
            outcome = self._remove(name, volume, claim)
        except Failure as failure:
            return Failure(failure.message, **result)
        if outcome is not None:
            result["changed"] = outcome.changed
            if self._task.diff:
                result["diff"] = outcome.diff()
        return result

    def _remove(self, name: str, volume: Object | None, claim: Object | None) -> Outcome | None:
        check_mode = self._task.check_mode
        if volume is not None:
            if not at(volume, "metadata.deletionTimestamp"):
                self._refuse_used(name, volume)
            # Orphaned, the claim loses its owner instead of going with it.
            propagation = "Orphan" if self._keep else None
            return remove(
                self._client,
                DATA_VOLUME,
                name,
                self._namespace,
                live=volume,
                check_mode=check_mode,
                propagation=propagation,
            )
        if claim is None or self._keep:
            return None
        if not data_volumes.is_collected(claim):
            self._task.warn(f"There is a claim {label(claim)}, which belongs to no data volume: it is left alone.")
            return None
        self._refuse_used(name, None)
        return remove(self._client, PVC, name, self._namespace, live=claim, check_mode=check_mode)

    def _refuse_used(self, name: str, volume: Object | None) -> None:
        told = []
        for where, what in (
            (self._users.running, "VirtualMachine {} runs on it"),
            (self._users.stopped, "VirtualMachine {} has it as a disk"),
            (self._users.pods, "pod {} mounts it"),
        ):
            told += [what.format(user) for user in where.get(name, ())]
        makers = [
            item["name"] for item in at(volume, "metadata.ownerReferences") or () if item["kind"] == "VirtualMachine"
        ]
        if makers and not (self._task.params["force"] or self._keep):
            told.append(f"VirtualMachine {makers[0]} made it, and would make it again, empty or from its source")
        if told:
            raise Failure(
                f"The data volume {self._namespace}/{name} was not deleted, for its claim would go with it:"
                f" {'; '.join(told)}. Take it away from there first, set keep_claim: true to keep the claim, or force:"
                " true to lose it."
            )

    def _awaited(self, keys: list[tuple[str | None, str]], results: list[Result | Failure]) -> list[Result | Failure]:
        going = [
            key for key, result in zip(keys, results, strict=True) if isinstance(result, dict) and result["changed"]
        ]
        waits: list[Resource] = [DATA_VOLUME] if self._keep else [DATA_VOLUME, PVC]
        for resource in waits:
            timeout, progress = self._task.params["wait_timeout"], self._task.progress
            gone = wait_many(self._client, resource, going, deleted, timeout=timeout, progress=progress)
            results = [
                Failure(stuck.message, **result)
                if isinstance(stuck := gone.get(key), ClusterError) and isinstance(result, dict)
                else result
                for key, result in zip(keys, results, strict=True)
            ]
        return results
