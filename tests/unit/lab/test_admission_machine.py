"""What virt-api fills into a VirtualMachine, and how instance types and preferences are applied."""

from __future__ import annotations

from typing import Any

import pytest
from machines import SPEC, instance_spec, machine
from virtlab.admission.kubevirt import instancetypes, preferences
from virtlab.admission.kubevirt.defaults import fill_instance, fill_spec
from virtlab.admission.kubevirt.encoding import (
    MACHINE_QUANTITIES,
    MACHINE_STRUCTS,
    BadNumber,
    reencode,
)
from virtlab.admission.kubevirt.inference import InferenceError, infer
from virtlab.admission.kubevirt.settings import Settings
from virtlab.admission.kubevirt.structure import fill_zeros, structure_problems
from virtlab.admission.kubevirt.virtual_machines import machine_problems
from virtlab.admission.kubevirt.volume_requests import ADD, REMOVE, applied
from virtlab.store import Store

SMALL = {"cpu": {"guest": 2}, "memory": {"guest": "4Gi"}}
HCO = Settings({"network": {"defaultNetworkInterface": "masquerade"}, "evictionStrategy": "LiveMigrate"})


def reencoded(spec: dict[str, Any]) -> dict[str, Any]:
    reencode(spec, MACHINE_QUANTITIES, MACHINE_STRUCTS)
    return spec


def test_amounts_become_canonical_and_empty_lists_go() -> None:
    spec = machine()["spec"]
    domain = spec["template"]["spec"]["domain"]
    domain["memory"]["guest"] = "1024Mi"
    domain["resources"] = {"requests": {"cpu": 0.5}}
    domain["devices"]["disks"] = []
    storage = {"resources": {"requests": {"storage": "2048Mi"}}}
    spec["dataVolumeTemplates"] = [{"metadata": {"name": "d"}, "spec": {"storage": storage}}]
    reencoded(spec)
    assert domain["memory"]["guest"] == "1Gi"
    assert domain["resources"]["requests"]["cpu"] == "500m"
    assert "disks" not in domain["devices"]
    assert spec["dataVolumeTemplates"][0]["spec"]["storage"]["resources"]["requests"]["storage"] == "2Gi"


def test_a_template_has_a_domain_with_devices_and_resources() -> None:
    assert reencoded({"template": {}}) == {
        "template": {"metadata": {}, "spec": {"domain": {"devices": {}, "resources": {}}}}
    }


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (-1, "json: cannot unmarshal number -1 into Go struct field VMISpecAlias.domain.cpu.cores of type uint32"),
        (2**32, "json: cannot unmarshal number 4294967296 into Go struct field VMISpecAlias.domain.cpu.cores"),
    ],
)
def test_a_number_that_its_type_cannot_hold(number: int, problem: str) -> None:
    spec = machine()["spec"]
    spec["template"]["spec"]["domain"]["cpu"] = {"cores": number}
    with pytest.raises(BadNumber) as caught:
        reencoded(spec)
    assert str(caught.value).startswith(problem)


def test_a_zero_that_is_left_out() -> None:
    spec = machine()["spec"]
    spec["template"]["spec"]["domain"]["cpu"] = {"cores": 0, "sockets": 2}
    assert reencoded(spec)["template"]["spec"]["domain"]["cpu"] == {"sockets": 2}


def test_an_amount_that_is_none() -> None:
    spec = machine()["spec"]
    spec["template"]["spec"]["domain"]["memory"]["guest"] = "12 potatoes"
    with pytest.raises(BadNumber, match="quantities must match the regular expression"):
        reencoded(spec)


def test_wrong_structure_is_named_by_its_path() -> None:
    schema = {
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["template"],
                "properties": {"template": {"type": "object"}, "runStrategy": {"type": "string"}},
            }
        },
    }

    def messages(obj: dict[str, Any]) -> list[str]:
        return [cause.message for cause in structure_problems(schema, obj)]

    assert messages({}) == ["spec in body is required", 'spec in body must be of type object: "null"']
    assert messages({"spec": {}}) == ["spec.template in body is required"]
    assert messages({"spec": {"template": "text"}}) == ['spec.template in body must be of type object: "string"']
    assert messages({"spec": {"template": {}, "runStrategy": 5}}) == [
        'spec.runStrategy in body must be of type string: "number"'
    ]


