"""Processors and memory of a running machine that change with its template."""

from __future__ import annotations

from typing import Any

import pytest
from played import VMIS, VMS, Played, conditions
from virtlab.controllers.kubevirt.live_resources import refusal, resized
from virtlab.controllers.kubevirt.live_update import restart_reason
from virtlab.controllers.kubevirt.migrations import AUTOMATIC
from virtlab.guests.interface import Resized

Object = dict[str, Any]
MIGRATIONS = "virtualmachineinstancemigrations.kubevirt.io"


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    return played


def domain(**cpu: int) -> Object:
    return {"domain": {"cpu": cpu}}


def running(spec: Object, memory: Object | None = None, *, migratable: bool = True) -> Object:
    able = {"type": "LiveMigratable", "status": "True" if migratable else "False"}
    return {"spec": spec, "status": {"phase": "Running", "memory": memory or {}, "conditions": [able]}}


def test_sockets_grow_up_to_the_limit_and_the_node_is_asked_for_more() -> None:
    asked = {"resources": {"requests": {"cpu": "200m"}}}
    vmi = running({"domain": {"cpu": {"sockets": 1, "maxSockets": 4, "cores": 2}, **asked}})
    spec = resized({"domain": {"cpu": {"sockets": 3}, **asked}}, vmi, 10)
    assert spec["domain"] == {
        "cpu": {"sockets": 3, "maxSockets": 4, "cores": 2},
        "resources": {"requests": {"cpu": "600m"}},
    }
    assert vmi["spec"]["domain"]["cpu"]["sockets"] == 1


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (domain(sockets=5), "CPU sockets updated in template spec to a value higher than what's available"),
        (domain(sockets=1), "Reduction of CPU socket count requires a restart"),
        (domain(sockets=2), None),
        (domain(), None),
    ],
)
def test_what_sockets_have_to_wait_for(template: Object, why: str | None) -> None:
    vmi = running(domain(sockets=2, maxSockets=4))
    assert refusal(template, vmi) == why
    assert resized(template, vmi, 10) is vmi["spec"]


HAS = {"guest": "2Gi", "maxGuest": "8Gi"}
TOLD = {"guestAtBoot": "2Gi", "guestCurrent": "2Gi", "guestRequested": "2Gi"}
UPDATED = "memory updated in template spec"


@pytest.mark.parametrize(
    ("guest", "memory", "migratable", "why"),
    [
        ("4Gi", HAS, True, None),
        ("2048Mi", HAS, True, None),
        ("4Gi", HAS, False, f"{UPDATED}. Memory-hotplug is only available for migratable VMs"),
        ("4Gi", {"guest": "2Gi"}, True, f"{UPDATED}. Memory-hotplug is not available for this VM configuration"),
        ("1500Mi", HAS, True, f"{UPDATED} to a value lower than what the VM started with"),
        (
            "9Gi",
            HAS,
            True,
            "memory hotplug not supported, Guest memory is greater than the configured maxGuest memory",
        ),
        ("3001Mi", HAS, True, "memory hotplug not supported, Guest memory must be 2Mi aligned"),
    ],
)
def test_what_memory_has_to_wait_for(guest: str, memory: Object, migratable: bool, why: str | None) -> None:
    vmi = running({"architecture": "amd64", "domain": {"memory": memory}}, TOLD, migratable=migratable)
    assert refusal({"domain": {"memory": {"guest": guest}}}, vmi) == why


def machine(played: Played, name: str, memory: str = "2Gi", **more: Any) -> None:
    devices = {
        "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
        "interfaces": [{"name": "default", more.pop("binding", "masquerade"): {}}],
    }
    played.machine(name, template={"domain": {"devices": devices}})
    assert more == {}
    edit(played, name, memory={"guest": memory}, cpu={"cores": 1, "sockets": 1})
    restart(played, name)


def edit(played: Played, name: str, **domain: Any) -> None:
    played.patch(VMS, name, "prod", {"spec": {"template": {"spec": {"domain": domain}}}})


def restart(played: Played, name: str) -> None:
    played.delete(VMIS, name, "prod")
    assert played.printable(name) == "Running"


def told(played: Played, name: str) -> str | None:
    condition = conditions(played.get(VMS, name, "prod")).get("RestartRequired")
    return None if condition is None else str(condition["message"])


