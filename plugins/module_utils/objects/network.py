# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of nodes and virtual machines: NetworkAttachmentDefinition and NodeNetworkConfigurationPolicy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict, conditions
from ..task import Failure

NETWORK_ATTACHMENT_DEFINITION = Resource(
    "k8s.cni.cncf.io",
    "v1",
    "network-attachment-definitions",
    "NetworkAttachmentDefinition",
    hint="secondary networks need Multus, which this cluster does not have",
)
NODE_NETWORK_CONFIGURATION_POLICY = Resource(
    "nmstate.io",
    "v1",
    "nodenetworkconfigurationpolicies",
    "NodeNetworkConfigurationPolicy",
    namespaced=False,
    hint="install Kubernetes NMState with virtstack.core.operator and package kubernetes-nmstate-operator",
)
NMSTATE = Resource("nmstate.io", "v1", "nmstates", "NMState", namespaced=False)
NODE_NETWORK_CONFIGURATION_ENACTMENT = Resource(
    "nmstate.io", "v1beta1", "nodenetworkconfigurationenactments", "NodeNetworkConfigurationEnactment", namespaced=False
)

POLICY_LABEL = "nmstate.io/policy"
NODE_LABEL = "nmstate.io/node"
CHANGED_AT = "nmstate.io/webhook-mutating-timestamp"
RESOURCE_NAME = "k8s.v1.cni.cncf.io/resourceName"
CNI_VERSION = "0.3.1"
OVN_TYPE = "ovn-k8s-cni-overlay"

# Which options a type of network takes (true: needs); an option of another type is refused, not ignored.
TYPE_OPTIONS: dict[str, dict[str, bool]] = {
    "bridge": {
        "bridge": True, "plugin": False, "vlan": False, "macspoofchk": False, "preserve_default_vlan": False,
        "mtu": False, "ipam": False, "tuning": False,
    },
    "layer2": {"network": False, "mtu": False},
    "localnet": {"network": False, "physical_network": False, "vlan": False, "mtu": False},
    "sriov": {
        "resource_name": True, "vlan": False, "macspoofchk": False, "trust": False, "link_state": False, "ipam": False
    },
}  # fmt: skip
TYPED_OPTIONS = frozenset(option for options in TYPE_OPTIONS.values() for option in options)