def _schema_of(field: dict[str, Any], name: str = "x") -> dict[str, Any]:
    items = {"type": "array", "items": {"type": "object", "properties": {name: field}, "required": [name]}}
    return {"properties": {"spec": {"type": "object", "properties": {"list": items}}}}


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ({"type": "integer", "format": "int64"}, 1.5, 'must be of type int64: "float64"'),
        ({"type": "integer", "format": "int64"}, True, 'must be of type int64: ""'),
        ({"type": "integer", "format": "int64"}, "1", 'must be of type integer: "string"'),
        (
            {"x-kubernetes-int-or-string": True, "pattern": "."},
            True,
            'must be of type string,integer,number: "boolean"',
        ),
        ({"x-kubernetes-int-or-string": True}, True, 'must be of type string,number: "boolean"'),
    ],
)
def test_a_wrong_type_in_kubevirts_words(field: dict[str, Any], value: Any, problem: str) -> None:
    found = structure_problems(_schema_of(field), {"spec": {"list": [{"x": value}]}})
    assert [cause.message for cause in found] == [f"spec.list.x in body {problem}"]


def test_required_texts_are_written_and_required_structs_missed() -> None:
    obj: dict[str, Any] = {"spec": {"list": [{}]}}
    assert list(structure_problems(_schema_of({"type": "string"}), obj)) == []
    fill_zeros(_schema_of({"type": "string"}), obj)
    assert obj == {"spec": {"list": [{"x": ""}]}}
    found = structure_problems(_schema_of({"type": "object"}), {"spec": {"list": [{}]}})
    assert [cause.message for cause in found] == ["spec.list.x in body is required"]


def test_values_that_gos_constants_do_not_allow() -> None:
    tolerations = {"type": "array", "items": {"type": "object", "properties": {"operator": {"type": "string"}}}}
    schema = {"properties": {"spec": {"type": "object", "properties": {"tolerations": tolerations}}}}
    found = structure_problems(schema, {"spec": {"tolerations": [{"operator": "Foo"}]}})
    message = "spec.tolerations.operator in body should be one of [Equal Exists]"
    assert [cause.message for cause in found] == [message]


def test_the_metadata_of_a_template_has_known_fields() -> None:
    metadata = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"properties": {"spec": {"type": "object", "properties": {"metadata": metadata}}}}
    found = structure_problems(schema, {"spec": {"metadata": {"bogus": 1, "labels": {"a": 1}}}})
    assert [cause.message for cause in found] == [
        "spec.metadata.bogus in body is a forbidden property",
        'spec.metadata.labels.a in body must be of type string: "number"',
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"running": True},
            "Running and RunStrategy are mutually exclusive. Note that Running is deprecated, "
            "please use RunStrategy instead",
        ),
        ({"runStrategy": None}, "RunStrategy must be specified"),
        ({"runStrategy": "Foo"}, "Invalid RunStrategy (Foo)"),
        (
            {"dataVolumeTemplates": [{"spec": {}}]},
            "'name' field must not be empty for DataVolumeTemplate entry spec.dataVolumeTemplate[0].name.",
        ),
        (
            {"dataVolumeTemplates": [{"metadata": {"name": "d"}, "spec": {"source": {"blank": {}}, "storage": {}}}]},
            "DataVolumeTemplate entry spec.dataVolumeTemplate[0] must be referenced in the VMI template's 'volumes' "
            "list",
        ),
    ],
)
def test_what_a_machine_may_not_say(spec: dict[str, Any], message: str) -> None:
    wanted = {**machine()["spec"], **spec}
    fill_spec(wanted["template"]["spec"], HCO)
    assert [cause.message for cause in machine_problems("spec", wanted, HCO, trusted=False)] == [message]


