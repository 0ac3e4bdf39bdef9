# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a guest is reached: by an address of its interfaces, by a Service, or by a name that the cluster's DNS serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..cluster.resource import Object
from ..inventory.guests import leads_to_guest, way_in
from .hostvars import Guest

SSH, WINRM_HTTP, WINRM_HTTPS = 22, 5985, 5986

# The ports on which a connection plugin expects its guest, the better one first.
CONNECTION_PORTS: dict[str, tuple[int, ...]] = {
    "ssh": (SSH,),
    "winrm": (WINRM_HTTPS, WINRM_HTTP),
    "psrp": (WINRM_HTTPS, WINRM_HTTP),
}
# The variable that says HTTP or HTTPS when the port does not tell.
_SCHEME_VARIABLES = {"winrm": "ansible_winrm_scheme", "psrp": "ansible_psrp_protocol"}

_NODE_ADDRESS_TYPES = {"internal_ip": "InternalIP", "external_ip": "ExternalIP", "hostname": "Hostname"}


@dataclass(frozen=True)
class Endpoint:
    """Where to connect. C(port) is None where the connection's own default is right; C(target) is the guest's port."""

    host: str
    port: int | None = None
    target: int | None = None


@dataclass(frozen=True)
class Reach:
    """What the user says about reaching guests, under the names of the inventory's options."""

    address: Sequence[str] = ("interface",)
    networks: Sequence[str] = ()
    address_family: str = "any"
    service_types: Sequence[str] = ("LoadBalancer", "NodePort")
    service_port: str | None = None
    node_address: str = "name"
    node_domain: str | None = None
    node_port_host: str | None = None
    secondary_dns_domain: str | None = None
    windows_connection: str = "winrm"

    @property
    def wants_services(self) -> bool:
        return "service" in self.address

    @property
    def wants_nodes(self) -> bool:
        nodes = self.node_address != "name" and self.node_port_host is None
        return self.wants_services and "NodePort" in self.service_types and nodes


@dataclass(frozen=True)
class Surroundings:
    """What the cluster has beside the guests: Services by namespace, and the nodes' addresses."""

    services: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    nodes: Mapping[str, Object] = field(default_factory=dict)


def connection_variables(guest: Guest, reach: Reach, surroundings: Surroundings) -> dict[str, Any]:
    """The C(ansible_*) variables of a guest: how to connect, and where when an address is known."""
    connection, variables = way_in(guest.variables, reach.windows_connection)
    endpoint = endpoint_of(guest, connection, reach, surroundings)
    if endpoint is not None:
        variables["ansible_host"] = endpoint.host
        if endpoint.port is not None:
            variables["ansible_port"] = endpoint.port
        if endpoint.target in (WINRM_HTTP, WINRM_HTTPS) and connection in _SCHEME_VARIABLES:
            variables[_SCHEME_VARIABLES[connection]] = "https" if endpoint.target == WINRM_HTTPS else "http"
    return variables


def endpoint_of(guest: Guest, connection: str, reach: Reach, surroundings: Surroundings) -> Endpoint | None:
    """The first of the wanted ways that leads to the guest, or None."""
    for way in reach.address:
        endpoint = None
        if way == "interface":
            endpoint = _by_interface(guest, reach)
        elif way == "service":
            endpoint = _by_service(guest, connection, reach, surroundings)
        elif way == "secondary_dns":
            endpoint = _by_secondary_dns(guest, reach)
        if endpoint is not None:
            return endpoint
    return None


def _wanted_networks(guest: Guest, reach: Reach) -> Iterable[tuple[str, Mapping[str, Any]]]:
    networks: Mapping[str, Mapping[str, Any]] = guest.variables["virtstack_networks"]
    if not reach.networks:
        return networks.items()
    return [(name, networks[name]) for name in reach.networks if name in networks]


