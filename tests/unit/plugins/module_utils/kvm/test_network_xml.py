from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.module_utils.kvm.network_faults import (
    refuse_network,
    refuse_options,
    refuse_overlap,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.network_options import NETWORK_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.network_plan import plan
from ansible_collections.virtstack.core.plugins.module_utils.kvm.network_xml import declared, mode_of, restored
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import parse, same, written
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused

VALIDATOR = ArgumentSpecValidator({**NETWORK_OPTIONS, "replace_lists": {"type": "bool", "default": False}})
# As libvirt 9.0 gives it out.
NAT = """<network connections='2'><name>lan</name><uuid>3f1e0b5e-8c0a-4c39-9d80-52a2cb3f1d52</uuid>
<forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward><bridge name='virbr1' stp='on' delay='0'/>
<mac address='52:54:00:89:c1:d8'/><dns><host ip='192.168.150.9'><hostname>a</hostname></host></dns>
<ip address='192.168.150.1' netmask='255.255.255.0'><dhcp><range start='192.168.150.100' end='192.168.150.199'/>
<host mac='52:54:00:00:00:01' name='one' ip='192.168.150.11'/></dhcp></ip></network>"""
BRIDGE = "<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>"
OVS = "<network><name>lan</name><forward mode='bridge'/><bridge name='o'/><virtualport type='openvswitch'/></network>"
MACVTAP = "<network><name>lan</name><forward dev='e0' mode='private'><interface dev='e0'/></forward></network>"


def options(**given: Any) -> dict[str, Any]:
    validated = VALIDATOR.validate(given)
    assert not validated.error_messages, validated.error_messages
    return dict(validated.validated_parameters)


def wanted(live: str | None, **given: Any) -> Element:
    return declared("lan", options(**given), restored(live) if live else None)


@pytest.mark.parametrize(
    ("document", "mode"),
    [
        (NAT, "nat"),
        (BRIDGE, "bridge"),
        (OVS, "ovs"),
        (MACVTAP, "macvtap"),
        ("<network/>", "isolated"),
        ("<network><forward/></network>", "nat"),
        ("<network><forward mode='hostdev'/></network>", "hostdev"),
    ],
)
def test_the_mode_of_a_network_is_read_from_what_it_is_made_of(document: str, mode: str) -> None:
    assert mode_of(parse(document)) == mode


def test_a_task_that_says_nothing_changes_nothing() -> None:
    for document in (NAT, BRIDGE, OVS, MACVTAP):
        assert same(wanted(document), restored(document))


def test_what_is_there_in_another_spelling_is_no_change() -> None:
    given = wanted(
        NAT,
        mode="nat",
        ips=[
            {
                "address": "192.168.150.1",
                "prefix": 24,
                "reservations": [{"mac": "52:54:00:00:00:01", "ip": "192.168.150.11"}],
            }
        ],
    )
    assert same(given, restored(NAT))


def test_a_reservation_that_nobody_declared_stays() -> None:
    given = wanted(
        NAT,
        ips=[{"address": "192.168.150.1", "reservations": [{"mac": "52:54:00:00:00:02", "ip": "192.168.150.12"}]}],
    )
    assert [host.get("mac") for host in given.findall("ip/dhcp/host")] == ["52:54:00:00:00:01", "52:54:00:00:00:02"]


def test_a_whole_list_of_reservations_leaves_ranges_and_names_alone() -> None:
    given = wanted(NAT, replace_lists=True, ips=[{"address": "192.168.150.1", "reservations": []}])
    assert given.find("ip/dhcp/host") is None
    assert given.find("ip/dhcp/range") is not None
    assert given.find("dns/host") is not None


def test_another_mode_drops_what_libvirt_made_for_the_one_before() -> None:
    given = wanted(BRIDGE, mode="isolated")
    assert given.find("forward") is None
    assert given.find("bridge") is None
    given = wanted(NAT, mode="bridge", bridge="br0")
    assert given.find("forward/nat") is None
    assert given.find("mac") is None
    assert same(given.find("bridge"), parse("<bridge name='br0'/>"))  # type: ignore[arg-type]


def test_a_network_of_a_host_bridge_has_no_addresses() -> None:
    with pytest.raises(Refused, match="mode bridge has no mtu and no ips"):
        wanted(None, mode="bridge", bridge="br0", mtu=1400, ips=[{"address": "10.0.0.1"}])


def test_a_new_network_needs_a_mode() -> None:
    with pytest.raises(Refused, match="mode: is missing"):
        wanted(None)
    with pytest.raises(Refused, match="bridge: is missing"):
        wanted(None, mode="bridge")


def test_xml_is_merged_and_may_not_contradict_the_options() -> None:
    given = wanted(NAT, xml="<network><dns><host ip='192.168.150.10'><hostname>b</hostname></host></dns></network>")
    assert len(given.findall("dns/host")) == 2
    with pytest.raises(Refused, match="xml: says something else"):
        wanted(NAT, mtu=1400, xml="<network><mtu size='1500'/></network>")
    with pytest.raises(Refused, match="names the network other"):
        wanted(NAT, xml="<network><name>other</name></network>")
    with pytest.raises(Refused, match="line 1, column 19"):
        wanted(NAT, xml="<network><mtu size=9/></network>")
    with pytest.raises(Refused, match="begins with <domain>"):
        wanted(NAT, xml="<domain/>")


def test_one_portgroup_is_the_default() -> None:
    document = OVS.replace("</network>", "<portgroup name='a' default='yes'/><portgroup name='b'/></network>")
    given = wanted(document, portgroups=[{"name": "b", "default": True, "vlan": {"tags": [1, 2], "native": 1}}])
    assert {group.get("name"): group.get("default") for group in given.findall("portgroup")} == {"a": None, "b": "yes"}
    assert same(
        given.find("portgroup/vlan"),  # type: ignore[arg-type]
        parse("<vlan trunk='yes'><tag id='1' nativeMode='untagged'/><tag id='2'/></vlan>"),
    )
    assert wanted(document, portgroups=[{"name": "a", "default": False}]).find("portgroup[@default]") is None


def test_the_first_of_several_devices_is_told_twice_as_libvirt_has_it() -> None:
    given = wanted(MACVTAP, devices=["e1"], replace_lists=True)
    assert same(given.find("forward"), parse("<forward dev='e1' mode='private'><interface dev='e1'/></forward>"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mtu": 40}, "mtu: 40 is not from 68 to 65535"),
        ({"bridge": "a-name-that-is-too-long"}, "is no name of a device"),
        ({"mac": "52:54"}, "mac: 52:54 is no MAC address"),
        ({"vlan": {"tags": [4095]}}, "vlan: 4095 is no VLAN"),
        ({"portgroups": [{"name": "a", "vlan": {"tags": []}}]}, "portgroups.a.vlan.tags: is empty"),
        ({"portgroups": [{"name": "a", "default": True}, {"name": "b", "default": True}]}, "several are the default"),
        ({"ips": [{"address": "10.0.0.1", "prefix": 8, "netmask": "255.0.0.0"}]}, "a prefix and a netmask"),
        ({"ips": [{"address": "10.0.0.1", "ranges": [{"start": "a", "end": "b", "lease_seconds": 9}]}]}, "120 seconds"),
        ({"ips": [{"address": "10.0.0.1", "reservations": [{"ip": "10.0.0.2"}]}]}, "needs mac, duid or name"),
    ],
)
def test_a_value_that_is_none_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        refuse_options("lan", options(**given))


DHCP = {"address": "10.0.0.1", "prefix": 24}


@pytest.mark.parametrize(
    ("ip", "told"),
    [
        ({"ranges": [{"start": "10.0.1.2", "end": "10.0.1.9"}]}, "is not within 10.0.0.0/24"),
        ({"ranges": [{"start": "10.0.0.9", "end": "10.0.0.2"}]}, "ends before it begins"),
        ({"reservations": [{"mac": "52:54:00:00:00:01", "ip": "10.0.1.2"}]}, "no address within"),
        ({"reservations": [{"mac": "52:54", "ip": "10.0.0.2"}]}, "52:54 is no MAC address"),
        (
            {
                "reservations": [
                    {"mac": "52:54:00:00:00:01", "ip": "10.0.0.2"},
                    {"mac": "52:54:00:00:00:02", "ip": "10.0.0.2"},
                ]
            },
            "the address 10.0.0.2 is given twice, to 52:54:00:00:00:01 and 52:54:00:00:00:02",
        ),
    ],
)
def test_addresses_that_cannot_be_are_refused(ip: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        refuse_network(wanted(None, mode="isolated", ips=[DHCP | ip]))


def test_an_address_that_is_reserved_on_the_host_already_is_not_given_again() -> None:
    again = [{"address": "192.168.150.1", "reservations": [{"mac": "52:54:00:00:00:02", "ip": "192.168.150.11"}]}]
    with pytest.raises(Refused, match=r"192\.168\.150\.11 is given twice"):
        refuse_network(wanted(NAT, ips=again))


def test_two_active_networks_do_not_serve_the_same_addresses() -> None:
    with pytest.raises(Refused, match=r"overlaps with 192\.168\.150\.0/24 of the active network lan"):
        refuse_overlap(wanted(None, mode="isolated", ips=[{"address": "192.168.0.1", "prefix": 16}]), [parse(NAT)])


def test_reservations_names_and_ranges_change_in_place() -> None:
    given = wanted(
        NAT,
        ips=[
            {
                "address": "192.168.150.1",
                "ranges": [{"start": "192.168.150.20", "end": "192.168.150.29"}],
                "reservations": [
                    {"mac": "52:54:00:00:00:01", "ip": "192.168.150.13"},
                    {"mac": "52:54:00:00:00:02", "ip": "192.168.150.12"},
                ],
            }
        ],
        dns={"hosts": [{"ip": "192.168.150.9", "state": "absent"}, {"ip": "192.168.150.1", "hostnames": ["gw"]}]},
    )
    way = plan(restored(NAT), given)
    assert way.left == []
    assert [(step.command, step.section, step.parent) for step in way.steps] == [
        ("DELETE", "DNS_HOST", -1),
        ("ADD_LAST", "DNS_HOST", -1),
        ("ADD_LAST", "IP_DHCP_RANGE", 0),
        ("MODIFY", "IP_DHCP_HOST", 0),
        ("ADD_LAST", "IP_DHCP_HOST", 0),
    ]
    assert str(way.steps[-1]) == "added ip-dhcp-host 52:54:00:00:00:02 192.168.150.12"


def test_what_cannot_change_in_place_is_left_with_its_name() -> None:
    given = wanted(NAT, mtu=1400, domain="x", ips=[{"address": "10.1.0.1", "prefix": 24}])
    way = plan(restored(NAT), given)
    assert way.steps == []
    assert sorted(way.left) == ["domain", "ip", "mtu"]


def test_an_active_network_is_like_its_configuration_although_it_says_more() -> None:
    configured = NAT.replace("<nat><port start='1024' end='65535'/></nat>", "").replace(" connections='2'", "")
    assert plan(restored(NAT), restored(configured)) == plan(restored(NAT), restored(NAT))
    assert plan(restored(NAT), restored(configured)).left == []


def test_portgroups_and_devices_change_in_place() -> None:
    way = plan(restored(MACVTAP), wanted(MACVTAP, devices=["e1"], portgroups=[{"name": "a"}]))
    assert way.left == []
    assert [(step.command, step.section) for step in way.steps] == [
        ("ADD_LAST", "FORWARD_INTERFACE"),
        ("ADD_LAST", "PORTGROUP"),
    ]
    assert "<network" in written(restored(MACVTAP))
