"""The VirtualMachine that a declaration makes, and what a VM that exists keeps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.module_utils.cluster.merge import intent
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt import SPEC, VIRTUAL_MACHINE, at, by_name
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_manifest import Plan, plan, whole_lists
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_options import (
    VM_OPTIONS,
    is_platform_namespace,
    read_declaration,
)

VALIDATOR = ArgumentSpecValidator({"name": {"type": "str"}, "namespace": {"type": "str"}, **VM_OPTIONS})
DESIGN = {
    "instancetype": "u1.medium",
    "preference": "rhel.9",
    "disks": [
        {"name": "root", "boot_source": "rhel9", "size": "30Gi"},
        {"name": "data", "blank": True, "size": "100Gi"},
    ],
    "interfaces": [{"name": "default", "network": "pod"}, {"name": "lan", "network": "vlan93"}],
    "run_strategy": "Always",
}


def planned(live: Object | None = None, **options: Any) -> Plan:
    given = {"name": "db", "namespace": "prod", **options}
    checked = VALIDATOR.validate({name: value for name, value in given.items() if value is not None})
    assert not checked.error_messages, checked.error_messages
    return plan(read_declaration(checked.validated_parameters), live)


def refused(live: Object | None = None, **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        planned(live, **options)
    return str(caught.value)


def made(body: Object, *owned: str) -> Object:
    """The object as the server holds it after an apply, our manager owning C(owned)."""
    live = intent(VIRTUAL_MACHINE, copy.deepcopy(body)).body
    fields: dict[str, Any] = {}
    for path in owned:
        place = fields
        for part in path.split("."):
            place = place.setdefault(f"f:{part}", {})
    entry = {"manager": "virtstack", "operation": "Apply", "apiVersion": "kubevirt.io/v1", "fieldsV1": fields}
    live["metadata"].update(uid="u", resourceVersion="1", managedFields=[entry])
    return live


def applied(live: Object, body: Object) -> Object:
    return intent(VIRTUAL_MACHINE, body, live).body


def test_the_example_of_the_design_makes_the_whole_machine() -> None:
    spec = planned(**DESIGN).body["spec"]
    assert spec["instancetype"] == {"name": "u1.medium"}
    assert spec["preference"] == {"name": "rhel.9"}
    assert spec["runStrategy"] == "Always"
    assert spec["dataVolumeTemplates"] == [
        {
            "metadata": {"name": "db-root"},
            "spec": {
                "storage": {"resources": {"requests": {"storage": "30Gi"}}},
                "sourceRef": {
                    "kind": "DataSource",
                    "name": "rhel9",
                    "namespace": "openshift-virtualization-os-images",
                },
            },
        },
        {
            "metadata": {"name": "db-data"},
            "spec": {"storage": {"resources": {"requests": {"storage": "100Gi"}}}, "source": {"blank": {}}},
        },
    ]
    template = spec["template"]["spec"]
    # The preference chooses the bus.
    assert template["domain"]["devices"]["disks"] == [{"name": "root", "disk": {}}, {"name": "data", "disk": {}}]
    assert template["domain"]["devices"]["interfaces"] == [
        {"name": "default", "masquerade": {}},
        {"name": "lan", "bridge": {}},
    ]
    assert template["networks"] == [
        {"name": "default", "pod": {}},
        {"name": "lan", "multus": {"networkName": "vlan93"}},
    ]
    assert template["volumes"] == [
        {"name": "root", "dataVolume": {"name": "db-root"}},
        {"name": "data", "dataVolume": {"name": "db-data"}},
    ]


@pytest.mark.parametrize(
    ("source", "volume"),
    [
        ({"pvc": "p"}, {"persistentVolumeClaim": {"claimName": "p"}}),
        ({"data_volume": "d"}, {"dataVolume": {"name": "d"}}),
        ({"container_disk": "img"}, {"containerDisk": {"image": "img"}}),
        ({"ephemeral": "p"}, {"ephemeral": {"persistentVolumeClaim": {"claimName": "p"}}}),
        ({"empty": True, "size": "2Gi"}, {"emptyDisk": {"capacity": "2Gi"}}),
        ({"sysprep": {"config_map": "c"}}, {"sysprep": {"configMap": {"name": "c"}}}),
        ({"config_map": "c"}, {"configMap": {"name": "c"}}),
        ({"secret": "s"}, {"secret": {"secretName": "s"}}),
        ({"service_account": "s"}, {"serviceAccount": {"serviceAccountName": "s"}}),
    ],
)
def test_a_source_that_needs_no_volume_of_its_own_is_a_volume_of_the_vm(source: Any, volume: Any) -> None:
    body = planned(memory="1Gi", disks=[{"name": "x", **source}]).body
    assert at(body, f"{SPEC}.volumes") == [{"name": "x", **volume}]
    assert at(body, "spec.dataVolumeTemplates") is None


@pytest.mark.parametrize(
    ("source", "made_from"),
    [
        ({"blank": True}, {"source": {"blank": {}}}),
        ({"http": "http://x"}, {"source": {"http": {"url": "http://x"}}}),
        (
            {"registry": {"url": "docker://x", "secret": "s", "cert_config_map": "c", "pull_method": "node"}},
            {
                "source": {
                    "registry": {"url": "docker://x", "secretRef": "s", "certConfigMap": "c", "pullMethod": "node"}
                }
            },
        ),
        ({"clone_pvc": "p"}, {"source": {"pvc": {"name": "p", "namespace": "prod"}}}),
        (
            {"clone_snapshot": {"name": "s", "namespace": "o"}},
            {"source": {"snapshot": {"name": "s", "namespace": "o"}}},
        ),
    ],
)
def test_a_source_that_needs_a_volume_is_a_data_volume_template(source: Any, made_from: Any) -> None:
    body = planned(memory="1Gi", disks=[{"name": "x", "size": "1Gi", **source}]).body
    (template,) = at(body, "spec.dataVolumeTemplates")
    assert {"storage": {"resources": {"requests": {"storage": "1Gi"}}}, **made_from} == template["spec"]


def test_a_new_disk_without_preference_has_the_bus_of_its_device() -> None:
    disks = [{"name": device, "pvc": device, "device": device} for device in ("disk", "cdrom", "lun")]
    found = by_name(at(planned(memory="1Gi", disks=disks).body, f"{SPEC}.domain.devices.disks"))
    assert found["disk"]["disk"]["bus"] == "virtio"
    assert found["cdrom"]["cdrom"]["bus"] == "sata"
    assert found["lun"]["lun"]["bus"] == "scsi"


def test_a_new_vm_runs_and_is_on_the_pod_network_where_nothing_is_declared() -> None:
    body = planned(memory="1Gi").body
    assert body["spec"]["runStrategy"] == "Always"
    assert at(body, f"{SPEC}.networks") == [{"name": "default", "pod": {}}]


def test_an_empty_list_of_interfaces_is_a_machine_without_network() -> None:
    body = planned(memory="1Gi", interfaces=[]).body
    assert at(body, f"{SPEC}.domain.devices.autoattachPodInterface") is False
    assert at(body, f"{SPEC}.networks") is None


def test_a_new_vm_needs_memory_or_an_instancetype() -> None:
    assert "memory: is missing" in refused()
    assert planned(definition={"spec": {"template": {"spec": {"domain": {"memory": {"guest": "1Gi"}}}}}})


@pytest.mark.parametrize("option", [{"memory": "1Gi"}, {"cpu": {"cores": 1}}, {"hugepages": "2Mi"}])
def test_what_an_instancetype_decides_is_not_declared_beside_it(option: dict[str, Any]) -> None:
    assert "the instancetype decides it" in refused(instancetype="u1.small", **option)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("u1.small", {"name": "u1.small"}),
        (
            {"name": "mine", "kind": "virtualmachineinstancetype"},
            {"name": "mine", "kind": "VirtualMachineInstancetype"},
        ),
        ({"infer_from_volume": "root"}, {"inferFromVolume": "root"}),
    ],
)
def test_an_instancetype_is_a_name_or_what_a_volume_recommends(given: Any, sent: Any) -> None:
    assert planned(instancetype=given).body["spec"]["instancetype"] == sent


@pytest.mark.parametrize(
    "given", [{}, {"name": "a", "infer_from_volume": "b"}, {"kind": "Pod", "name": "a"}, {"x": 1}, 3]
)
def test_an_instancetype_that_is_neither_is_refused(given: Any) -> None:
    assert "instancetype" in refused(instancetype=given)


def test_a_label_edit_declares_no_run_strategy_and_no_devices() -> None:
    live = made(planned(**DESIGN).body)
    assert planned(live, labels={"tier": "db"}).body == {
        "metadata": {"name": "db", "namespace": "prod", "labels": {"tier": "db"}}
    }


def test_what_an_earlier_run_set_for_a_new_vm_is_declared_on_with_its_present_value() -> None:
    live = made(planned(memory="1Gi").body, "spec.runStrategy", f"{SPEC}.networks")
    live["spec"]["runStrategy"] = "Halted"
    body = planned(live, memory="1Gi").body
    assert body["spec"]["runStrategy"] == "Halted"
    assert at(body, f"{SPEC}.networks") == [{"name": "default", "pod": {}}]


def declared_before(**options: Any) -> Object:
    """A VM that an earlier task of ours made, all of it our manager's."""
    body = planned(**options).body
    return made(body, *(path for path in leaves(body) if not path.startswith("metadata.name")))