def network_config(kind: str, name: str, namespace: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The CNI configuration of a NetworkAttachmentDefinition. C(options) are the typed options that were given.

    Raises Failure for an option missing, of another type, or out of its range.
    """
    given = {option: value for option, value in options.items() if option in TYPED_OPTIONS and value is not None}
    allowed = TYPE_OPTIONS[kind]
    foreign = sorted(set(given) - set(allowed))
    missing = sorted(option for option, needed in allowed.items() if needed and option not in given)
    if foreign:
        raise Failure(f"A network of type {kind} has no {' or '.join(foreign)}; it takes {', '.join(allowed)}.")
    if missing:
        raise Failure(f"A network of type {kind} needs {' and '.join(missing)}.")
    _check_ranges(given)
    return _BUILDERS[kind](name, namespace, given)


def _check_ranges(given: Mapping[str, Any]) -> None:
    vlan, mtu, bridge = given.get("vlan"), given.get("mtu"), given.get("bridge")
    if vlan is not None and not 1 <= vlan <= 4094:
        raise Failure(f"vlan is {vlan}; a VLAN ID is between 1 and 4094. Leave it out for untagged traffic.")
    if mtu is not None and not 68 <= mtu <= 65535:
        raise Failure(f"mtu is {mtu}; it is between 68 and 65535 bytes.")
    if bridge is not None and not re.fullmatch(r"[^\s/:]{1,15}", bridge):
        raise Failure(f"bridge is {bridge!r}; an interface name has 1 to 15 characters, no blank, slash or colon.")


def _renamed(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {key: given[option] for option, key in names.items() if option in given}


def _bridge(name: str, namespace: str, given: Mapping[str, Any]) -> dict[str, Any]:
    del namespace
    names = {
        "bridge": "bridge", "vlan": "vlan", "macspoofchk": "macspoofchk", "mtu": "mtu", "ipam": "ipam",
        "preserve_default_vlan": "preserveDefaultVlan",
    }  # fmt: skip
    plugin = {"type": given.get("plugin") or "cnv-bridge", **_renamed(given, names)}
    if "tuning" not in given:
        return {"cniVersion": CNI_VERSION, "name": name, **plugin}
    return {"cniVersion": CNI_VERSION, "name": name, "plugins": [plugin, {"type": "cnv-tuning", **given["tuning"]}]}


def _ovn(topology: str, name: str, namespace: str, given: Mapping[str, Any]) -> dict[str, Any]:
    names = {"physical_network": "physicalNetworkName", "vlan": "vlanID", "mtu": "mtu"}
    return {
        "cniVersion": CNI_VERSION,
        "name": given.get("network") or name,
        "type": OVN_TYPE,
        "topology": topology,
        "netAttachDefName": f"{namespace}/{name}",
        **_renamed(given, names),
    }


def _sriov(name: str, namespace: str, given: Mapping[str, Any]) -> dict[str, Any]:
    del namespace
    switches = {"macspoofchk": "spoofchk", "trust": "trust"}
    config = {"cniVersion": CNI_VERSION, "name": name, "type": "sriov"}
    config |= _renamed(given, {"vlan": "vlan", "link_state": "link_state", "ipam": "ipam"})
    return config | {key: "on" if given[option] else "off" for option, key in switches.items() if option in given}


_BUILDERS = {
    "bridge": _bridge,
    "layer2": lambda name, namespace, given: _ovn("layer2", name, namespace, given),
    "localnet": lambda name, namespace, given: _ovn("localnet", name, namespace, given),
    "sriov": _sriov,
}


def network_annotations(kind: str | None, options: Mapping[str, Any]) -> dict[str, str]:
    """The annotation that lets the scheduler place a VM only where its network is."""
    if kind == "bridge":
        return {RESOURCE_NAME: f"bridge.network.kubevirt.io/{options['bridge']}"}
    if kind == "sriov":
        return {RESOURCE_NAME: options["resource_name"]}
    return {}


def read_config(config: str | Mapping[str, Any], name: str, namespace: str) -> dict[str, Any]:
    """A CNI configuration given as it is, checked as far as every plugin would. Raises Failure saying what is wrong."""
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except ValueError as error:
            raise Failure(f"config is not valid JSON: {error}") from error
    if not isinstance(config, Mapping):
        raise Failure("config is a JSON object: a mapping with cniVersion, name, and type or plugins.")
    if not config.get("type") and not config.get("plugins"):
        raise Failure("config has neither type nor plugins: name the CNI plugin of the network.")
    attachment = config.get("netAttachDefName")
    if attachment is not None and attachment != f"{namespace}/{name}":
        raise Failure(
            f"config.netAttachDefName is {attachment!r}; it is the namespace and name of this very object, "
            f"{namespace}/{name}."
        )
    if config.get("type") == OVN_TYPE and attachment is None:
        raise Failure(f"config.netAttachDefName is needed with type {OVN_TYPE}: {namespace}/{name}.")
    return dict(config)


def declared_config(name: str, namespace: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The CNI configuration that the module's options ask for, typed or as it is. Raises Failure."""
    if options.get("type"):
        return network_config(options["type"], name, namespace, options)
    typed = sorted(option for option in TYPED_OPTIONS if options.get(option) is not None)
    if typed:
        raise Failure(
            f"{', '.join(typed)}: write that into config, or describe the network with type instead of config."
        )
    return read_config(options["config"], name, namespace)


def has_ipam(config: Mapping[str, Any]) -> bool:
    """Whether the CNI configuration, or one of its plugins, gives out addresses."""
    return any(plugin.get("ipam") for plugin in [config, *config.get("plugins", [])])


def localnet_of(config: Mapping[str, Any]) -> str | None:
    """The localnet that a bridge mapping has to name for this network; None for other networks."""
    if config.get("topology") != "localnet":
        return None
    return config.get("physicalNetworkName") or config.get("name")


def config_name_differs(config: Mapping[str, Any], name: str) -> str | None:
    """A configuration's name where it should be, and is not, that of its object. OVN networks have their own."""
    inner = config.get("name")
    return inner if inner is not None and inner != name and config.get("type") != OVN_TYPE else None


def attachment(
    name: str,
    namespace: str,
    config: Mapping[str, Any],
    *,
    annotations: Mapping[str, str],
    labels: Mapping[str, str],
    live: Object | None = None,
) -> Object:
    """The NetworkAttachmentDefinition. Its configuration is a text: the live one's stays when it means the same."""
    text = json.dumps(config, separators=(",", ":"))
    there = ((live or {}).get("spec") or {}).get("config")
    if there is not None and _meaning(there) == config:
        text = there
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if labels:
        metadata["labels"] = dict(labels)
    return {
        "apiVersion": NETWORK_ATTACHMENT_DEFINITION.api_version,
        "kind": NETWORK_ATTACHMENT_DEFINITION.kind,
        "metadata": metadata,
        "spec": {"config": text},
    }


def _meaning(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def localnets(policies: Iterable[Object]) -> set[str]:
    """The localnet names that lead to an OVS bridge: by a node network policy, or brought by OVN-Kubernetes itself."""
    return {"physnet"} | {
        mapping["localnet"]
        for policy in policies
        for mapping in (((policy.get("spec") or {}).get("desiredState") or {}).get("ovn") or {}).get(
            "bridge-mappings", []
        )
        if mapping.get("localnet") and mapping.get("state", "present") == "present"
    }


def policy(
    name: str,
    desired_state: Mapping[str, Any],
    node_selector: Mapping[str, str] | None = None,
    max_unavailable: int | str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Object:
    """The NodeNetworkConfigurationPolicy of a desired state, which is replaced whole."""
    spec: dict[str, Any] = {"desiredState": dict(desired_state)}
    if node_selector:
        spec["nodeSelector"] = {key: str(value) for key, value in node_selector.items()}
    if max_unavailable is not None:
        spec["maxUnavailable"] = max_unavailable
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = dict(labels)
    return {
        "apiVersion": NODE_NETWORK_CONFIGURATION_POLICY.api_version,
        "kind": NODE_NETWORK_CONFIGURATION_POLICY.kind,
        "metadata": metadata,
        "spec": spec,
    }


def max_unavailable(text: str | None) -> int | str | None:
    """How many nodes are configured at a time: a count or a percentage. Raises Failure for anything else."""
    if text is None:
        return None
    if re.fullmatch(r"[1-9][0-9]{0,2}%", text):
        return text
    if re.fullmatch(r"[1-9][0-9]*", text):
        return int(text)
    raise Failure(f"max_unavailable is {text!r}; write a number of nodes from 1, or a percentage such as 50%.")


def enacted(generation: int) -> Check:
    """A check of one node's enactment of the policy's generation: failed with nmstate's reason when the node is."""

    def checked(enactment: Object | None) -> Verdict:
        if enactment is None or _generation(enactment) < generation:
            return Progress()
        if _is(enactment, "Failing"):
            message = str(conditions(enactment)["Failing"].get("message") or "")
            return Failed(f"{node_of(enactment)} could not be configured: {gist(message)}")
        state = next(
            (kind for kind in ("Available", "Aborted", "Progressing", "Pending") if _is(enactment, kind)), None
        )
        return Progress(f"{node_of(enactment)} {(state or 'waiting').lower()}")

    return checked


def configured(policy: Object | None, enactments: Iterable[Object]) -> Verdict:
    """Ready when every node a policy selects has its present generation; failed as soon as one node could not take it.

    The policy's own conditions lag behind a change, so the nodes' enactments decide which generation they speak of.
    """
    if policy is None:
        return Failed("it was deleted while it was waited for")
    generation = policy["metadata"].get("generation", 0)
    nodes = {node_of(item): item for item in enactments}
    failing = [verdict.reason for item in nodes.values() if isinstance(verdict := enacted(generation)(item), Failed)]
    if failing:
        return Failed("; ".join(sorted(failing)))
    if no_node_matches(policy) and _heard_since_change(policy):
        return Ready()
    done = sorted(node for node, item in nodes.items() if _generation(item) >= generation and _is(item, "Available"))
    if nodes and len(done) == len(nodes) and _is(policy, "Available") and not in_progress(policy):
        return Ready()
    waiting = ", ".join(sorted(set(nodes) - set(done)))
    return Progress(f"{len(done)} of {len(nodes)} nodes configured" + (f", waiting for {waiting}" if waiting else ""))


def in_progress(policy: Object | None) -> bool:
    """Whether nodes are still working on a policy; nmstate refuses to change it until they are done."""
    return policy is not None and _is(policy, "Progressing")


def node_of(enactment: Object) -> str:
    """The node that an enactment speaks of."""
    metadata = enactment["metadata"]
    return str((metadata.get("labels") or {}).get(NODE_LABEL) or metadata["name"])


def no_node_matches(policy: Object) -> bool:
    """Whether a policy selects no node at all."""
    return _is(policy, "Ignored")


def _heard_since_change(policy: Object) -> bool:
    """Whether the policy's conditions are newer than its last change, which nmstate's webhook stamps (nanoseconds)."""
    stamp = (policy["metadata"].get("annotations") or {}).get(CHANGED_AT)
    heartbeat = conditions(policy).get("Ignored", {}).get("lastHeartbeatTime")
    if stamp is None or heartbeat is None:
        return True
    return datetime.fromisoformat(heartbeat).timestamp() >= int(stamp) // 10**9


def _generation(enactment: Object) -> int:
    return int((enactment.get("status") or {}).get("policyGeneration") or 0)


def _is(obj: Object, kind: str) -> bool:
    return conditions(obj).get(kind, {}).get("status") == "True"


def gist(message: str) -> str:
    """The line of nmstate's long reports that says what went wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if "NmstateError" in line or "error" in line.lower()]
    return (telling or lines or ["no message"])[-1][:500]
