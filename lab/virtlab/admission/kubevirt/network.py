"""Networks and interfaces of an instance: what virt-api refuses. pkg/network/admitter of KubeVirt."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from virtlab.admission.kubevirt.settings import Settings
from virtlab.admission.kubevirt.storage import PCI_ADDRESS
from virtlab.admission.webhook import DUPLICATE, INVALID, NOT_SUPPORTED, REQUIRED, items
from virtlab.resource import Object
from virtlab.status import Cause

BINDINGS = ("bridge", "masquerade", "sriov", "passtBinding", "binding")
DISCONTINUED = {
    "slirp": "Slirp interface support has been discontinued since v1.3",
    "passt": "Passt network binding has been discontinued since v1.3",
    "macvtap": "Macvtap network binding has been discontinued since v1.3",
}
MODELS = ("e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio")
STATES = ("absent", "down", "up")
NETWORK_TYPES = ("pod", "multus", "resourceClaim")
BRIDGE_MAC = "02:00:00:00:00:00"
INTERFACE_NAME = re.compile(r"[A-Za-z0-9-_]+")
MAC_SEPARATED = re.compile(r"[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1)*[0-9a-fA-F]{2}")
MAC_DOTTED = re.compile(r"(?:[0-9a-fA-F]{4}\.)+[0-9a-fA-F]{4}")
MAC_SIZES = (6, 8, 20)  # bytes, as Go's net.ParseMAC takes them
PORT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PORTS = range(1, 65536)
MAX_PORT_RANGES = 10
PRIVATE_OPTIONS = range(224, 255)

Found = Iterator[Cause]


def mac_problem(address: str) -> str | None:
    """What is wrong with a MAC address."""
    if not address:
        return None
    size = 0
    if MAC_SEPARATED.fullmatch(address):
        size = (len(address) + 1) // 3
    elif MAC_DOTTED.fullmatch(address):
        size = (len(address) + 1) // 5 * 2
    if size not in MAC_SIZES:
        return f"malformed MAC address ({address})"
    return f"too long MAC address ({address})" if size > MAC_SIZES[0] else None


def creation(path: str, spec: Object) -> Found:
    """Bindings that are gone; KubeVirt checks them when a machine is created only."""
    for index, interface in enumerate(items(spec, "domain", "devices", "interfaces")):
        for binding, message in DISCONTINUED.items():
            if interface.get(binding) is not None:
                yield Cause(message, f"{path}.domain.devices.interfaces[{index}].{binding}", INVALID)


def networks(path: str, spec: Object, settings: Settings) -> Found:
    """All checks, in virt-api's order."""
    listed, interfaces = items(spec, "networks"), items(spec, "domain", "devices", "interfaces")
    devices = f"{path}.domain.devices.interfaces"
    by_name = {network.get("name"): network for network in listed}
    yield from _sources(path, listed)
    yield from _states(devices, interfaces, listed)
    yield from _bindings(devices, interfaces, by_name, settings)
    yield from _unique_names(path, listed)
    if any(network.get("resourceClaim") is not None for network in listed) and not settings.gate(
        "NetworkDevicesWithDRA"
    ):
        message = "vmi.spec.networks contains DRA networks but NetworkDevicesWithDRA feature gate is not enabled"
        yield Cause(message, f"{path}.networks", INVALID)
    names = {interface.get("name") for interface in interfaces}
    for index, network in enumerate(listed):
        if network.get("name") not in names:
            field = f"{path}.networks[{index}].name"
            yield Cause(f"{field} '{network.get('name')}' not found.", field, REQUIRED)
    seen: set[str] = set()
    for index, interface in enumerate(interfaces):
        if interface.get("name") in seen:
            message = "Only one interface can be connected to one specific network"
            yield Cause(message, f"{devices}[{index}].name", DUPLICATE)
        seen.add(interface.get("name"))
    for index, interface in enumerate(interfaces):
        if interface.get("name") not in by_name:
            field = f"{devices}[{index}].name"
            yield Cause(f"{field} '{interface.get('name')}' not found.", field, INVALID)
    for index, interface in enumerate(interfaces):
        yield from _fields(path, f"{devices}[{index}]", interface, by_name.get(interface.get("name")) or {}, settings)


