# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an export holds, imported into another namespace or cluster, and finished by the next run where it was left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cluster.client import Client, connect
from ..cluster.declare import declare, remove
from ..cluster.errors import ClusterError, Forbidden
from ..cluster.options import CONNECTION_OPTIONS
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Failed, Progress, Verdict
from ..cluster.wait import Related, wait_many
from ..machine import quantity
from ..task import Failure, Result, Task
from . import cdi, data_volumes, imported
from .cdi import CDI_CONFIG, CDI_CONFIG_NAME, DATA_VOLUME
from .core import PVC
from .exports import SECRET, SOURCES, Served
from .imported import ORIGIN, Wish
from .kubevirt import VIRTUAL_MACHINE, at, claims, conditions
from .snapshots import SNAPSHOT

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
_RESOURCES: Mapping[str, Resource] = {item.kind: item for item in (CONFIG_MAP, SECRET, VIRTUAL_MACHINE, DATA_VOLUME)}
# Options of import_to by which another cluster is reached.
CONNECTING = ("kubeconfig", "context", "host", "api_key", "ca_cert", "validate_certs")


class Import:
    """One import, into the cluster that the options name."""

    def __init__(self, client: Client, task: Task) -> None:
        params = task.params
        given = params["import_to"]
        self._task = task
        self._source = client
        self._option = next(option for option in SOURCES if params[option])
        self._is_other = any(given.get(name) is not None for name in CONNECTING)
        self._client = connect(_connection(params, given)) if self._is_other else client
        origin = f"{params['namespace']}/{SOURCES[self._option][0]}/{params[self._option]}"
        self._wish: Wish = imported.wish(given, origin)
        self._kind = DATA_VOLUME if self._option == "pvc" else VIRTUAL_MACHINE
        self._live: Object | None = None

    def is_done(self) -> bool:
        """Whether it is there already, filled. Raises Failure where something else has its name."""
        name = self._wish.name or self._guess()
        if name is None:
            return False
        self._live = self._client.get(self._kind, name, self._wish.namespace)
        if self._live is None:
            return False
        origin = (at(self._live, "metadata.annotations") or {}).get(ORIGIN)
        if origin != self._wish.origin:
            raise Failure(
                f"{self._kind.kind} {self._wish.namespace}/{name} exists already, and was not imported from"
                f" {self._wish.origin}. Nothing was changed. Choose another name in import_to, or delete it first."
            )
        # A machine may have its volumes beside it, not in its templates.
        names = {*imported.volumes_of([self._live]), *claims(self._live).values()}
        return all(self._is_filled(volume) for volume in sorted(names))

    def _is_filled(self, name: str) -> bool:
        """Whether a volume is there with its content; what the machine was given since is no matter of the import."""
        volume = self._client.get(DATA_VOLUME, name, self._wish.namespace)
        if volume is None:
            # Older CDI deletes a DataVolume that is done.
            return self._client.get(PVC, name, self._wish.namespace) is not None
        is_ours = (at(volume, "metadata.annotations") or {}).get(ORIGIN) == self._wish.origin
        return not is_ours or cdi.phase(volume) == "Succeeded"

    def _guess(self) -> str | None:
        """The name that it will have: that of the machine or claim, which a snapshot does not tell by its own."""
        params = self._task.params
        if self._option != "snapshot":
            return str(params[self._option])
        found = self._source.get(SNAPSHOT, params["snapshot"], params["namespace"])
        name = at(found, "spec.source.name")
        return None if name is None else str(name)

    def told(self) -> Result:
        name = self._wish.name or self._guess()
        return {"kind": self._kind.kind, "name": name, "namespace": self._wish.namespace}

    def tidy(self) -> bool:
        """Remove what let an import in that was cut off and ended by itself; whether there was any of it.

        In check mode it is only looked for.
        """
        names = imported.volumes_of([self._live] if self._live else [])
        volumes = [self._client.get(DATA_VOLUME, name, self._wish.namespace) for name in names]
        found = False
        for kind, name in imported.admitted_by([self._live, *volumes]):
            resource = _RESOURCES[kind]
            try:
                live = self._client.get(resource, name, self._wish.namespace)
            except Forbidden:
                continue
            if (at(live, "metadata.annotations") or {}).get(ORIGIN) == self._wish.origin:
                remove(self._client, resource, name, self._wish.namespace, live=live, check_mode=self._task.check_mode)
                found = True
        return found

    def run(self, served: Served, objects: list[Object]) -> Result:
        """Declare what the export holds, and wait until its volumes are filled. Raises Failure."""
        listed = imported.adapted(self._objects(served, objects), self._wish)
        for volume in imported.unsized(listed):
            # A clone takes its size from what it is cloned from, which an import cannot ask.
            imported.give_size(volume, self._size(imported.exported_claim(volume)))
        names = imported.volumes_of(listed)
        if self._live is None:
            self._refuse_taken(names)
        before = {name: cdi.restarts(self._client.get(DATA_VOLUME, name, self._wish.namespace)) for name in names}
        for item in listed:
            if item["kind"] == self._kind.kind and self._live is not None:
                # It was made by an earlier run, and is only waited for.
                continue
            declare(self._client, _RESOURCES[item["kind"]], item)
        self._await(before)
        for item in listed:
            if item["kind"] in (SECRET.kind, CONFIG_MAP.kind):
                remove(self._client, _RESOURCES[item["kind"]], item["metadata"]["name"], self._wish.namespace)
        return {**self.told(), "data_volumes": names}

    def _refuse_taken(self, names: list[str]) -> None:
        """A machine takes a volume that has the name of its own as it is, with whatever it holds."""
        namespace = self._wish.namespace
        for name in names:
            found = self._client.get(DATA_VOLUME, name, namespace)
            ours = (at(found, "metadata.annotations") or {}).get(ORIGIN) == self._wish.origin
            if not ours and (found is not None or self._client.get(PVC, name, namespace) is not None):
                kind = PVC.kind if found is None else DATA_VOLUME.kind
                raise Failure(
                    f"{kind} {namespace}/{name} exists already, and was not imported from {self._wish.origin}. Nothing"
                    " was imported. Choose another name in import_to, or delete it first."
                )

    def _objects(self, served: Served, objects: list[Object]) -> list[Object]:
        if self._option != "pvc":
            return objects
        volume = served.volume(None)
        certificate = str(at(served.export, f"status.links.{served.side}.cert") or "")
        name = self._task.params["pvc"]
        size = self._size(name)
        made = imported.volume_of(
            served.link(volume, "gzip"), size, certificate, self._wish, name, served.export["metadata"]["name"]
        )
        return [*made, *objects]

    def _size(self, name: str) -> str:
        """The disk in the claim that is exported."""
        claim = self._source.get(PVC, name, self._task.params["namespace"])
        present = quantity.amount(at(claim, "spec.resources.requests.storage") or "0")
        if at(claim, "spec.volumeMode") == "Block":
            return data_volumes.text(present)
        config = self._source.get(CDI_CONFIG, CDI_CONFIG_NAME)
        share = data_volumes.overhead(config, at(claim, "spec.storageClassName"))
        return data_volumes.text(data_volumes.disk_size(present, share))

    def _await(self, counted: Mapping[str, int]) -> None:
        keys: list[tuple[str | None, str]] = [(self._wish.namespace, name) for name in counted]
        seen = wait_many(
            self._client,
            DATA_VOLUME,
            keys,
            cdi.check_since(counted),
            timeout=self._task.params["wait_timeout"],
            progress=self._task.progress,
            related=self._related(),
        )
        failed = [result.message for result in seen.values() if isinstance(result, ClusterError)]
        if failed:
            raise Failure(
                f"The import into {self._wish.namespace} is not done: {' '.join(failed)} The next run goes on with it."
            )

    def _related(self) -> tuple[Related, ...]:
        """The machine that makes its volumes itself, and says what keeps it from that."""
        if self._kind != VIRTUAL_MACHINE:
            return ()
        # What a machine of an earlier run says may be mended, and not have been tried again yet.
        check = refusal if self._live is None else _remarked
        return (Related(VIRTUAL_MACHINE, check, self._wish.namespace, self.told()["name"]),)


def refusal(machine: Object | None) -> Verdict:
    """Whether volumes of a machine are refused, so that they never come."""
    failure = conditions(machine or {}).get("Failure", {})
    if failure.get("status") != "True" or failure.get("reason") != "FailedCreate":
        return Progress()
    return Failed(f"{failure['reason']}: {failure.get('message') or 'its volumes cannot be made'}")


def _remarked(machine: Object | None) -> Verdict:
    found = refusal(machine)
    return Progress(found.reason) if isinstance(found, Failed) else found


def _connection(params: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of another cluster; only how to ask is taken from the task."""
    kept = {name: params.get(name) for name in ("proxy", "no_proxy", "request_timeout")}
    return {**dict.fromkeys(CONNECTION_OPTIONS), **kept, **{name: given.get(name) for name in CONNECTING}}
