"""What virt-api refuses in the spec of a machine, in its own words."""

from __future__ import annotations

from typing import Any

import pytest
from machines import GONE, instance_spec
from virtlab.admission.kubevirt import architecture
from virtlab.admission.kubevirt.instance_spec import problems
from virtlab.admission.kubevirt.network import mac_problem
from virtlab.admission.kubevirt.settings import Settings

S = "spec"
D = "spec.domain"
DISKS, INTERFACES = f"{D}.devices.disks", f"{D}.devices.interfaces"
CONFIG = Settings()
EXTRA = {"name": "extra", "multus": {"networkName": "lan"}}


def found(changes: dict[str, Any], config: Settings = CONFIG) -> list[tuple[str | None, str]]:
    spec = {"architecture": "amd64", **instance_spec(changes)}
    return [(cause.field, cause.message) for cause in problems("spec", spec, config)]


def test_a_plain_machine_is_fine() -> None:
    assert found({}) == []


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        (
            {"domain.devices.disks.0.disk.bus": "foo"},
            f"{DISKS}[0].disk.bus",
            f"{DISKS}[0] is set with an unrecognized bus foo, must be one of: [virtio scsi sata usb]",
        ),
        ({"domain.devices.disks.0.disk.bus": "ide"}, f"{DISKS}[0].disk.bus", "IDE bus is not supported"),
        (
            {"domain.devices.disks.0": {"name": "root", "cdrom": {"bus": "virtio"}}},
            f"{DISKS}[0].cdrom.bus",
            "Bus type virtio is invalid for CD-ROM device",
        ),
        (
            {"domain.devices.disks.0.bootOrder": 0},
            f"{DISKS}[0].bootOrder",
            f"{DISKS}[0] must have a boot order > 0, if supplied",
        ),
        ({"volumes": []}, f"{DISKS}[0].name", f"{DISKS}[0].Name 'root' not found."),
        (
            {"domain.devices.disks.0": {"name": "root", "lun": {"bus": "scsi"}}},
            f"{DISKS}[0].lun",
            f"{DISKS}[0].lun can only be mapped to a DataVolume or PersistentVolumeClaim volume.",
        ),
        ({"domain.devices.disks.0.cache": "fast"}, f"{DISKS}[0].cache", f"{DISKS}[0].cache has invalid value fast"),
        (
            {"domain.devices.disks.0.blockSize": {"custom": {"logical": 513, "physical": 4096}}},
            f"{DISKS}[0].blockSize.custom.logical",
            "Provided size of 513 is not a power of 2",
        ),
        ({"volumes.0": {"name": "root"}}, f"{S}.volumes[0]", f"{S}.volumes[0] must have exactly one source type set"),
        (
            {"volumes.0": {"name": "root", "cloudInitNoCloud": {}}},
            f"{S}.volumes[0].cloudInitNoCloud",
            f"{S}.volumes[0].cloudInitNoCloud must have at least one userdatasource or one networkdatasource set.",
        ),
        (
            {"volumes.0": {"name": "root", "cloudInitNoCloud": {"userData": "x" * 2049}}},
            f"{S}.volumes[0].cloudInitNoCloud",
            f"{S}.volumes[0].cloudInitNoCloud userdata exceeds 2048 byte limit. "
            "Should use UserDataSecretRef for larger data.",
        ),
        (
            {"volumes.0": {"name": "root", "cloudInitNoCloud": {"userData": "x", "secretRef": {"name": "s"}}}},
            f"{S}.volumes[0].cloudInitNoCloud",
            f"{S}.volumes[0].cloudInitNoCloud must have only one userdatasource set.",
        ),
        (
            {"networks.0": {"name": "default", "multus": {"networkName": "n"}}},
            f"{INTERFACES}[0].name",
            "Masquerade interface only implemented with pod network",
        ),
        (
            {"domain.devices.interfaces.0.bridge": {}},
            f"{INTERFACES}[0]",
            "logical default interface must have exactly one binding method or binding plugin",
        ),
        (
            {"networks": [{"name": "default", "pod": {}}, EXTRA]},
            f"{S}.networks[1].name",
            f"{S}.networks[1].name 'extra' not found.",
        ),
        (
            {"domain.devices.interfaces.0.macAddress": "de:ad:00:00:be"},
            f"{INTERFACES}[0].macAddress",
            f"interface {INTERFACES}[0].name has malformed MAC address (de:ad:00:00:be).",
        ),
        (
            {"domain.devices.interfaces.0.model": "foo"},
            f"{INTERFACES}[0].model",
            f"interface {INTERFACES}[0].name uses model foo that is not supported.",
        ),
        (
            {"domain.devices.interfaces.0.ports": [{"port": 0}]},
            f"{INTERFACES}[0].ports[0].port",
            "Port field is mandatory.",
        ),
        (
            {"domain.resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
            f"{D}.resources.requests.memory",
            f"{D}.resources.requests.memory '2Gi' is greater than {D}.resources.limits.memory '1Gi'",
        ),
        (
            {"domain.memory": {"guest": "1Gi", "hugepages": {"pageSize": "3Mi"}}},
            f"{D}.resources.requests.memory",
            f"{D}.resources.requests.memory '0' is not a multiple of the page size {D}.memory.hugepages.pageSize '3Mi'",
        ),
        (
            {"domain.machine": {"type": "pc"}},
            f"{D}.machine.type",
            f"{D}.machine.type is not supported: pc (allowed values: [q35* pc-q35*])",
        ),
        (
            {"domain.cpu": {"isolateEmulatorThread": True}},
            f"{D}.cpu.isolateEmulatorThread",
            "IsolateEmulatorThread should be only set in combination with DedicatedCPUPlacement",
        ),
        (
            {"domain.cpu": {"sockets": 4, "maxSockets": 2}},
            f"{D}.cpu.sockets",
            "Number of sockets in CPU topology is greater than the maximum sockets allowed",
        ),
        (
            {"domain.firmware": {"bootloader": {"efi": {}}}},
            D,
            f"{D} has EFI SecureBoot enabled. SecureBoot requires SMM, which is currently disabled.",
        ),
        (
            {"evictionStrategy": "Maybe"},
            f"{S}.evictionStrategy",
            f"{S}.evictionStrategy is set with an unrecognized option: Maybe",
        ),
        (
            {"readinessProbe": {"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}},
            f"{S}.readinessProbe",
            f"{S}.readinessProbe must have exactly one probe type set",
        ),
        ({"dnsPolicy": "None"}, f"{S}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"),
        (
            {
                "topologySpreadConstraints": [
                    {"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
                ]
            },
            f"{S}.topologySpreadConstraints[0].maxSkew",
            f"{S}.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            {"accessCredentials": [{}]},
            f"{S}.accessCredentials[0]",
            f"{S}.accessCredentials[0] must have exactly one access credential type set",
        ),
        (
            {"startStrategy": "Later"},
            f"{S}.startStrategy",
            f"{S}.startStrategy is set with an unrecognized option: Later",
        ),
    ],
)
def test_one_mistake_is_one_cause(changes: dict[str, Any], field: str, message: str) -> None:
    assert found(changes) == [(field, message)]


def test_two_disks_of_one_name() -> None:
    disk = {"disk": {"bus": "virtio"}, "name": "root"}
    assert found({"domain.devices.disks": [disk, disk]}) == [
        (f"{DISKS}[1].name", f"{DISKS}[1] and {DISKS}[0] must not have the same Name.")
    ]


def test_disks_and_interfaces_share_one_boot_order() -> None:
    changes = {"domain.devices.disks.0.bootOrder": 1, "domain.devices.interfaces.0.bootOrder": 1}
    field = f"{INTERFACES}[0].bootOrder"
    assert found(changes) == [(field, f"Boot order for {field} already set for a different device.")]


def test_secure_boot_is_fine_with_smm() -> None:
    changes = {"domain.firmware": {"bootloader": {"efi": {}}}, "domain.features": {"smm": {}}}
    assert found(changes) == []


def test_a_machine_needs_no_network() -> None:
    assert found({"networks": GONE, "domain.devices.interfaces": GONE}) == []


def test_feature_gates_open_what_they_guard() -> None:
    changes = {"volumes.0": {"name": "root", "hostDisk": {"path": "/a.img", "type": "Disk"}}}
    assert found(changes) == [(f"{S}.volumes[0]", "HostDisk feature gate is not enabled")]
    gated = Settings({"developerConfiguration": {"featureGates": ["HostDisk"]}})
    assert found(changes, gated) == []


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("", None),
        ("02:00:00:00:00:01", None),
        ("02-00-00-00-00-01", None),
        ("0200.0000.0001", None),
        ("02:00-00:00:00:01", "malformed MAC address (02:00-00:00:00:01)"),
        ("020000000001", "malformed MAC address (020000000001)"),
        ("02:00:00:00:00:01:02:03", "too long MAC address (02:00:00:00:00:01:02:03)"),
    ],
)
def test_mac_addresses(address: str, problem: str | None) -> None:
    assert mac_problem(address) == problem


def test_enlightenments_bring_along_what_they_need() -> None:
    spec = instance_spec({"domain.features": {"hyperv": {"synictimer": {"enabled": True}}}})
    architecture.fill_hyperv(spec)
    architecture.fill_hyperv(spec)
    hyperv = spec["domain"]["features"]["hyperv"]
    assert (hyperv["synic"], hyperv["vpindex"]) == ({"enabled": True}, {"enabled": True})
    hyperv["vpindex"]["enabled"] = False
    twice = f"{D}.features.hyperv.domain.features.hyperv"
    assert [cause.message for cause in architecture.hyperv("spec", spec)] == [
        f"'{twice}.synic' requires '{twice}.vpindex', which was disabled."
    ]


def test_memory_encryption_wants_uefi() -> None:
    assert found({"domain.launchSecurity": {"sev": {}}}) == [(f"{S}.launchSecurity", "SEV requires OVMF (UEFI)")]