def leaves(value: Object, path: str = "") -> list[str]:
    found: list[str] = []
    for name, inner in value.items():
        place = f"{path}.{name}".lstrip(".")
        found += leaves(inner, place) if isinstance(inner, dict) and inner else [place]
    return found


EARLIER = {
    "memory": "1Gi",
    "cpu": {"cores": 2},
    "labels": {"app": "web"},
    "node_selector": {"zone": "a"},
    "firmware": {"mode": "efi", "secure_boot": True, "tpm": True, "serial": "s"},
    "readiness_probe": {"guestAgentPing": {}},
    "definition": {"spec": {"template": {"spec": {"domain": {"devices": {"watchdog": {"name": "dog"}}}}}}},
}


def test_what_a_task_does_not_mention_is_declared_on() -> None:
    live = declared_before(**EARLIER)
    body = planned(live, annotations={"note": "x"}).body
    assert body["spec"] == live["spec"]
    assert body["metadata"]["labels"] == {"app": "web"}


def test_within_what_a_task_gives_what_it_leaves_out_goes() -> None:
    live = declared_before(**EARLIER)
    body = planned(live, labels={"tier": "db"}, cpu={"sockets": 4}).body
    assert body["metadata"]["labels"] == {"tier": "db"}
    assert at(body, f"{SPEC}.domain.cpu") == {"sockets": 4}
    assert at(body, f"{SPEC}.nodeSelector") == {"zone": "a"}