def test_defaults_of_a_machine_that_says_little() -> None:
    spec: dict[str, Any] = {"domain": {"devices": {}}, "volumes": [{"name": "root", "containerDisk": {"image": "a:1"}}]}
    fill_spec(spec, HCO)
    assert spec["architecture"] == "amd64"
    assert spec["domain"]["machine"] == {"type": "q35"}
    assert spec["domain"]["cpu"] == {"cores": 1, "sockets": 1, "threads": 1}
    assert spec["domain"]["devices"]["interfaces"] == [{"name": "default", "masquerade": {}}]
    assert spec["domain"]["devices"]["disks"] == [{"name": "root"}]
    assert spec["networks"] == [{"name": "default", "pod": {}}]
    assert spec["evictionStrategy"] == "LiveMigrate"
    assert spec["volumes"][0]["containerDisk"]["imagePullPolicy"] == "IfNotPresent"


def test_an_instance_may_grow_to_four_times_its_size() -> None:
    vmi: dict[str, Any] = {"metadata": {"name": "x"}, "spec": instance_spec({"domain.cpu": {"sockets": 2}})}
    fill_instance(vmi, HCO)
    domain = vmi["spec"]["domain"]
    assert domain["cpu"]["maxSockets"] == 8
    assert domain["memory"]["maxGuest"] == "4Gi"
    assert vmi["status"]["currentCPUTopology"]["sockets"] == 2
    assert domain["devices"]["disks"][0]["disk"]["bus"] == "virtio"


def test_an_instance_below_a_gibibyte_does_not_plug_memory() -> None:
    vmi: dict[str, Any] = {"metadata": {"name": "x"}, "spec": instance_spec({"domain.memory.guest": "512Mi"})}
    fill_instance(vmi, HCO)
    assert "maxGuest" not in vmi["spec"]["domain"]["memory"]


# Instance types and preferences


def apply(
    instancetype: dict[str, Any], spec: dict[str, Any], preference: dict[str, Any] | None = None
) -> dict[str, Any]:
    instancetypes.apply(instancetype, preference, spec, {})
    return spec


def test_an_instance_type_sizes_a_machine() -> None:
    domain = apply(SMALL, {"domain": {"devices": {}}})["domain"]
    assert domain["memory"] == {"guest": "4Gi"}
    assert domain["cpu"] == {"cores": 1, "sockets": 2, "threads": 1}


def test_memory_overcommit_asks_for_less() -> None:
    instancetype = {"cpu": {"guest": 1}, "memory": {"guest": "4Gi", "overcommitPercent": 25}}
    assert apply(instancetype, {})["domain"]["resources"] == {"requests": {"memory": str(3 << 30)}}


