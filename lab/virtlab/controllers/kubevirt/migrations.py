"""Live migration: the target's launcher, the phases of the job, the instance's move, and evacuation of a node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from virtlab.admission.kubevirt.settings import settings
from virtlab.controllers.conditions import find_condition, is_true, with_condition, without_condition
from virtlab.controllers.kubevirt.launchers import cpu_ratio, guest_memory, launcher_pod
from virtlab.controllers.kubevirt.live_resources import CPU, MEMORY, MEMORY_FAILED
from virtlab.controllers.kubevirt.migration_policies import POLICIES, configuration, policy_for
from virtlab.controllers.kubevirt.names import (
    FINAL,
    KUBEVIRTS,
    MIGRATION_FINALIZER,
    MIGRATION_JOB,
    MIGRATIONS,
    NODE_NAME,
    VMIS,
    WORKLOAD_UPDATE,
)
from virtlab.controllers.kubevirt.volumes import phase
from virtlab.controllers.ownership import being_deleted, owner_uids
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.guests.interface import Move, Resized
from virtlab.resource import Object
from virtlab.schema.quantity import parse
from virtlab.store import Event

FIGURES = "virtlab/"  # prefix of the annotations that tell what a real migration measured
STEP = 0.5  # seconds in each of the short phases
UNSCHEDULABLE = 300.0  # seconds that a target pod may wait for a node
HOSTNAME = "kubernetes.io/hostname"
EVACUATION = "kubevirt.io/evacuationMigration"
AUTOMATIC = (EVACUATION, WORKLOAD_UPDATE)  # annotations of migrations that nobody asked for
BACKOFF = 20.0  # seconds before an automatic migration after one that failed, doubled with each in a row
TOPOLOGY = ("cores", "sockets", "threads")


def away_from(affinity: Any, node: str) -> Object:
    """C(affinity) that also keeps off C(node)."""
    result = dict(affinity or {})
    node_affinity = dict(result.get("nodeAffinity") or {})
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    off = {"key": HOSTNAME, "operator": "NotIn", "values": [node]}
    terms = (node_affinity.get(field) or {}).get("nodeSelectorTerms") or [{}]
    node_affinity[field] = {
        "nodeSelectorTerms": [
            {**term, "matchExpressions": [*(term.get("matchExpressions") or ()), off]} for term in terms
        ]
    }
    return {**result, "nodeAffinity": node_affinity}


def target_pod(vmi: Object, migration: Object, ratio: int) -> Object:
    """The launcher that waits for the guest on another node."""
    pod = launcher_pod(vmi, ratio)
    metadata = pod["metadata"]
    metadata["labels"] = {**metadata["labels"], MIGRATION_JOB: migration["metadata"]["uid"]}
    metadata["labels"].pop(NODE_NAME, None)
    metadata["annotations"]["kubevirt.io/migrationJobName"] = migration["metadata"]["name"]
    # What the machine itself selects wins.
    pod["spec"]["nodeSelector"] = {**(migration["spec"].get("addedNodeSelector") or {}), **pod["spec"]["nodeSelector"]}
    pod["spec"]["affinity"] = away_from(pod["spec"].get("affinity"), vmi["status"]["nodeName"])
    return pod


def move_of(migration: Object, vmi: Object, node: str, state: Object) -> Move:
    """The move that a migration's configuration asks for."""
    configured = state.get("migrationConfiguration") or {}
    gibibytes = max(1.0, guest_memory(vmi["spec"]) / 2**30)
    return Move(
        migration["metadata"]["uid"],
        node,
        bandwidth=int(parse(str(configured.get("bandwidthPerMigration") or "0"))),
        timeout=float(configured.get("completionTimeoutPerGiB") or 150) * gibibytes,
        auto_converge=bool(configured.get("allowAutoConverge")),
        post_copy=bool(configured.get("allowPostCopy")),
    )