def test_a_null_takes_away_what_was_declared_before() -> None:
    live = declared_before(**EARLIER)
    body = planned(live, definition={"spec": {"template": {"spec": {"nodeSelector": None}}}}).body
    assert at(applied(live, body), f"{SPEC}.nodeSelector") is None


def test_an_instancetype_takes_the_place_of_cpu_and_memory_and_they_of_it() -> None:
    sized = planned(declared_before(**EARLIER), instancetype="u1.medium").body
    assert sized["spec"]["instancetype"] == {"name": "u1.medium"}
    assert "cpu" not in at(sized, f"{SPEC}.domain") and "memory" not in at(sized, f"{SPEC}.domain")
    own = planned(declared_before(**DESIGN), memory="4Gi").body
    assert "instancetype" not in own["spec"] and own["spec"]["preference"] == {"name": "rhel.9"}


def test_a_run_strategy_that_another_manager_holds_is_left_to_it() -> None:
    live = made(planned(memory="1Gi").body)
    assert "runStrategy" not in planned(live, memory="1Gi").body["spec"]


def test_a_run_strategy_takes_the_place_of_the_deprecated_field_and_that_one_its() -> None:
    live = made({"metadata": {"name": "db", "namespace": "prod"}, "spec": {"running": False}}, "spec.running")
    assert planned(live, run_strategy="Always").body["spec"] == {"runStrategy": "Always", "running": None}
    live = made(
        {"metadata": {"name": "db", "namespace": "prod"}, "spec": {"runStrategy": "Halted"}}, "spec.runStrategy"
    )
    body = planned(live, definition={"spec": {"running": False}}).body
    assert body["spec"] == {"running": False, "runStrategy": None}