def _by_interface(guest: Guest, reach: Reach) -> Endpoint | None:
    for _name, network in _wanted_networks(guest, reach):
        for address in network.get("ips", ()):
            if leads_to_guest(address, reach.address_family):
                return Endpoint(address)
    return None


def _by_secondary_dns(guest: Guest, reach: Reach) -> Endpoint | None:
    """KubeSecondaryDNS answers for interfaces on secondary networks that have an address.

    Source: https://github.com/kubevirt/kubesecondarydns, "Parameters".
    """
    namespace, name = guest.key
    for interface, network in _wanted_networks(guest, reach):
        if network.get("network") not in (None, "pod") and network.get("ips"):
            domain = f".{reach.secondary_dns_domain}" if reach.secondary_dns_domain else ""
            return Endpoint(f"{interface}.{name}.{namespace}.vm{domain}")
    return None


def _by_service(guest: Guest, connection: str, reach: Reach, surroundings: Surroundings) -> Endpoint | None:
    if guest.variables["virtstack_node"] is None:
        return None
    services = [
        service
        for service in surroundings.services.get(guest.key[0], ())
        if _selects(service, guest) and service["spec"].get("type", "ClusterIP") in reach.service_types
    ]
    # The types in the user's order, the ports in the connection's: HTTPS behind any Service beats HTTP.
    for port in (None,) if reach.service_port else CONNECTION_PORTS[connection]:
        for kind in reach.service_types:
            for service in services:
                if service["spec"].get("type", "ClusterIP") == kind:
                    endpoint = _through(service, kind, port, guest, reach, surroundings)
                    if endpoint is not None:
                        return endpoint
    return None


def _selects(service: Object, guest: Guest) -> bool:
    """Whether a Service's selector matches the labels of the guest's launcher pod."""
    selector = (service.get("spec") or {}).get("selector")
    if not selector:
        return False
    labels = guest.pod_labels
    # virt-controller labels the pod beyond what the instance has.
    own = {"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": guest.key[1]}
    return all(labels.get(key, own.get(key)) == value for key, value in selector.items())


def _through(
    service: Object, kind: str, wanted: int | None, guest: Guest, reach: Reach, surroundings: Surroundings
) -> Endpoint | None:
    """The way through a Service, if it has an address and the wanted port (None: what C(service_port) names)."""
    spec = service["spec"]
    for port in spec.get("ports") or ():
        target = _target(port, guest)
        if port.get("protocol", "TCP") != "TCP":
            continue
        if wanted is None and reach.service_port not in (port.get("name"), str(port["port"])):
            continue
        if wanted is not None and target != wanted:
            continue
        if kind == "NodePort":
            host, number = _node(guest, reach, surroundings), port.get("nodePort")
        else:
            host, number = _service_host(service, kind), port["port"]
        if host and number:
            return Endpoint(host, int(number), target)
    return None


def _target(port: Mapping[str, Any], guest: Guest) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, str) and not target.isdecimal():
        return guest.ports.get(target)
    return int(target)


def _service_host(service: Object, kind: str) -> str | None:
    spec = service["spec"]
    if kind == "LoadBalancer":
        for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            host = ingress.get("ip") or ingress.get("hostname")
            if host:
                return str(host)
        return None
    if spec.get("clusterIP") in (None, "", "None"):
        return f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    return str(spec["clusterIP"])


def _node(guest: Guest, reach: Reach, surroundings: Surroundings) -> str | None:
    """The host behind which node ports are found: one for all, or the node that the guest runs on."""
    if reach.node_port_host:
        return reach.node_port_host
    name = str(guest.variables["virtstack_node"])
    if reach.node_address == "name":
        return f"{name}.{reach.node_domain}" if reach.node_domain else name
    wanted = _NODE_ADDRESS_TYPES[reach.node_address]
    addresses = (surroundings.nodes.get(name, {}).get("status") or {}).get("addresses") or ()
    return next((str(entry["address"]) for entry in addresses if entry.get("type") == wanted), None)