def _sources(path: str, listed: list[Object]) -> Found:
    pods = [network for network in listed if network.get("pod") is not None]
    defaults = [network for network in listed if (network.get("multus") or {}).get("default")]
    if len(pods) > 1:
        field = f"{path}.interfaces"
        yield Cause(f"more than one interface is connected to a pod network in {field}", field, DUPLICATE)
    if len(defaults) > 1:
        yield Cause("Multus CNI should only have one default network", f"{path}.networks", INVALID)
    if pods and defaults:
        message = "Pod network cannot be defined when Multus default network is defined"
        yield Cause(message, f"{path}.networks", INVALID)
    for index, network in enumerate(listed):
        types = sum(network.get(kind) is not None for kind in NETWORK_TYPES)
        if types != 1:
            message = "should have only one network type" if types else "should have a network type"
            yield Cause(message, f"{path}.networks[{index}]", REQUIRED)
    for index, network in enumerate(listed):
        if network.get("multus") is not None and not network["multus"].get("networkName"):
            message = "CNI delegating plugin must have a networkName"
            yield Cause(message, f"{path}.networks[{index}]", REQUIRED)
            return


def _states(devices: str, interfaces: list[Object], listed: list[Object]) -> Found:
    default = next(
        (
            network.get("name")
            for network in listed
            if network.get("pod") is not None or (network.get("multus") or {}).get("default")
        ),
        None,
    )
    for index, interface in enumerate(interfaces):
        state, name, field = interface.get("state") or "", interface.get("name"), f"{devices}[{index}].state"
        if state and state not in STATES:
            yield Cause(f"logical {name} interface state value is unsupported: {state}", field, INVALID)
        quoted = f'"{name}" interface\'s state "{state}" is'
        if interface.get("sriov") is not None and state in ("down", "up"):
            yield Cause(f"{quoted} not supported for SR-IOV NICs", field, INVALID)
        if state == "absent" and interface.get("bridge") is None:
            yield Cause(f"{quoted} supported only for bridge binding", field, INVALID)
        if state == "absent" and name == default:
            yield Cause(f"{quoted} not supported on default networks", field, INVALID)


def _bindings(devices: str, interfaces: list[Object], by_name: dict[str, Object], settings: Settings) -> Found:
    for index, interface in enumerate(interfaces):
        this, network = f"{devices}[{index}]", by_name.get(interface.get("name", "")) or {}
        on_pod = network.get("pod") is not None
        if sum(interface.get(binding) is not None for binding in BINDINGS) != 1:
            name = interface.get("name")
            message = f"logical {name} interface must have exactly one binding method or binding plugin"
            yield Cause(message, this, INVALID)
        if interface.get("masquerade") is not None and not on_pod:
            yield Cause("Masquerade interface only implemented with pod network", f"{this}.name", INVALID)
        if interface.get("masquerade") is not None and interface.get("macAddress") == BRIDGE_MAC:
            message = "The requested MAC address is reserved for the in-pod bridge. Please choose another one."
            yield Cause(message, f"{this}.macAddress", INVALID)
        if interface.get("bridge") is not None and on_pod and not settings.bridge_on_pod_network:
            message = "Bridge on pod network configuration is not enabled under kubevirt-config"
            yield Cause(message, f"{this}.name", INVALID)
        if interface.get("passtBinding") is not None:
            if not settings.gate("PasstBinding"):
                yield Cause("PasstBinding feature gate is not enabled", f"{this}.name", INVALID)
            if not on_pod:
                yield Cause("PasstBinding interface only implemented with pod network", f"{this}.name", INVALID)


def _unique_names(path: str, listed: list[Object]) -> Found:
    seen: set[str] = set()
    for index, network in enumerate(listed):
        name = network.get("name") or ""
        if name in seen:
            message = f'Network with name "{name}" already exists, every network must have a unique name'
            yield Cause(message, f"{path}.networks[{index}].name", DUPLICATE)
        seen.add(name)


def _fields(path: str, this: str, interface: Object, network: Object, settings: Settings) -> Found:
    if not INTERFACE_NAME.fullmatch(interface.get("name") or ""):
        message = (
            "Network interface name can only contain alphabetical characters, numbers, dashes (-) or underscores (_)"
        )
        yield Cause(message, f"{this}.name", INVALID)
    model, address = interface.get("model"), interface.get("pciAddress")
    if model and model not in MODELS:
        message = f"interface {this}.name uses model {model} that is not supported."
        yield Cause(message, f"{this}.model", NOT_SUPPORTED)
    problem = mac_problem(interface.get("macAddress") or "")
    if problem:
        yield Cause(f"interface {this}.name has {problem}.", f"{this}.macAddress", INVALID)
    if address and not PCI_ADDRESS.fullmatch(address):
        message = f"interface {this}.name has malformed PCI address ({address})."
        yield Cause(message, f"{this}.pciAddress", INVALID)
    if network.get("pod") is not None:
        yield from _ports(this, interface.get("ports") or ())
    yield from _port_ranges(this, interface, network, settings)
    yield from _dhcp(path, this, interface.get("dhcpOptions"))