def test_disks_keep_bus_and_claim_whatever_a_new_one_would_get() -> None:
    live = made(planned(**DESIGN).body)
    live["spec"]["template"]["spec"]["domain"]["devices"]["disks"][0]["disk"] = {"bus": "sata"}
    live["spec"]["template"]["spec"]["volumes"][0] = {"name": "root", "dataVolume": {"name": "made-by-the-console"}}
    live["spec"]["dataVolumeTemplates"][0]["metadata"]["name"] = "made-by-the-console"
    body = applied(live, planned(live, **DESIGN).body)
    assert at(body, f"{SPEC}.domain.devices.disks")[0] == {"name": "root", "disk": {"bus": "sata"}}
    assert at(body, f"{SPEC}.volumes")[0] == {"name": "root", "dataVolume": {"name": "made-by-the-console"}}
    assert body["spec"]["dataVolumeTemplates"] == live["spec"]["dataVolumeTemplates"]


def test_declaring_the_same_again_asks_for_what_is_there() -> None:
    body = planned(**DESIGN).body
    live = made(body)
    assert applied(live, planned(live, **DESIGN).body)["spec"] == live["spec"]


def test_a_larger_size_expands_the_claim_and_the_template() -> None:
    live = made(planned(**DESIGN).body)
    disks = [{"name": "data", "blank": True, "size": "200Gi"}]
    result = planned(live, disks=disks)
    assert result.growth == {"db-data": "200Gi"}
    sizes = [at(item, "spec.storage.resources.requests.storage") for item in result.body["spec"]["dataVolumeTemplates"]]
    assert sizes == ["30Gi", "200Gi"]


def test_a_size_written_in_another_unit_is_no_growth() -> None:
    live = made(planned(**DESIGN).body)
    assert not planned(live, disks=[{"name": "data", "blank": True, "size": "102400Mi"}]).growth


def test_a_smaller_size_is_refused() -> None:
    live = made(planned(**DESIGN).body)
    assert "do not shrink" in refused(live, disks=[{"name": "data", "blank": True, "size": "50Gi"}])


def test_another_source_never_makes_a_disk_anew_and_says_so() -> None:
    live = made(planned(**DESIGN).body)
    result = planned(live, disks=[{"name": "root", "boot_source": "rhel10", "size": "30Gi"}])
    assert result.body["spec"]["dataVolumeTemplates"] == live["spec"]["dataVolumeTemplates"]
    assert any("made from another source" in note for note in result.notes)


def test_a_disk_that_nobody_lists_stays_and_one_that_is_absent_goes_with_its_template() -> None:
    live = made(planned(**DESIGN).body)
    result = planned(live, disks=[{"name": "data", "state": "absent"}])
    body = applied(live, result.body)
    assert [item["name"] for item in at(body, f"{SPEC}.volumes")] == ["root"]
    assert [item["name"] for item in at(body, f"{SPEC}.domain.devices.disks")] == ["root"]
    assert [item["metadata"]["name"] for item in body["spec"]["dataVolumeTemplates"]] == ["db-root"]
    assert any("db-data is kept" in note for note in result.notes)


def replaced(live: Object, **options: Any) -> tuple[Plan, Object]:
    checked = VALIDATOR.validate({"name": "db", "namespace": "prod", **options})
    declaration = read_declaration(checked.validated_parameters)
    found = plan(declaration, live, replace_lists=True)
    return found, intent(VIRTUAL_MACHINE, found.body, live, whole_lists(declaration)).body


