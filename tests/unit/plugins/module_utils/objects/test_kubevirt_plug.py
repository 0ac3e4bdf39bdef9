"""Which disks and interfaces reach a running guest, and when they are there."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.machine.disks import read_disk
from ansible_collections.virtstack.core.plugins.module_utils.objects import kubevirt_plug as plug


def instance(uid: str = "u", **status: Any) -> Object:
    return {"metadata": {"name": "db", "namespace": "prod", "uid": uid}, "spec": {}, "status": status}


def cold(**options: Any) -> str | None:
    return plug.cold_reason(read_disk({"name": "data", **options}))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"container_disk": "x"}, "no DataVolume or PersistentVolumeClaim"),
        ({"pvc": "x", "device": "cdrom"}, "neither disk nor lun"),
        ({"pvc": "x", "bus": "sata"}, "bus sata cannot be plugged; scsi and virtio can"),
        ({"pvc": "x", "device": "lun", "bus": "virtio"}, "bus virtio cannot be plugged; scsi can"),
        ({"pvc": "x", "dedicated_io_thread": True}, "needs the bus virtio"),
    ],
)
def test_what_cannot_be_plugged_says_why(options: dict[str, Any], told: str) -> None:
    assert told in str(cold(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"pvc": "x"},
        {"blank": True, "size": "1Gi"},
        {"data_volume": "x", "bus": "virtio"},
        {"pvc": "x", "device": "lun"},
    ],
)
def test_volumes_are_plugged(options: dict[str, Any]) -> None:
    assert cold(**options) is None


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ([], Progress("data is not yet seen by KubeVirt")),
        ([{"name": "data", "hotplugVolume": {}, "phase": "Ready"}], Ready()),
        ([{"name": "data", "target": "vda"}], Ready()),
        (
            [{"name": "data", "hotplugVolume": {}, "phase": "Bound", "message": "PVC is in phase Bound"}],
            Progress("data Bound: PVC is in phase Bound"),
        ),
    ],
)
def test_a_volume_is_in_the_guest_when_it_is_ready(status: list[Object], verdict: Any) -> None:
    assert plug.plugged("data", "u")(instance(volumeStatus=status)) == verdict


def test_a_guest_that_stops_meanwhile_gets_nothing() -> None:
    assert isinstance(plug.plugged("data", "u")(None), Failed)
    assert isinstance(plug.plugged("data", "u")(instance("other")), Failed)
    assert isinstance(plug.connected("lan", "u")(None), Failed)


def test_a_volume_is_off_when_neither_spec_nor_status_have_it() -> None:
    detaching = {"name": "data", "phase": "Detaching", "message": "being taken off", "hotplugVolume": {}}
    assert plug.unplugged("data")(instance(volumeStatus=[detaching])) == Progress("data Detaching: being taken off")
    wanted = {**instance(), "spec": {"volumes": [{"name": "data"}]}}
    assert isinstance(plug.unplugged("data")(wanted), Progress)
    assert plug.unplugged("data")(instance()) == Ready()
    assert plug.unplugged("data")(None) == Ready()


def test_what_a_machine_boots_from_is_known_by_order_or_by_place() -> None:
    def boots(*disks: Object, interfaces: tuple[Object, ...] = ()) -> str | None:
        devices = {"disks": list(disks), "interfaces": list(interfaces)}
        return plug.boots_from({"spec": {"template": {"spec": {"domain": {"devices": devices}}}}})

    root, data = {"name": "root", "disk": {}}, {"name": "data", "disk": {}}
    assert boots(root, data) == "root"
    assert boots(root, {**data, "bootOrder": 1}) == "data"
    assert boots({**root, "bootOrder": 2}, interfaces=({"name": "lan", "bootOrder": 1},)) is None
    assert boots({"name": "installer", "cdrom": {}, "bootOrder": 1}, {**root, "bootOrder": 2}) is None
    assert boots() is None
    plugged = {"name": "data", "dataVolume": {"name": "x", "hotpluggable": True}}
    spec = {"domain": {"devices": {"disks": [data, root]}}, "volumes": [plugged]}
    assert plug.boots_from({"spec": {"template": {"spec": spec}}}) is None


def test_a_machine_boots_from_the_first_volume_where_it_has_no_disks() -> None:
    """As OpenShift's console makes machines with instance types."""
    volumes = [{"name": "root", "dataVolume": {"name": "db"}}, {"name": "seed", "cloudInitNoCloud": {}}]
    spec: Object = {"domain": {"devices": {}}, "volumes": volumes}
    assert plug.boots_from({"spec": {"template": {"spec": spec}}}) == "root"
    spec["domain"]["devices"] = {"filesystems": [{"name": "root", "virtiofs": {}}]}
    assert plug.boots_from({"spec": {"template": {"spec": spec}}}) == "seed"


def test_a_claim_that_cannot_come_to_the_node_ends_the_wait() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "volume node affinity",
    }
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    pod = {"metadata": {}, "spec": {"volumes": volumes}, "status": {"conditions": [condition]}}
    assert isinstance(plug.attachment("data")(pod), Failed)
    assert plug.attachment("other")(pod) == Progress()


def test_an_interface_is_in_the_guest_when_the_domain_tells_of_it() -> None:
    shown = {"name": "lan", "infoSource": "domain, multus-status", "linkState": "up"}
    assert plug.connected("lan", "u")(instance(interfaces=[shown])) == Ready()
    assert plug.connected("lan", "u", "down")(instance(interfaces=[shown])) == Progress("the link of lan is up")
    only_pod = {"name": "lan", "infoSource": "multus-status"}
    assert plug.connected("lan", "u")(instance(interfaces=[only_pod])) == Progress("lan is not in the guest yet")
    required = [{"type": "MigrationRequired", "status": "True"}]
    assert plug.connected("lan", "u")(instance(conditions=required)) == Progress(
        "lan is not in the guest yet, it waits for a migration"
    )


def test_an_interface_has_gone_when_its_pod_has_let_it_go_too() -> None:
    assert plug.disconnected("lan")(instance()) == Ready()
    in_guest = instance(interfaces=[{"name": "lan", "infoSource": "domain, multus-status"}])
    assert plug.disconnected("lan")(in_guest) == Progress("lan is still in the guest")
    in_pod = instance(interfaces=[{"name": "lan", "infoSource": "multus-status"}])
    assert plug.disconnected("lan")(in_pod) == Progress("lan has left the guest, its pod still has it")


def test_what_is_there_beyond_what_is_wanted_does_not_differ() -> None:
    live = {"name": "a", "disk": {"bus": "scsi", "readonly": False}, "serial": "x"}
    assert not plug.differs({"name": "a", "disk": {}}, live)
    assert plug.differs({"name": "a", "disk": {"bus": "virtio"}}, live)
    assert plug.differs({"name": "a", "cdrom": {}}, live)