class MigrationController(Controller):
    manager_name = "virt-controller"
    watches = (MIGRATIONS, "pods", VMIS)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._pods = manager.index("pods", owner_uids)
        self._by_instance = manager.index(
            MIGRATIONS, lambda item: [f"{item['metadata']['namespace']}/{item['spec'].get('vmiName', '')}"]
        )
        self.cluster.guests.follow(self._guest_changed)

    def _guest_changed(self, namespace: str, name: str) -> None:
        for key in self._by_instance.keys(f"{namespace}/{name}"):
            self.manager.enqueue(self, key)

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "virtualmachineinstancemigrations":
            own = super().keys(event) if event.type != "DELETED" else ()
            ended = event.type == "DELETED" or phase(event.object) in FINAL
            return [*own, *self._waiting()] if ended else own
        if event.key[1] == "pods":
            if MIGRATION_JOB not in (metadata.get("labels") or {}):
                return ()
            name = metadata["labels"].get("vm.kubevirt.io/name", "")
        else:
            name = metadata["name"]
        return self._by_instance.keys(f"{metadata['namespace']}/{name}")

    def _waiting(self) -> list[Key]:
        return [
            (item["metadata"]["namespace"], item["metadata"]["name"])
            for item in self.list(MIGRATIONS)
            if phase(item) in ("", "Pending")
        ]

    def reconcile(self, key: Key) -> float | None:
        migration = self.find(MIGRATIONS, *key)
        if migration is None:
            return None
        now = phase(migration)
        vmi = self.find(VMIS, key[0], migration["spec"].get("vmiName", ""))
        if now in FINAL:
            if being_deleted(migration) and MIGRATION_FINALIZER in (migration["metadata"].get("finalizers") or ()):
                self.drop_finalizer(MIGRATIONS, migration, MIGRATION_FINALIZER)
            return None
        if vmi is None or phase(vmi) != "Running" or being_deleted(vmi):
            gone = "vmi does not exist." if vmi is None else "vmi shutdown during migration."
            self._fail(migration, vmi, f"Migration failed {'because ' if vmi is None else ''}{gone}")
            return None
        if being_deleted(migration):
            self._fail(migration, vmi, "Migration failed due to being canceled", aborted=True)
            return None
        finalizers = migration["metadata"].get("finalizers") or []
        if MIGRATION_FINALIZER not in finalizers:
            metadata = {
                **migration["metadata"],
                "finalizers": [*finalizers, MIGRATION_FINALIZER],
                "labels": {
                    **(migration["metadata"].get("labels") or {}),
                    "kubevirt.io/vmi-name": vmi["metadata"]["name"],
                },
            }
            migration = self.update(MIGRATIONS, {**migration, "metadata": metadata})
        return self._advance(migration, vmi, now)

    def _target(self, migration: Object, vmi: Object) -> Object | None:
        for key in self._pods.keys(vmi["metadata"]["uid"]):
            pod = self.find("pods", *key)
            if (
                pod is not None
                and (pod["metadata"].get("labels") or {}).get(MIGRATION_JOB) == migration["metadata"]["uid"]
            ):
                return pod
        return None

    def _advance(self, migration: Object, vmi: Object, now: str) -> float | None:
        uid = migration["metadata"]["uid"]
        target = self._target(migration, vmi)
        if now == "":
            self._enter(migration, "Pending")
            return None
        if now == "Pending":
            wait = self._backoff(migration)
            if wait:
                return wait
            if not self._has_room(vmi):
                return None
            if target is None:
                self.create("pods", target_pod(vmi, migration, cpu_ratio(self.list(KUBEVIRTS))))
                self.event(
                    migration, "SuccessfulCreate", "Created migration target pod", component="virtualmachine-controller"
                )
            self._enter(migration, "Scheduling")
            return None
        if now == "Scheduling":
            if target is None:
                self._fail(migration, vmi, "Migration target pod was removed during active migration.")
                return None
            if not is_true(target, "Ready"):
                return self._unschedulable(migration, vmi, target)
            self.forget(uid, "unschedulable")
            self._enter(migration, "Scheduled")
            return None
        if target is None:
            self._fail(migration, vmi, "Migration target pod was removed during active migration.")
            return None
        order = {"Scheduled": "PreparingTarget", "PreparingTarget": "TargetReady", "TargetReady": "Running"}
        state = self._state(migration, vmi, target)
        if now in order:
            wait = self.remaining(uid, now, STEP)
            if wait:
                return wait
            self.forget(uid, now)
            if now == "TargetReady":
                state["startTimestamp"] = self.cluster.clock.stamp()
                text = "VirtualMachineInstance is migrating."
                self.event(vmi, "Migrating", text, component="virt-handler")
            vmi = self.write_status(VMIS, vmi, {**vmi["status"], "migrationState": state})
            self._enter(migration, order[now])
            return None
        broken = self.cluster.faults.migration_failure(f"{vmi['metadata']['namespace']}/{vmi['metadata']['name']}")
        if broken is not None:
            self.cluster.guests.abort(vmi, uid)
            self._fail(migration, vmi, "source node reported migration failed", reason=broken)
            return None
        return self._transfer(migration, vmi, target, state)

    def _transfer(self, migration: Object, vmi: Object, target: Object, state: Object) -> float | None:
        """Copy the guest to the target's node."""
        places = (vmi["status"].get("nodeName", ""), target["spec"]["nodeName"])
        lost = next((node for node in places if self.cluster.power.down(node)), None)
        if lost is not None and self.cluster.guests.simulated:
            self._fail(migration, vmi, "source node reported migration failed", reason=f"node {lost} does not answer")
            return None
        moved = self.cluster.guests.migrate(vmi, move_of(migration, vmi, target["spec"]["nodeName"], state))
        if moved.step.problem:
            self._fail(migration, vmi, "source node reported migration failed", reason=moved.step.problem)
        if not moved.step.done:
            return moved.step.wait
        changes = [kind for kind in (CPU, MEMORY) if find_condition(vmi, kind) is not None]
        sized = self.cluster.guests.resize(vmi) if changes else Resized()
        if not sized.over:
            return None
        self._complete(self._noted(migration, moved.figures), self._sized(vmi, changes, sized), target, state)
        return None

    def _sized(self, vmi: Object, changes: list[str], sized: Resized) -> Object:
        """The instance with what came of its new processors and memory (virt-handler's finalizeMigration)."""
        status, stamp = dict(vmi["status"]), self.cluster.clock.stamp()
        conditions = list(status.get("conditions") or ())
        domain = vmi["spec"]["domain"]
        for kind in changes:
            conditions = without_condition(conditions, kind)
        if CPU in changes and not sized.cpu_problem:
            status["currentCPUTopology"] = {name: domain["cpu"].get(name) or 1 for name in TOPOLOGY}
        if MEMORY in changes and sized.memory_problem:
            conditions = with_condition(conditions, MEMORY_FAILED, stamp)
        elif MEMORY in changes:
            status["memory"] = {**status["memory"], "guestRequested": domain["memory"]["guest"]}
            if self.cluster.guests.simulated:
                status["memory"]["guestCurrent"] = domain["memory"]["guest"]
        for problem, text in (
            (sized.cpu_problem, "failed to change vCPUs"),
            (sized.memory_problem, "failed to update guest memory"),
        ):
            if problem:
                self.event(vmi, problem, text, warning=True, component="virt-handler")
        return {**vmi, "status": {**status, "conditions": conditions}}

    def _noted(self, migration: Object, figures: dict[str, int]) -> Object:
        """The migration with what was measured, which KubeVirt has no field for."""
        found = self.find(MIGRATIONS, migration["metadata"]["namespace"], migration["metadata"]["name"])
        if found is None or not figures:
            return migration
        noted = {f"{FIGURES}{name}": str(value) for name, value in figures.items()}
        annotations = {**(found["metadata"].get("annotations") or {}), **noted}
        return self.update(MIGRATIONS, {**found, "metadata": {**found["metadata"], "annotations": annotations}})

    def _state(self, migration: Object, vmi: Object, target: Object) -> Object:
        old = vmi["status"].get("migrationState") or {}
        if old.get("migrationUid") != migration["metadata"]["uid"]:
            old = self._configured(vmi)
        return {
            **old,
            "migrationUid": migration["metadata"]["uid"],
            "mode": "PreCopy",
            "sourceNode": old.get("sourceNode") or vmi["status"].get("nodeName", ""),
            "targetNode": target["spec"].get("nodeName", ""),
            "targetPod": target["metadata"]["name"],
            "targetNodeAddress": (target.get("status") or {}).get("podIP", ""),
            "targetNodeDomainDetected": True,
        }

    def _complete(self, migration: Object, vmi: Object, target: Object, state: Object) -> None:
        """The guest is on the target: the instance moves, the source's launcher goes."""
        stamp = self.cluster.clock.stamp()
        state = {**state, "completed": True, "endTimestamp": stamp, "targetNodeDomainReadyTimestamp": stamp}
        node, address = target["spec"]["nodeName"], target["status"]["podIP"]
        sources = [self.find("pods", *key) for key in self._pods.keys(vmi["metadata"]["uid"])]
        # The target's launcher has what the instance's interfaces now are.
        conditions = without_condition(list(vmi["status"].get("conditions") or ()), "MigrationRequired")
        status = {
            **vmi["status"],
            "conditions": conditions,
            "migrationState": state,
            "nodeName": node,
            "activePods": {target["metadata"]["uid"]: node},
            "interfaces": self.cluster.guests.interfaces(vmi, address, agent=is_true(vmi, "AgentConnected")),
        }
        if status.get("evacuationNodeName") and status["evacuationNodeName"] != node:
            del status["evacuationNodeName"]
        labels = {**(vmi["metadata"].get("labels") or {}), NODE_NAME: node}
        vmi = self.update(VMIS, {**vmi, "metadata": {**vmi["metadata"], "labels": labels}, "status": status})
        self._enter(migration, "Succeeded", state)
        text = "The VirtualMachineInstance migrated to node " + node
        self.event(vmi, "Migrated", text, component="virt-handler")
        for pod in sources:
            if pod is not None and pod["metadata"]["uid"] != target["metadata"]["uid"] and not being_deleted(pod):
                self.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _fail(
        self, migration: Object, vmi: Object | None, why: str, *, aborted: bool = False, reason: str = ""
    ) -> None:
        """End the migration; the instance keeps C(reason), or C(why)."""
        stamp = self.cluster.clock.stamp()
        state = dict(((vmi or {}).get("status") or {}).get("migrationState") or {})
        mine = state.get("migrationUid") == migration["metadata"]["uid"]
        if vmi is not None:
            self.cluster.guests.abort(vmi, migration["metadata"]["uid"])
            target = self._target(migration, vmi)
            if target is not None:
                self.delete("pods", target["metadata"]["namespace"], target["metadata"]["name"])
            if mine:
                state.update(failed=True, completed=True, endTimestamp=stamp, failureReason=reason or why)
                if aborted:
                    state.update(abortRequested=True, abortStatus="Succeeded")
                self.write_status(VMIS, vmi, {**vmi["status"], "migrationState": state})
        self._enter(migration, "Failed", state if mine else None, aborted=aborted)
        self.forget(migration["metadata"]["uid"], "unschedulable")
        self.event(migration, "FailedMigration", why, warning=True, component="virtualmachine-controller")

    def _enter(self, migration: Object, wanted: str, state: Object | None = None, *, aborted: bool = False) -> None:
        status = dict(migration.get("status") or {})
        if aborted:
            asked = {"type": "migrationAbortRequested", "status": "True", "lastProbeTime": self.cluster.clock.stamp()}
            status["conditions"] = [*(status.get("conditions") or ()), {**asked, "lastTransitionTime": None}]
        moment = {"phase": wanted, "phaseTransitionTimestamp": self.cluster.clock.stamp()}
        status["phase"] = wanted
        status["phaseTransitionTimestamps"] = [*(status.get("phaseTransitionTimestamps") or ()), moment]
        if state is not None:
            status["migrationState"] = state
        self.write_status(MIGRATIONS, migration, status)

    def _unschedulable(self, migration: Object, vmi: Object, target: Object) -> float | None:
        """A target that no node takes is given up after a while."""
        uid = migration["metadata"]["uid"]
        scheduled = find_condition(target, "PodScheduled") or {}
        if scheduled.get("status") != "False":
            return None
        place = f"{vmi['metadata']['namespace']}/{vmi['metadata']['name']}"
        if ("told", uid) not in self._since:
            self._since["told", uid] = 0.0
            text = f"Migration target pod for VMI [{place}] is currently unschedulable."
            component = "virtualmachine-controller"
            self.event(migration, "migrationTargetPodUnschedulable", text, warning=True, component=component)
        wait = self.remaining(uid, "unschedulable", UNSCHEDULABLE)
        if not wait:
            pod = target["metadata"]
            self.delete("pods", pod["namespace"], pod["name"])
            text = f"unschedulable pod {pod['namespace']}/{pod['name']} timeout period exceeded"
            self.event(migration, "SuccessfulDelete", text, component="virtualmachine-controller")
        return wait or None

    def _backoff(self, migration: Object) -> float:
        """Real seconds that an automatic migration waits because those before it failed."""
        metadata = migration["metadata"]

        def automatic(item: Object) -> bool:
            annotations = item["metadata"].get("annotations") or {}
            return item["spec"].get("vmiName") == migration["spec"].get("vmiName") and any(
                name in annotations for name in AUTOMATIC
            )

        if not automatic(migration):
            return 0.0
        others = [item for item in self.list(MIGRATIONS, metadata["namespace"]) if automatic(item)]
        failures = 0
        # Newest first; of one second, by the order in which the store has seen them.
        for item in sorted(others, key=lambda item: item["metadata"]["creationTimestamp"], reverse=True):
            if item["metadata"]["uid"] == metadata["uid"] or being_deleted(item):
                continue
            if phase(item) == "Succeeded":
                break
            failures += phase(item) == "Failed"
        return self.remaining(metadata["uid"], "backoff", BACKOFF * 2 ** (failures - 1)) if failures else 0.0

    def _has_room(self, vmi: Object) -> bool:
        """Do the limits of the cluster and of the instance's node allow another migration?"""
        running = [item for item in self.list(MIGRATIONS) if phase(item) not in ("", "Pending", *FINAL)]
        config = configuration(self._configuration(), None)
        if len(running) >= int(config["parallelMigrationsPerCluster"]):
            return False
        node = vmi["status"].get("nodeName")
        movers = (self.find(VMIS, item["metadata"]["namespace"], item["spec"].get("vmiName", "")) for item in running)
        outbound = sum(((mover or {}).get("status") or {}).get("nodeName") == node for mover in movers)
        return bool(outbound < int(config["parallelOutboundMigrationsPerNode"]))

    def _configuration(self) -> Object:
        for kubevirt in self.list(KUBEVIRTS):
            found: Object = (kubevirt["spec"].get("configuration") or {}).get("migrations") or {}
            return found
        return {}

    def _configured(self, vmi: Object) -> Object:
        """The beginning of a migration's state: how it is to be done, and by which policy."""
        namespace = self.find("namespaces", None, vmi["metadata"]["namespace"]) or {"metadata": {}}
        labels = (vmi["metadata"].get("labels") or {}, namespace["metadata"].get("labels") or {})
        policy = policy_for(self.list(POLICIES), *labels)
        state: Object = {"migrationConfiguration": configuration(self._configuration(), policy)}
        if policy is not None:
            state["migrationPolicyName"] = policy["metadata"]["name"]
        return state