def test_memory_comes_with_a_migration_that_nobody_asked_for(played: Played) -> None:
    machine(played, "grows")
    before = played.get(VMIS, "grows", "prod")
    seen: list[set[str]] = []

    def note(event: Any) -> None:
        if event.key[1] == "virtualmachineinstances" and event.type != "DELETED":
            seen.append({kind for kind in conditions(event.object) if kind.startswith("Hot")})

    played.cluster.store.subscribe(note)
    edit(played, "grows", memory={"guest": "4Gi"}, cpu={"sockets": 2})
    vmi = played.get(VMIS, "grows", "prod")
    assert {"HotVCPUChange", "HotMemoryChange"} in seen
    assert not {"HotVCPUChange", "HotMemoryChange"} & set(conditions(vmi))
    assert vmi["status"]["memory"] == {"guestAtBoot": "2Gi", "guestCurrent": "4Gi", "guestRequested": "4Gi"}
    assert vmi["status"]["currentCPUTopology"] == {"cores": 1, "sockets": 2, "threads": 1}
    assert vmi["metadata"]["uid"] == before["metadata"]["uid"]
    assert vmi["status"]["nodeName"] != before["status"]["nodeName"]
    [migration] = [item for item in played.list(MIGRATIONS, "prod") if item["spec"]["vmiName"] == "grows"]
    assert migration["metadata"]["name"].startswith("kubevirt-workload-update-")
    assert set(AUTOMATIC) & set(migration["metadata"]["annotations"])
    assert (migration["spec"]["priority"], migration["status"]["phase"]) == ("user-triggered", "Succeeded")
    assert told(played, "grows") is None


def test_what_waits_for_a_restart_is_told_until_it_was_restarted(played: Played) -> None:
    machine(played, "waits")
    edit(played, "waits", memory={"guest": "1Gi"})
    assert told(played, "waits") == f"{UPDATED} to a value lower than what the VM started with"
    edit(played, "waits", memory={"guest": "2Gi"})
    assert told(played, "waits") is None
    edit(played, "waits", cpu={"sockets": 9})
    assert told(played, "waits") == "CPU sockets updated in template spec to a value higher than what's available"
    restart(played, "waits")
    assert told(played, "waits") is None
    assert played.get(VMIS, "waits", "prod")["spec"]["domain"]["cpu"]["sockets"] == 9


def test_a_small_machine_s_memory_waits_for_a_restart(played: Played) -> None:
    machine(played, "small", memory="512Mi")
    edit(played, "small", memory={"guest": "1Gi"})
    assert told(played, "small") == f"{UPDATED}. Memory-hotplug is not available for this VM configuration"


def test_another_field_keeps_what_could_change_from_changing(played: Played) -> None:
    machine(played, "both")
    edit(played, "both", memory={"guest": "4Gi"}, cpu={"cores": 2})
    assert told(played, "both") == "a non-live-updatable field was changed in the template spec"
    assert played.get(VMIS, "both", "prod")["spec"]["domain"]["memory"]["guest"] == "2Gi"


def test_memory_that_could_not_be_plugged_waits_for_a_restart(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(played, "fails")
    why = "cannot attach device"
    # Played guests always take what they are given; a domain may not.
    monkeypatch.setattr(played.cluster.guests, "resize", lambda vmi: Resized(memory_problem=why))
    edit(played, "fails", memory={"guest": "4Gi"})
    failed = conditions(played.get(VMIS, "fails", "prod"))["HotMemoryChange"]
    assert (failed["status"], failed["reason"]) == ("False", "Memory Hotplug Failed")
    assert told(played, "fails") == (f"{UPDATED}. Memory-hotplug failed and is not available for this VM configuration")
    assert (why, "failed to update guest memory") in played.events("prod", "fails")


@pytest.mark.parametrize("change", [{"cpu": {"sockets": 2}}, {"memory": {"guest": "4Gi"}}])
def test_where_nothing_changes_live_everything_waits(change: Object) -> None:
    before = {"domain": {"cpu": {"sockets": 1}, "memory": {"guest": "2Gi"}, "devices": {}}}
    after = {"domain": {**before["domain"], **change}}
    assert restart_reason(before, after) is None
    assert restart_reason(before, after, live=False) == "a non-live-updatable field was changed in the template spec"