def _ports(this: str, ports: Sequence[Object]) -> Found:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        name, field = port.get("name") or "", f"{this}.ports[{index}].name"
        if not name:
            continue
        if name in seen:
            yield Cause(f"Duplicate name of the port: {name}", field, DUPLICATE)
        seen.add(name)
        if not PORT_NAME.fullmatch(name) or len(name) > 15 or not re.search("[a-z]", name):
            yield Cause(f"Invalid name of the port: {name}", field, INVALID)
    for index, port in enumerate(ports):
        number, field = port.get("port") or 0, f"{this}.ports[{index}]"
        if number == 0:
            yield Cause("Port field is mandatory.", f"{field}.port", REQUIRED)
        elif number not in PORTS:
            yield Cause("Port field must be in range 0 < x < 65536.", f"{field}.port", INVALID)
        if port.get("protocol") not in (None, "", "TCP", "UDP"):
            yield Cause("Unknown protocol, only TCP or UDP allowed", f"{field}.protocol", INVALID)


def _port_ranges(this: str, interface: Object, network: Object, settings: Settings) -> Found:
    ranges = interface.get("portRanges")
    if ranges is None:
        return
    if not settings.gate("PortRangesSpec"):
        message = "portRanges is specified on interface but the PortRangesSpec feature gate is not enabled"
        yield Cause(message, f"{this}.name", INVALID)
        return
    if network.get("pod") is None:
        return
    if interface.get("ports") is not None:
        yield Cause("Cannot define both ports and portRanges on interface", f"{this}.name", INVALID)
    if interface.get("masquerade") is None:
        yield Cause("portRanges are only supported on masquerade interfaces", f"{this}.name", INVALID)
    if len(ranges) > MAX_PORT_RANGES:
        yield Cause(f"No more than {MAX_PORT_RANGES} portRanges are allowed", f"{this}.portRanges", INVALID)
        return
    good: dict[str, list[tuple[int, int]]] = {}
    for index, item in enumerate(ranges):
        start, end, field = item.get("start") or 0, item.get("end") or 0, f"{this}.portRanges[{index}]"
        if item.get("protocol") not in ("TCP", "UDP"):
            yield Cause("Unknown protocol, only TCP or UDP allowed", f"{field}.protocol", INVALID)
        elif start not in PORTS:
            yield Cause("Start must be a valid port number, 0 < x < 65536", f"{field}.start", INVALID)
        elif end not in PORTS:
            yield Cause("End must be a valid port number, 0 < x < 65536", f"{field}.end", INVALID)
        elif start > end:
            yield Cause("Start must be less than or equal to end", f"{field}.start", INVALID)
        else:
            good.setdefault(item["protocol"], []).append((start, end))
    for protocol, intervals in good.items():
        ordered = sorted(intervals)
        for (first, last), (start, end) in pairwise(ordered):
            if start <= last:
                message = f"{protocol} portRanges [{first}-{last}] and [{start}-{end}] overlap"
                yield Cause(message, f"{this}.portRanges", INVALID)


def _dhcp(path: str, this: str, options: Object | None) -> Found:
    if options is None:
        return
    private = [item.get("option") for item in options.get("privateOptions") or ()]
    if len(set(private)) < len(private):
        yield Cause("Found Duplicates: you have provided duplicate DHCPPrivateOptions", path, INVALID)
    for number in private:
        if number not in PRIVATE_OPTIONS:
            message = "provided DHCPPrivateOptions are out of range, must be in range 224 to 254"
            yield Cause(message, path, INVALID)
    for index, server in enumerate(options.get("ntpServers") or ()):
        try:
            ipaddress.IPv4Address(server)
        except ValueError:
            message = "NTP servers must be a list of valid IPv4 addresses."
            yield Cause(message, f"{this}.dhcpOptions.ntpServers[{index}]", INVALID)