class EvacuationController(Controller):
    """Makes a migration for an instance whose eviction was asked."""

    manager_name = "virt-controller"
    watches = (VMIS,)

    def reconcile(self, key: Key) -> float | None:
        vmi = self.find(VMIS, *key)
        if vmi is None or being_deleted(vmi) or phase(vmi) != "Running":
            return None
        status = vmi["status"]
        node = status.get("evacuationNodeName")
        if not node or node != status.get("nodeName") or not is_true(vmi, "LiveMigratable"):
            return None
        if (vmi["spec"].get("evictionStrategy") or settings(self.cluster.store).eviction_strategy) == "External":
            return None  # another controller moves it
        own = [item for item in self.list(MIGRATIONS, key[0]) if item["spec"].get("vmiName") == key[1]]
        if any(phase(item) not in FINAL for item in own):
            return None
        manifest = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstanceMigration",
            "metadata": {
                "generateName": "kubevirt-evacuation-",
                "namespace": key[0],
                "annotations": {EVACUATION: node},
                "labels": {EVACUATION: node},
            },
            "spec": {"vmiName": key[1]},
        }
        made = self.create(MIGRATIONS, manifest)
        if made is not None:
            text = f"Created Migration {made['metadata']['name']}"
            self.event(vmi, "SuccessfulCreate", text, component="disruptionbudget-controller")
        return None