def test_a_disk_that_a_whole_list_leaves_out_goes_with_its_template_and_says_what_is_kept() -> None:
    found, body = replaced(made(planned(**DESIGN).body), disks=[{"name": "root", "boot_source": "rhel9"}])
    assert list(by_name(at(body, f"{SPEC}.volumes"))) == ["root"]
    assert list(by_name(at(body, f"{SPEC}.domain.devices.disks"))) == ["root"]
    assert [item["metadata"]["name"] for item in body["spec"]["dataVolumeTemplates"]] == ["db-root"]
    assert any("its volume db-data is kept" in note for note in found.notes)


def test_what_a_whole_list_keeps_is_what_it_was() -> None:
    live = made(planned(**DESIGN).body)
    live["spec"]["template"]["spec"]["domain"]["devices"]["disks"][0]["disk"] = {"bus": "sata"}
    _found, body = replaced(
        live,
        disks=[{"name": "root", "boot_source": "rhel9"}],
        interfaces=[{"name": "default", "network": "pod"}],
    )
    assert at(body, f"{SPEC}.domain.devices.disks") == [{"name": "root", "disk": {"bus": "sata"}}]
    assert at(body, f"{SPEC}.domain.devices.interfaces") == [{"name": "default", "masquerade": {}}]
    assert at(body, f"{SPEC}.networks") == [{"name": "default", "pod": {}}]


def test_a_whole_list_without_interfaces_is_a_machine_without_network() -> None:
    _found, body = replaced(made(planned(**DESIGN).body), interfaces=[])
    assert at(body, f"{SPEC}.domain.devices.interfaces") == [] and at(body, f"{SPEC}.networks") == []
    assert at(body, f"{SPEC}.domain.devices.autoattachPodInterface") is False


def test_an_empty_list_of_ports_takes_them_away() -> None:
    ported = {"name": "default", "network": "pod", "ports": [{"port": 80}]}
    live = made(planned(memory="1Gi", interfaces=[ported]).body)
    body = applied(live, planned(live, interfaces=[{"name": "default", "ports": []}]).body)
    assert not at(body, f"{SPEC}.domain.devices.interfaces")[0].get("ports")


def test_a_seed_alone_is_not_the_whole_list_of_disks() -> None:
    _found, body = replaced(made(planned(**DESIGN).body), cloud_init={"user_data": "#cloud-config\n"})
    assert list(by_name(at(body, f"{SPEC}.volumes"))) == ["root", "data", "cloudinit"]


def test_the_last_template_leaves_an_empty_list() -> None:
    live = made(planned(memory="1Gi", disks=[{"name": "data", "blank": True, "size": "1Gi"}]).body)
    assert planned(live, disks=[{"name": "data", "state": "absent"}]).body["spec"]["dataVolumeTemplates"] == []


def test_a_cdrom_takes_the_place_of_a_disk() -> None:
    live = made(planned(memory="1Gi", disks=[{"name": "iso", "pvc": "iso"}]).body)
    body = applied(live, planned(live, disks=[{"name": "iso", "pvc": "iso", "device": "cdrom"}]).body)
    assert at(body, f"{SPEC}.domain.devices.disks") == [{"name": "iso", "cdrom": {"bus": "sata"}}]


def test_an_interface_that_leaves_the_pod_network_is_no_longer_masqueraded() -> None:
    live = made(planned(memory="1Gi").body)
    body = applied(live, planned(live, interfaces=[{"name": "default", "network": "vlan93"}]).body)
    assert at(body, f"{SPEC}.domain.devices.interfaces") == [{"name": "default", "bridge": {}}]
    assert at(body, f"{SPEC}.networks") == [{"name": "default", "multus": {"networkName": "vlan93"}}]


def test_a_seed_joins_the_one_the_vm_has() -> None:
    live = made(planned(memory="1Gi").body)
    template = live["spec"]["template"]["spec"]
    template["volumes"] = [{"name": "cloudinitdisk", "cloudInitNoCloud": {"userData": "#cloud-config\n"}}]
    template["domain"]["devices"]["disks"] = [{"name": "cloudinitdisk", "disk": {"bus": "sata"}}]
    body = applied(live, planned(live, cloud_init={"user_data": "#cloud-config\na: b\n"}).body)
    assert at(body, f"{SPEC}.volumes") == [
        {"name": "cloudinitdisk", "cloudInitNoCloud": {"userData": "#cloud-config\na: b\n"}}
    ]
    assert at(body, f"{SPEC}.domain.devices.disks") == [{"name": "cloudinitdisk", "disk": {"bus": "sata"}}]


