"""How a guest's address is found."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.objects.addresses import (
    Reach,
    Surroundings,
    connection_variables,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.hostvars import Guest


def guest(os: str = "fedora", **networks: dict[str, Any]) -> Guest:
    variables = {
        "virtstack_name": "db",
        "virtstack_namespace": "prod",
        "virtstack_os": os,
        "virtstack_node": "worker-1",
        "virtstack_networks": networks
        or {
            "default": {"network": "pod", "ips": ["10.0.2.2", "fd00::2"]},
            "lan": {"network": "prod/vlan93", "ips": ["fe80::1", "2001:db8::7", "192.168.93.7"]},
        },
    }
    return Guest(variables, {"app": "shop", "kubevirt.io/domain": "db"}, {"ssh": 22, "alternative": 2222})


def service(type: str = "NodePort", name: str = "db-ssh", **spec: Any) -> dict[str, Any]:
    spec.setdefault("selector", {"kubevirt.io/domain": "db"})
    spec.setdefault("ports", [{"port": 22, "targetPort": 22, "nodePort": 30022}])
    return {
        "metadata": {"name": name, "namespace": "prod"},
        "spec": {"type": type, "clusterIP": "172.30.0.9", **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]} if type == "LoadBalancer" else {}},
    }


def reached(machine: Guest, *services: dict[str, Any], nodes: Any = None, **reach: Any) -> dict[str, Any]:
    if services:
        reach.setdefault("address", ["service"])
    return connection_variables(machine, Reach(**reach), Surroundings({"prod": list(services)}, nodes or {}))


def test_the_first_interface_with_an_address_is_taken() -> None:
    assert reached(guest()) == {"ansible_host": "10.0.2.2"}


def test_networks_are_taken_in_the_order_they_are_wanted() -> None:
    assert reached(guest(), networks=["absent", "lan", "default"]) == {"ansible_host": "2001:db8::7"}


@pytest.mark.parametrize(
    ("family", "address"), [("ipv4", "192.168.93.7"), ("ipv6", "2001:db8::7"), ("any", "2001:db8::7")]
)
def test_an_address_is_of_the_wanted_family_and_not_link_local(family: str, address: str) -> None:
    assert reached(guest(), networks=["lan"], address_family=family)["ansible_host"] == address


def test_a_guest_without_the_wanted_network_gets_no_address() -> None:
    assert reached(guest(), networks=["storage"]) == {}


def test_a_node_port_leads_through_the_guests_own_node() -> None:
    assert reached(guest(), service()) == {"ansible_host": "worker-1", "ansible_port": 30022}


def test_a_domain_makes_a_nodes_name_resolvable() -> None:
    assert reached(guest(), service(), node_domain="example.com")["ansible_host"] == "worker-1.example.com"


def test_one_host_may_stand_for_all_nodes() -> None:
    assert reached(guest(), service(), node_port_host="vip", node_address="internal_ip")["ansible_host"] == "vip"


def test_a_nodes_address_is_taken_from_the_node() -> None:
    addresses = [{"type": "Hostname", "address": "worker-1"}, {"type": "InternalIP", "address": "192.0.2.11"}]
    nodes = {"worker-1": {"status": {"addresses": addresses}}}

    assert reached(guest(), service(), nodes=nodes, node_address="internal_ip")["ansible_host"] == "192.0.2.11"
    assert reached(guest(), service(), nodes=nodes, node_address="external_ip") == {}


def test_a_load_balancer_goes_before_a_node_port_and_uses_the_services_port() -> None:
    balancer = service("LoadBalancer", ports=[{"port": 2022, "targetPort": 22, "nodePort": 31000}])

    assert reached(guest(), service(), balancer) == {"ansible_host": "203.0.113.5", "ansible_port": 2022}


def test_the_order_of_service_types_is_the_users() -> None:
    found = reached(guest(), service("LoadBalancer"), service(), service_types=["NodePort", "LoadBalancer"])

    assert found["ansible_host"] == "worker-1"


def test_a_load_balancer_without_an_address_yet_is_passed_over() -> None:
    pending = service("LoadBalancer")
    pending["status"] = {"loadBalancer": {}}

    assert reached(guest(), pending, service())["ansible_port"] == 30022


def test_a_load_balancer_may_have_a_name_only() -> None:
    named = service("LoadBalancer")
    named["status"]["loadBalancer"]["ingress"] = [{"hostname": "lb.example.com"}]

    assert reached(guest(), named)["ansible_host"] == "lb.example.com"


def test_the_right_one_of_several_ports_is_taken() -> None:
    ports = [
        {"name": "https", "port": 443, "targetPort": 8443, "nodePort": 30443},
        {"name": "dns", "port": 22, "targetPort": 22, "nodePort": 30053, "protocol": "UDP"},
        {"name": "ssh", "port": 2022, "targetPort": 22, "nodePort": 30022},
    ]

    assert reached(guest(), service(ports=ports))["ansible_port"] == 30022


@pytest.mark.parametrize(("target", "port"), [("ssh", 30022), ("alternative", None), ("unknown", None), ("22", 30022)])
def test_a_named_target_port_is_that_of_the_guests_interface(target: str, port: int | None) -> None:
    ports = [{"port": 1022, "targetPort": target, "nodePort": 30022}]

    assert reached(guest(), service(ports=ports)).get("ansible_port") == port


@pytest.mark.parametrize("wanted", ["admin", "2022"])
def test_a_port_of_the_service_may_be_named(wanted: str) -> None:
    ports = [
        {"name": "ssh", "port": 22, "targetPort": 22, "nodePort": 30022},
        {"name": "admin", "port": 2022, "targetPort": 2222, "nodePort": 30222},
    ]

    assert reached(guest(), service(ports=ports), service_port=wanted)["ansible_port"] == 30222


def test_a_port_without_target_leads_to_the_same_number() -> None:
    assert reached(guest(), service(ports=[{"port": 22, "nodePort": 30022}]))["ansible_port"] == 30022


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        ({"app": "shop"}, True),
        ({"app": "shop", "tier": "web"}, False),
        ({"vm.kubevirt.io/name": "db"}, True),
        ({"vm.kubevirt.io/name": "other"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_service_selects_by_the_labels_of_the_launcher_pod(selector: dict[str, str] | None, selects: bool) -> None:
    assert bool(reached(guest(), service(selector=selector))) is selects


def test_a_service_of_another_namespace_selects_nothing() -> None:
    surroundings = Surroundings({"test": [service()]})

    assert connection_variables(guest(), Reach(address=["service"]), surroundings) == {}


def test_a_cluster_ip_is_taken_only_when_wanted() -> None:
    inside = service("ClusterIP")

    assert reached(guest(), inside) == {}
    assert reached(guest(), inside, service_types=["ClusterIP"]) == {"ansible_host": "172.30.0.9", "ansible_port": 22}


def test_a_headless_service_is_reached_by_its_name() -> None:
    headless = service("ClusterIP", clusterIP="None")

    assert reached(guest(), headless, service_types=["ClusterIP"])["ansible_host"] == "db-ssh.prod.svc"


def test_without_a_service_the_next_way_is_tried() -> None:
    assert reached(guest(), address=["service", "interface"])["ansible_host"] == "10.0.2.2"


def test_a_stopped_machine_is_reached_through_no_service() -> None:
    stopped = guest(default={"network": "pod"})
    stopped.variables["virtstack_node"] = None

    assert reached(stopped, service()) == {}


def test_secondary_dns_names_the_first_secondary_network() -> None:
    found = reached(guest(), address=["secondary_dns"], secondary_dns_domain="vms.example.com")

    assert found == {"ansible_host": "lan.db.prod.vm.vms.example.com"}


def test_secondary_dns_without_a_domain_ends_in_vm() -> None:
    assert reached(guest(), address=["secondary_dns"]) == {"ansible_host": "lan.db.prod.vm"}


def test_secondary_dns_serves_no_pod_network() -> None:
    assert reached(guest(), address=["secondary_dns"], networks=["default"]) == {}


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("winrm", {"ansible_connection": "winrm", "ansible_host": "10.0.2.2"}),
        ("psrp", {"ansible_connection": "psrp", "ansible_host": "10.0.2.2"}),
        ("ssh", {"ansible_connection": "ssh", "ansible_shell_type": "cmd", "ansible_host": "10.0.2.2"}),
        ("none", {"ansible_host": "10.0.2.2"}),
    ],
)
def test_a_windows_guest_gets_the_connection_that_is_told(connection: str, expected: dict[str, str]) -> None:
    assert reached(guest("windows"), windows_connection=connection) == expected


@pytest.mark.parametrize(
    ("connection", "target", "scheme"),
    [
        ("winrm", 5985, {"ansible_winrm_scheme": "http"}),
        ("winrm", 5986, {"ansible_winrm_scheme": "https"}),
        ("psrp", 5985, {"ansible_psrp_protocol": "http"}),
        ("psrp", 5986, {"ansible_psrp_protocol": "https"}),
    ],
)
def test_behind_a_service_the_scheme_follows_the_guests_port(
    connection: str, target: int, scheme: dict[str, str]
) -> None:
    ports = [{"port": target, "targetPort": target, "nodePort": 30985}]
    found = reached(guest("windows"), service(ports=ports), windows_connection=connection)

    assert found == {
        "ansible_connection": connection,
        "ansible_host": "worker-1",
        "ansible_port": 30985,
        **scheme,
    }


def test_https_goes_before_http_whichever_service_has_it() -> None:
    plain = service("LoadBalancer", ports=[{"port": 5985}])
    secure = service("NodePort", ports=[{"port": 5986, "nodePort": 30986}])

    assert reached(guest("windows"), plain, secure)["ansible_port"] == 30986


def test_lists_beyond_the_guests_are_wanted_only_where_they_are_used() -> None:
    assert not Reach().wants_services
    assert not Reach(address=["service"]).wants_nodes
    assert Reach(address=["service"], node_address="internal_ip").wants_nodes
    assert not Reach(address=["service"], node_address="internal_ip", node_port_host="vip").wants_nodes
    assert not Reach(address=["service"], node_address="internal_ip", service_types=["LoadBalancer"]).wants_nodes