@pytest.mark.parametrize(
    ("domain", "fields"),
    [
        ({"memory": {"guest": "1Gi"}}, ["domain.memory.guest"]),
        ({"cpu": {"cores": 2, "sockets": 1}}, ["domain.cpu.sockets", "domain.cpu.cores"]),
        ({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
         ["domain.resources.requests.cpu", "domain.resources.requests.memory"]),
    ],
)  # fmt: skip
def test_what_both_set_is_a_conflict(domain: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(instancetypes.Conflict) as conflict:
        apply(SMALL, {"domain": domain})
    assert conflict.value.fields == [f"spec.template.spec.{field}" for field in fields]
    first = conflict.value.causes()[0].message
    assert first == f"VM field(s) spec.template.spec.{fields[0]} conflicts with selected instance type"


@pytest.mark.parametrize(
    ("cpu", "topology"),
    [
        ({}, (1, 8, 1)),
        ({"preferredCPUTopology": "cores"}, (8, 1, 1)),
        ({"preferredCPUTopology": "preferThreads"}, (1, 1, 8)),
        ({"preferredCPUTopology": "spread"}, (2, 4, 1)),
        ({"preferredCPUTopology": "spread", "spreadOptions": {"across": "SocketsCoresThreads"}}, (2, 2, 2)),
    ],
)
def test_vcpus_are_laid_out_as_preferred(cpu: dict[str, Any], topology: tuple[int, int, int]) -> None:
    found = instancetypes.topology(8, {"cpu": cpu})
    assert (found["cores"], found["sockets"], found["threads"]) == topology


def test_a_preference_fills_gaps_and_leaves_what_is_said() -> None:
    spec = instance_spec(
        {"domain.devices.disks": [{"name": "root", "disk": {}}, {"name": "cd", "cdrom": {"bus": "scsi"}}]}
    )
    preference = {
        "devices": {"preferredDiskBus": "virtio", "preferredCdromBus": "sata", "preferredInterfaceModel": "virtio"},
        "firmware": {"preferredEfi": {"secureBoot": True}},
        "features": {"preferredSmm": {}},
        "preferredTerminationGracePeriodSeconds": 30,
    }
    preferences.apply(preference, spec, {})
    disks = spec["domain"]["devices"]["disks"]
    assert [disks[0]["disk"]["bus"], disks[1]["cdrom"]["bus"]] == ["virtio", "scsi"]
    assert spec["domain"]["devices"]["interfaces"][0]["model"] == "virtio"
    assert spec["domain"]["firmware"]["bootloader"] == {"efi": {"secureBoot": True}}
    assert spec["terminationGracePeriodSeconds"] == 30


def test_a_preference_s_requirements_are_checked_against_the_instance_type() -> None:
    preference = {"requirements": {"cpu": {"guest": 4}, "memory": {"guest": "2Gi"}}}
    assert preferences.unmet_requirement(preference, SMALL, {"domain": {"memory": {"guest": "4Gi"}}}) == (
        "spec.instancetype",
        "insufficient CPU resources of 2 vCPU provided by instance type, preference requires 4 vCPU",
    )


# Inference


def data_source(store: Store, **labels: str) -> None:
    metadata = {"name": "rhel9", "namespace": "images", "uid": "u", "labels": labels}
    body = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataSource", "metadata": metadata, "spec": {"source": {}}}
    store.put(("cdi.kubevirt.io", "datasources"), body)


def inferring(policy: str = "Reject") -> dict[str, Any]:
    reference = {"kind": "DataSource", "name": "rhel9", "namespace": "images"}
    vm = machine(
        instancetype={"inferFromVolume": "root", "inferFromVolumeFailurePolicy": policy},
        dataVolumeTemplates=[{"metadata": {"name": "d"}, "spec": {"sourceRef": reference}}],
    )
    vm["spec"]["template"]["spec"]["volumes"] = [{"name": "root", "dataVolume": {"name": "d"}}]
    return vm


def test_an_instance_type_is_inferred_from_the_boot_source() -> None:
    store, vm = Store(), inferring()
    data_source(store, **{"instancetype.kubevirt.io/default-instancetype": "u1.medium"})
    infer(store, vm, "instancetype", "prod")
    assert vm["spec"]["instancetype"] == {"name": "u1.medium"}


def test_what_cannot_be_inferred_is_refused_or_passed_over() -> None:
    store = Store()
    data_source(store)
    with pytest.raises(InferenceError, match="unable to infer defaults from DataSource"):
        infer(store, inferring(), "instancetype", "prod")
    vm = inferring("Ignore")
    infer(store, vm, "instancetype", "prod")
    assert "instancetype" not in vm["spec"]


# Hot plug


def test_volume_requests_are_applied_to_volumes_and_disks() -> None:
    spec = SPEC["template"]["spec"]
    source = {"persistentVolumeClaim": {"claimName": "c"}}
    request = {ADD: {"name": "hp", "disk": {"disk": {"bus": "scsi"}}, "volumeSource": source}}
    plugged = applied(spec, request)
    assert plugged["volumes"][-1] == {"name": "hp", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}
    assert plugged["domain"]["devices"]["disks"][-1] == {"name": "hp", "disk": {"bus": "scsi"}}
    assert applied(plugged, {REMOVE: {"name": "hp"}}) == spec
