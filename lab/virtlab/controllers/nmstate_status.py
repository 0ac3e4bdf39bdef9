"""Conditions of network policies and enactments, and the network state of a node. Pure functions.

Order, reasons and wording are kubernetes-nmstate's (pkg/policyconditions, pkg/enactmentstatus).
"""

from __future__ import annotations

from typing import Any

from virtlab.controllers.conditions import Condition, condition
from virtlab.resource import Object

DONE = "SuccessfullyConfigured"
PROGRESSING = "ConfigurationProgressing"
FAILED = "FailedToConfigure"
NO_NODE = "NoMatchingNode"
NICS = ("enp1s0", "enp2s0", "enp3s0")  # of every node; the first carries the node's address


def _set(reason: str, states: dict[str, str], messages: dict[str, str]) -> list[Condition]:
    return [condition(kind, state, reason, messages.get(kind, "")) for kind, state in states.items()]


def policy_conditions(nodes: int, configured: int, failed: int, aborted: int = 0) -> list[Condition]:
    """Of a policy: how many of its C(nodes) are configured, and how many failed."""
    if nodes == 0:
        states = {"Degraded": "False", "Available": "False", "Progressing": "False", "Ignored": "True"}
        return _set(NO_NODE, states, {"Ignored": "Policy does not match any node"})
    finished = configured + failed + aborted
    if failed or aborted:
        message = f"{failed}/{nodes} nodes failed to configure"
        if aborted:
            message += f", {aborted} nodes aborted configuration"
        states = {"Degraded": "True", "Available": "False", "Progressing": "False", "Ignored": "False"}
        return _set(FAILED, states, {"Degraded": message})
    if finished < nodes:
        message = f"Policy is progressing {finished}/{nodes} nodes finished"
        states = {"Degraded": "Unknown", "Available": "Unknown", "Progressing": "True", "Ignored": "False"}
        return _set(PROGRESSING, states, {"Progressing": message})
    states = {"Degraded": "False", "Available": "True", "Progressing": "False", "Ignored": "False"}
    return _set(DONE, states, {"Available": f"{configured}/{nodes} nodes successfully configured"})


def enactment_progressing() -> list[Condition]:
    states = {
        "Progressing": "True",
        "Failing": "Unknown",
        "Available": "Unknown",
        "Pending": "False",
        "Aborted": "False",
    }
    return _set(PROGRESSING, states, {"Progressing": "Applying desired state"})


def enactment_done() -> list[Condition]:
    states = {"Available": "True", "Failing": "False", "Progressing": "False", "Pending": "False", "Aborted": "False"}
    return _set(DONE, states, {"Available": "successfully reconciled"})


def enactment_failed(message: str) -> list[Condition]:
    states = {"Failing": "True", "Available": "False", "Progressing": "False", "Pending": "False", "Aborted": "False"}
    return _set(FAILED, states, {"Failing": message})


def _members(interface: Object) -> list[str]:
    """The interfaces that C(interface) is built on."""
    bridge = (interface.get("bridge") or {}).get("port") or (interface.get("bridge") or {}).get("ports") or ()
    bond = (interface.get("link-aggregation") or {}).get("port") or (interface.get("link-aggregation") or {}).get(
        "ports"
    )
    vlan = (interface.get("vlan") or {}).get("base-iface")
    found = [port["name"] if isinstance(port, dict) else port for port in bridge]
    found += [port if isinstance(port, str) else port["name"] for port in bond or ()]
    return [*found, vlan] if vlan else found


def problem(desired: Object, present: set[str]) -> str | None:
    """Why nmstate refuses C(desired) on a node that has the interfaces C(present); None when it does not."""
    interfaces = desired.get("interfaces") or []
    known = present | {item.get("name", "") for item in interfaces if item.get("type")}
    for item in interfaces:
        for member in _members(item):
            if member not in known:
                why = f"Interface {item.get('name')} is holding unknown port {member}"
                return f"NmstateError: InvalidArgument: {why}"
    return None


def failure(node: str, why: str) -> str:
    return (
        f'error reconciling NodeNetworkConfigurationPolicy on node {node} at desired state apply: "",\n'
        f" failed to execute nmstatectl set --no-commit --timeout 480: 'exit status 1' '' '{why}'"
    )


def node_state(name: str, number: int, policies: list[Object]) -> Object:
    """currentState of a node: its NICs, and on top what C(policies) declare."""
    interfaces: dict[str, dict[str, Any]] = {}
    for position, nic in enumerate(NICS):
        interfaces[nic] = {
            "name": nic,
            "type": "ethernet",
            "state": "up",
            "mac-address": f"52:54:00:{number:02X}:00:{position:02X}",
            "mtu": 1500,
            "ipv4": {"enabled": False},
            "ipv6": {"enabled": False},
        }
    address = {"ip": f"192.168.126.{11 + number}", "prefix-length": 24}
    interfaces[NICS[0]]["ipv4"] = {"enabled": True, "dhcp": True, "address": [address]}
    routes: list[Object] = [
        {
            "destination": "0.0.0.0/0",
            "next-hop-address": "192.168.126.1",
            "next-hop-interface": NICS[0],
            "table-id": 254,
        }
    ]
    resolver: Object = {"config": {}, "running": {"server": ["192.168.126.1"], "search": ["lab"]}}
    state: Object = {}
    for policy in policies:
        desired = policy["spec"].get("desiredState") or {}
        for item in desired.get("interfaces") or ():
            if item.get("state") == "absent":
                if item["name"] not in NICS:
                    interfaces.pop(item["name"], None)
                continue
            base = interfaces.get(item["name"], {"mtu": 1500, "state": "up"})
            interfaces[item["name"]] = {**base, **item}
        routes += (desired.get("routes") or {}).get("config") or []
        if desired.get("dns-resolver"):
            config = desired["dns-resolver"].get("config") or {}
            resolver = {"config": config, "running": {**resolver["running"], **config}}
        if desired.get("ovn"):
            state["ovn"] = desired["ovn"]
    return {
        **state,
        "dns-resolver": resolver,
        "hostname": {"config": name, "running": name},
        "interfaces": [interfaces[key] for key in sorted(interfaces)],
        "routes": {"config": routes, "running": routes},
    }
