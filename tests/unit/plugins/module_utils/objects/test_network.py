"""Networks: CNI configurations of each type, and what node network policies and their enactments say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects import network
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure


def config(kind: str, **options: Any) -> dict[str, Any]:
    return network.network_config(kind, "lan", "prod", options)


def test_a_bridge_network() -> None:
    assert config("bridge", bridge="br1", vlan=93, macspoofchk=True, preserve_default_vlan=False) == {
        "cniVersion": "0.3.1",
        "name": "lan",
        "type": "cnv-bridge",
        "bridge": "br1",
        "vlan": 93,
        "macspoofchk": True,
        "preserveDefaultVlan": False,
    }


def test_a_bridge_network_with_tuning_is_a_chain_in_that_order() -> None:
    chained = config("bridge", bridge="br1", tuning={"mtu": 1450})
    assert chained["plugins"] == [{"type": "cnv-bridge", "bridge": "br1"}, {"type": "cnv-tuning", "mtu": 1450}]
    assert "type" not in chained


def test_a_layer2_network_names_itself_and_its_definition() -> None:
    assert config("layer2", mtu=1300) == {
        "cniVersion": "0.3.1",
        "name": "lan",
        "type": "ovn-k8s-cni-overlay",
        "topology": "layer2",
        "netAttachDefName": "prod/lan",
        "mtu": 1300,
    }


def test_a_localnet_network_leads_to_the_physical_one() -> None:
    made = config("localnet", network="office", physical_network="physnet1", vlan=7)
    assert (made["name"], made["physicalNetworkName"], made["vlanID"]) == ("office", "physnet1", 7)
    assert network.localnet_of(made) == "physnet1"
    assert network.localnet_of(config("localnet")) == "lan"
    assert network.localnet_of(config("layer2")) is None


def test_a_sriov_network_says_on_and_off() -> None:
    made = config("sriov", resource_name="openshift.io/nics", macspoofchk=False, trust=True, link_state="auto")
    assert (made["spoofchk"], made["trust"], made["link_state"]) == ("off", "on", "auto")
    assert "resource_name" not in made


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("bridge", {}, "needs bridge"),
        ("sriov", {}, "needs resource_name"),
        ("layer2", {"vlan": 5}, "has no vlan"),
        ("layer2", {"bridge": "br1"}, "has no bridge"),
        ("bridge", {"bridge": "br1", "vlan": 0}, "between 1 and 4094"),
        ("bridge", {"bridge": "br1", "vlan": 4095}, "between 1 and 4094"),
        ("layer2", {"mtu": 10}, "between 68 and 65535"),
        ("bridge", {"bridge": "a-much-too-long-name"}, "1 to 15 characters"),
        ("bridge", {"bridge": "br/1"}, "1 to 15 characters"),
    ],
)
def test_options_that_cannot_be_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Failure, match=message):
        config(kind, **options)


def test_machines_are_scheduled_where_their_bridge_is() -> None:
    assert network.network_annotations("bridge", {"bridge": "br1"}) == {
        "k8s.v1.cni.cncf.io/resourceName": "bridge.network.kubevirt.io/br1"
    }
    assert network.network_annotations("layer2", {}) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"type": "bridge",', "not valid JSON"),
        ("[]", "a JSON object"),
        ({"name": "lan"}, "neither type nor plugins"),
        ({"type": "ovn-k8s-cni-overlay", "netAttachDefName": "default/lan"}, "prod/lan"),
        ({"type": "ovn-k8s-cni-overlay"}, "netAttachDefName is needed"),
    ],
)
def test_a_configuration_that_no_plugin_reads_is_refused(given: Any, message: str) -> None:
    with pytest.raises(Failure, match=message):
        network.read_config(given, "lan", "prod")


def test_a_configuration_as_it_is_takes_no_typed_options_beside_it() -> None:
    with pytest.raises(Failure, match="vlan: write that into config"):
        network.declared_config("lan", "prod", {"config": {"type": "bridge"}, "vlan": 3})


def test_a_name_that_differs_is_noticed_but_not_in_overlay_networks() -> None:
    assert network.config_name_differs({"name": "other", "type": "bridge"}, "lan") == "other"
    assert network.config_name_differs({"name": "lan", "type": "bridge"}, "lan") is None
    assert network.config_name_differs({"name": "other", "type": "ovn-k8s-cni-overlay"}, "lan") is None


def test_a_live_configuration_of_the_same_meaning_is_kept_as_it_is_written() -> None:
    wanted = {"type": "bridge", "bridge": "br1"}
    text = json.dumps({"bridge": "br1", "type": "bridge"}, indent=2)
    live = {"spec": {"config": text}}
    made = network.attachment("lan", "prod", wanted, annotations={}, labels={}, live=live)
    assert made["spec"]["config"] == text


@pytest.mark.parametrize("text", ['{"type": "bridge", "bridge": "br2"}', "no json", None])
def test_a_live_configuration_of_another_meaning_is_replaced(text: str | None) -> None:
    wanted = {"type": "bridge", "bridge": "br1"}
    made = network.attachment("lan", "prod", wanted, annotations={}, labels={}, live={"spec": {"config": text}})
    assert json.loads(made["spec"]["config"]) == wanted


def test_ipam_is_noticed_in_a_chain_as_well() -> None:
    assert network.has_ipam({"plugins": [{"type": "bridge", "ipam": {"type": "whereabouts"}}]})
    assert not network.has_ipam({"type": "bridge", "ipam": {}})


def test_localnets_are_those_that_policies_map_and_do_not_take_away() -> None:
    mappings = [
        {"localnet": "one", "bridge": "br-ex"},
        {"localnet": "two", "bridge": "br-ex", "state": "absent"},
    ]
    policies = [{"spec": {"desiredState": {"ovn": {"bridge-mappings": mappings}}}}, {"spec": {}}]
    assert network.localnets(policies) == {"physnet", "one"}


@pytest.mark.parametrize(("text", "value"), [(None, None), ("1", 1), ("50%", "50%"), ("100%", "100%")])
def test_max_unavailable_is_a_count_or_a_percentage(text: str | None, value: Any) -> None:
    assert network.max_unavailable(text) == value


@pytest.mark.parametrize("text", ["0", "0%", "half", "-1", "50 %", ""])
def test_max_unavailable_is_nothing_else(text: str) -> None:
    with pytest.raises(Failure, match="max_unavailable is"):
        network.max_unavailable(text)


def policy(generation: int = 1, stamp: str | None = None, heartbeat: str = "", **statuses: str) -> dict[str, Any]:
    conditions = [{"type": kind, "status": value, "lastHeartbeatTime": heartbeat} for kind, value in statuses.items()]
    annotations = {"nmstate.io/webhook-mutating-timestamp": stamp} if stamp else {}
    metadata = {"name": "br1", "generation": generation, "annotations": annotations}
    return {"metadata": metadata, "status": {"conditions": conditions}}


def enactment(node: str, generation: int = 1, message: str = "", **statuses: str) -> dict[str, Any]:
    conditions = [{"type": kind, "status": status, "message": message} for kind, status in statuses.items()]
    return {
        "metadata": {"name": f"{node}.br1", "labels": {"nmstate.io/node": node, "nmstate.io/policy": "br1"}},
        "status": {"policyGeneration": generation, "conditions": conditions},
    }


DONE = {"Available": "True", "Progressing": "False", "Degraded": "False"}


def test_a_policy_is_configured_when_every_node_has_taken_it() -> None:
    nodes = [enactment("a", Available="True"), enactment("b", Available="True")]
    assert network.configured(policy(**DONE), nodes) == Ready()


def test_conditions_of_the_policy_before_its_change_do_not_count() -> None:
    nodes = [enactment("a", 2, Available="True"), enactment("b", 1, Available="True")]
    assert network.configured(policy(2, **DONE), nodes) == Progress("1 of 2 nodes configured, waiting for b")


def test_a_node_that_fails_ends_the_wait_with_the_line_that_says_why() -> None:
    message = "error reconciling on node a\n\n  NmstateError: InvalidArgument: Interface eth9 not found\n"
    nodes = [enactment("a", message=message, Failing="True"), enactment("b", Aborted="True")]
    verdict = network.configured(policy(Degraded="True"), nodes)
    assert verdict == Failed("a could not be configured: NmstateError: InvalidArgument: Interface eth9 not found")


def test_a_failure_of_an_older_generation_is_no_failure() -> None:
    nodes = [enactment("a", 1, Failing="True")]
    assert isinstance(network.configured(policy(2, **DONE), nodes), Progress)
    assert network.enacted(2)(nodes[0]) == Progress()


def test_a_policy_without_a_node_is_done() -> None:
    assert network.configured(policy(Ignored="True"), []) == Ready()
    assert network.no_node_matches(policy(Ignored="True"))


def test_that_no_node_matches_must_have_been_said_since_the_change() -> None:
    stamp = "1795202117878264107"
    assert isinstance(network.configured(policy(2, stamp, "2026-11-20T19:15:16Z", Ignored="True"), []), Progress)
    assert network.configured(policy(2, stamp, "2026-11-20T19:15:17Z", Ignored="True"), []) == Ready()


def test_a_new_policy_without_conditions_is_waited_for() -> None:
    assert network.configured(policy(), []) == Progress("0 of 0 nodes configured")
