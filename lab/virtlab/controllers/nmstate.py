"""Node network configuration: policies become enactments, node by node, and show in the nodes' network states."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import condition, is_true, merged
from virtlab.controllers.nmstate_status import (
    enactment_done,
    enactment_failed,
    enactment_progressing,
    failure,
    node_state,
    policy_conditions,
    problem,
)
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

NMSTATES = "nmstates.nmstate.io"
POLICIES = "nodenetworkconfigurationpolicies.nmstate.io"
ENACTMENTS = "nodenetworkconfigurationenactments.nmstate.io"
STATES = "nodenetworkstates.nmstate.io"
POLICY_LABEL, NODE_LABEL = "nmstate.io/policy", "nmstate.io/node"
DEPLOY = 3.0  # seconds until the handler runs on every node
APPLY = 3.0  # seconds on a node


def selects(policy: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in (policy["spec"].get("nodeSelector") or {}).items())


class NmstateController(Controller):
    """The operator: once an NMState object is there, every node has a state."""

    manager_name = "kubernetes-nmstate"
    watches = (NMSTATES, "nodes")

    def keys(self, event: Event) -> Iterable[Key]:
        return [("", item["metadata"]["name"]) for item in self.list(NMSTATES)]

    def reconcile(self, key: Key) -> float | None:
        nmstate = self.find(NMSTATES, None, key[1])
        if nmstate is None or being_deleted(nmstate):
            return None
        wait = self.remaining(nmstate["metadata"]["uid"], "deploy", DEPLOY)
        status = dict(nmstate.get("status") or {})
        reason = "Deploying" if wait else "AllComponentsReady"
        wanted = [
            condition("Available", not wait, reason, "" if wait else "All components are ready"),
            condition("Progressing", bool(wait), reason),
            condition("Degraded", False, reason),
        ]
        status["conditions"] = merged(list(status.get("conditions") or ()), wanted, self.cluster.clock.stamp())
        self.write_status(NMSTATES, nmstate, status)
        return wait or None


class PolicyController(Controller):
    manager_name = "kubernetes-nmstate"
    watches = (POLICIES, NMSTATES, "nodes")

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "nodenetworkconfigurationpolicies":
            if event.type == "DELETED":
                self._refresh_states()
            return super().keys(event)
        if event.key[1] == "nodes" and _same_labels(event):
            return ()
        return [*(("", item["metadata"]["name"]) for item in self.list(POLICIES)), ("", "")]

    def reconcile(self, key: Key) -> float | None:
        if not self._deployed():
            return None
        if not key[1]:
            self._refresh_states()
            return None
        policy = self.find(POLICIES, None, key[1])
        if policy is None or being_deleted(policy):
            return None
        nodes = [node for node in self.list("nodes") if selects(policy, node)]
        self._prune(policy, nodes)
        waits = [wait for wait in (self._enact(policy, node) for node in nodes) if wait is not None]
        self._summarize(policy, nodes)
        if not waits:
            self._refresh_states()
        return min(waits) if waits else None

    def _deployed(self) -> bool:
        return any(is_true(item, "Available") and not being_deleted(item) for item in self.list(NMSTATES))

    def _enactments(self, policy: Object) -> list[Object]:
        name = policy["metadata"]["name"]
        return [
            item for item in self.list(ENACTMENTS) if (item["metadata"].get("labels") or {}).get(POLICY_LABEL) == name
        ]

    def _prune(self, policy: Object, nodes: list[Object]) -> None:
        wanted = {node["metadata"]["name"] for node in nodes}
        for enactment in self._enactments(policy):
            if enactment["metadata"]["labels"].get(NODE_LABEL) not in wanted:
                self.delete(ENACTMENTS, None, enactment["metadata"]["name"])

    def _enact(self, policy: Object, node: Object) -> float | None:
        """Apply the policy on one node; seconds until that is done, None when it is."""
        policy_name, node_name = policy["metadata"]["name"], node["metadata"]["name"]
        name, generation = f"{node_name}.{policy_name}", policy["metadata"].get("generation", 1)
        live = self.find(ENACTMENTS, None, name)
        if live is None:
            live = self.create(
                ENACTMENTS,
                {
                    "apiVersion": "nmstate.io/v1beta1",
                    "kind": "NodeNetworkConfigurationEnactment",
                    "metadata": {
                        "name": name,
                        "labels": {POLICY_LABEL: policy_name, NODE_LABEL: node_name},
                        "ownerReferences": [owner_reference(policy)],
                    },
                },
            )
        if live is None:
            return None
        status = dict(live.get("status") or {})
        step = f"{name}/{generation}"
        if status.get("policyGeneration") != generation:
            status.update(policyGeneration=generation, desiredState=policy["spec"].get("desiredState") or {})
            self._set(live, status, enactment_progressing())
            return self.remaining(policy["metadata"]["uid"], step, APPLY) or 0.0
        if not is_true(live, "Progressing"):
            return None
        wait = self.remaining(policy["metadata"]["uid"], step, APPLY)
        if wait:
            return wait
        self.forget(policy["metadata"]["uid"], step)
        state = self.find(STATES, None, node_name) or {}
        present = {
            item["name"] for item in ((state.get("status") or {}).get("currentState") or {}).get("interfaces") or ()
        }
        why = problem(policy["spec"].get("desiredState") or {}, present)
        self._set(live, status, enactment_failed(failure(node_name, why)) if why else enactment_done())
        return None

    def _set(self, enactment: Object, status: Object, wanted: list[Object]) -> None:
        stamp = self.cluster.clock.stamp()
        beaten = [{**item, "lastHeartbeatTime": stamp} for item in wanted]
        status["conditions"] = merged(list(status.get("conditions") or ()), beaten, stamp)
        self.write_status(ENACTMENTS, enactment, status)

    def _summarize(self, policy: Object, nodes: list[Object]) -> None:
        generation = policy["metadata"].get("generation", 1)
        current = [
            item
            for item in self._enactments(policy)
            if (item.get("status") or {}).get("policyGeneration") == generation
        ]
        configured = sum(is_true(item, "Available") for item in current)
        failed = sum(is_true(item, "Failing") for item in current)
        status = dict(policy.get("status") or {})
        stamp = self.cluster.clock.stamp()
        before = [
            {k: v for k, v in item.items() if k != "lastHeartbeatTime"} for item in status.get("conditions") or ()
        ]
        after = merged(before, policy_conditions(len(nodes), configured, failed), stamp)
        if after == before:
            return
        status["conditions"] = [{**item, "lastHeartbeatTime": stamp} for item in after]
        self.write_status(POLICIES, policy, status)

    def _refresh_states(self) -> None:
        """Each node's state: its NICs and what the policies that succeeded there declare."""
        if not self._deployed():
            return
        for number, node in enumerate(self.list("nodes")):
            name = node["metadata"]["name"]
            applied = [
                policy
                for policy in self.list(POLICIES)
                if is_true(self.find(ENACTMENTS, None, f"{name}.{policy['metadata']['name']}"), "Available")
            ]
            state = node_state(name, number, applied)
            live = self.find(STATES, None, name)
            if live is None:
                manifest = {"apiVersion": "nmstate.io/v1beta1", "kind": "NodeNetworkState", "metadata": {"name": name}}
                live = self.create(
                    STATES,
                    {
                        **manifest,
                        "metadata": {
                            "name": name,
                            "ownerReferences": [owner_reference(node, controller=False, block=False)],
                        },
                    },
                )
            if live is not None and (live.get("status") or {}).get("currentState") != state:
                stamp = self.cluster.clock.stamp()
                self.write_status(STATES, live, {"currentState": state, "lastSuccessfulUpdateTime": stamp})


def _same_labels(event: Event) -> bool:
    if event.type != "MODIFIED" or event.previous is None:
        return False
    before, after = event.previous.object["metadata"], event.object["metadata"]
    return bool(before.get("labels") == after.get("labels"))