def test_a_seed_longer_than_kubevirt_takes_is_refused_with_what_to_do() -> None:
    text = "#cloud-config\n" + "x" * 2048
    assert "cloud_init.secret" in refused(memory="1Gi", cloud_init={"user_data": text})


def test_efi_starts_without_secure_boot_and_keeps_what_it_has() -> None:
    path = f"{SPEC}.domain.firmware.bootloader.efi.secureBoot"
    body = planned(memory="1Gi", firmware={"mode": "efi"}).body
    assert at(body, path) is False
    live = made(planned(memory="1Gi", firmware={"mode": "efi", "secure_boot": True}).body)
    assert at(live, f"{SPEC}.domain.features.smm.enabled") is True
    assert at(planned(live, memory="1Gi", firmware={"mode": "efi"}).body, path) is True


def test_definition_and_options_are_merged_items_of_one_name_into_one() -> None:
    extra = {"spec": {"template": {"spec": {"domain": {"devices": {"disks": [{"name": "x", "tag": "t"}]}}}}}}
    body = planned(memory="1Gi", disks=[{"name": "x", "pvc": "p"}], definition=extra).body
    assert at(body, f"{SPEC}.domain.devices.disks") == [{"name": "x", "disk": {"bus": "virtio"}, "tag": "t"}]


def test_definition_and_options_that_differ_are_refused_with_the_path() -> None:
    extra = {"spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"memory": {"guest": "2Gi"}}}}}}
    told = refused(memory="1Gi", run_strategy="Always", definition=extra)
    assert "definition.spec.runStrategy" in told
    assert "definition.spec.template.spec.domain.memory.guest" in told


def test_a_definition_of_another_kind_name_or_version_is_refused() -> None:
    assert "is a Pod" in refused(definition={"kind": "Pod"})
    assert "apiVersion kubevirt.io/v2" in refused(definition={"apiVersion": "kubevirt.io/v2"})
    assert "give it once" in refused(memory="1Gi", definition={"metadata": {"name": "other"}})


def test_an_old_version_is_written_as_the_present_one() -> None:
    definition = {"apiVersion": "kubevirt.io/v1alpha3", "kind": "VirtualMachine", "metadata": {"name": "db"}}
    body = planned(name=None, memory="1Gi", definition=definition).body
    assert intent(VIRTUAL_MACHINE, body).body["apiVersion"] == "kubevirt.io/v1"


def test_storage_classes_of_new_disks_are_to_be_looked_up_and_others_are_not() -> None:
    disks = [{"name": "x", "blank": True, "size": "1Gi", "storage_class": "fast"}]
    assert planned(memory="1Gi", disks=disks).storage_classes == ["fast"]
    live = made(planned(memory="1Gi", disks=disks).body)
    assert planned(live, disks=disks).storage_classes == []


def test_labels_are_texts_whatever_yaml_saw() -> None:
    labels = planned(memory="1Gi", labels={"a": 1, "b": True, "c": None}).body["metadata"]["labels"]
    assert labels == {"a": "1", "b": "true", "c": None}


@pytest.mark.parametrize("namespace", ["openshift", "openshift-cnv", "kube-system"])
def test_namespaces_of_the_platform_are_told_from_others(namespace: str) -> None:
    assert is_platform_namespace(namespace)
    assert not is_platform_namespace(f"my-{namespace}")
    assert not is_platform_namespace("default")


@pytest.mark.parametrize("network", ["bridge:br0", "macvtap:eth0"])
def test_a_device_of_a_kvm_host_is_no_network_of_a_cluster(network: str) -> None:
    assert "is a device of a KVM host" in refused(memory="1Gi", interfaces=[{"name": "a", "network": network}])
