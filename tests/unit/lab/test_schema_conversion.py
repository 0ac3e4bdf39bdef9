"""HyperConverged in both of its versions."""

from __future__ import annotations

from typing import Any

from virtlab.schema.conversion import V1_ONLY, convert_hyperconverged

Object = dict[str, Any]


def v1beta1(**spec: Any) -> Object:
    return {"apiVersion": "hco.kubevirt.io/v1beta1", "kind": "HyperConverged", "metadata": {"name": "x"}, "spec": spec}


def v1(**spec: Any) -> Object:
    return {"apiVersion": "hco.kubevirt.io/v1", "kind": "HyperConverged", "metadata": {"name": "x"}, "spec": spec}


def test_fields_move_to_their_place_in_v1() -> None:
    old = v1beta1(
        defaultCPUModel="Haswell",
        evictionStrategy="LiveMigrate",
        infra={"nodePlacement": {"nodeSelector": {"a": "b"}}},
        resourceRequirements={"vmiCPUAllocationRatio": 5},
        scratchSpaceStorageClass="fast",
        virtualMachineOptions={"disableFreePageReporting": True},
        obsoleteCPUs={"cpuModels": ["486"]},
    )
    new = convert_hyperconverged(old, "v1")
    assert new["apiVersion"] == "hco.kubevirt.io/v1"
    assert new["spec"] == {
        "deployment": {"nodePlacements": {"infra": {"nodeSelector": {"a": "b"}}}},
        "security": {},
        "storage": {"scratchSpaceStorageClass": "fast"},
        "virtualization": {
            "evictionStrategy": "LiveMigrate",
            "obsoleteCPUModels": ["486"],
            "virtualMachineOptions": {"defaultCPUModel": "Haswell", "disableFreePageReporting": True},
            "vmiCPUAllocationRatio": 5,
        },
        "workloadSources": {},
    }


def test_only_gates_that_differ_from_the_usual_are_listed_in_v1() -> None:
    gates = {"downwardMetrics": True, "alignCPUs": False, "decentralizedLiveMigration": False}
    assert convert_hyperconverged(v1beta1(featureGates=gates), "v1")["spec"]["featureGates"] == [
        {"name": "decentralizedLiveMigration", "state": "Disabled"},
        {"name": "downwardMetrics", "state": "Enabled"},
    ]


def test_v1beta1_shows_every_gate() -> None:
    gates = convert_hyperconverged(v1(featureGates=[{"name": "alignCPUs"}]), "v1beta1")["spec"]["featureGates"]
    assert gates["alignCPUs"] is True
    assert gates["decentralizedLiveMigration"] is True
    assert gates["downwardMetrics"] is False


def test_what_v1beta1_has_no_field_for_comes_back() -> None:
    original = v1(
        deployment={"deployNetworkResourcesInjector": True},
        featureGates=[{"name": "somethingNew", "state": "Enabled"}],
        security={},
        virtualization={"mediatedDevicesConfiguration": {"enabled": False}},
        workloadSources={},
    )
    there = convert_hyperconverged(original, "v1beta1")
    assert V1_ONLY in there["metadata"]["annotations"]
    assert there["spec"]["featureGates"]["disableMDevConfiguration"] is True
    back = convert_hyperconverged(there, "v1")
    assert "annotations" not in back["metadata"]
    assert back["spec"] == original["spec"]


def test_going_there_and_back_keeps_every_field_of_v1beta1() -> None:
    old = v1beta1(
        applicationAwareConfig={"vmiCalcConfigName": "VmiPodUsage"},
        certConfig={"ca": {"duration": "48h0m0s"}},
        dataImportCronTemplates=[{"metadata": {"name": "x"}}],
        enableApplicationAwareQuota=True,
        featureGates={"persistentReservation": True, "enableMultiArchBootImageImport": True},
        kubeMacPoolConfiguration={"rangeStart": "02:00:00:00:00:00"},
        liveMigrationConfig={"allowPostCopy": True},
        uninstallStrategy="RemoveWorkloads",
        workloads={"nodePlacement": {"nodeSelector": {"c": "d"}}},
    )
    back = convert_hyperconverged(convert_hyperconverged(old, "v1"), "v1beta1")["spec"]
    gates = back.pop("featureGates")
    assert {key: back[key] for key in old["spec"] if key != "featureGates"} == {
        key: value for key, value in old["spec"].items() if key != "featureGates"
    }
    assert gates["persistentReservation"] is True
    assert gates["enableMultiArchBootImageImport"] is True


def test_the_original_is_left_alone() -> None:
    old = v1beta1(infra={"nodePlacement": {}})
    convert_hyperconverged(old, "v1")["spec"]["deployment"]["nodePlacements"]["infra"]["x"] = 1
    assert old == v1beta1(infra={"nodePlacement": {}})
