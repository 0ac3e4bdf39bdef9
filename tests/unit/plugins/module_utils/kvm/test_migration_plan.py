"""What a migration is asked for, and what stands against it, without a host."""

from __future__ import annotations

from typing import Any

import pytest

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")

from ansible_collections.virtstack.core.plugins.module_utils.kvm.migration_checks import (  # noqa: E402
    short_of_memory,
    short_of_space,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.migration_plan import (  # noqa: E402
    flags,
    parameters,
    plan,
    too_old,
)
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure  # noqa: E402
from ansible_collections.virtstack.core.plugins.modules.kvm_vm_migration import SPEC  # noqa: E402

TARGET = "qemu+ssh://root@beta/system"


def options(**given: Any) -> dict[str, Any]:
    defaults = {name: option.get("default") for name, option in SPEC.options.items()}
    return {**defaults, **given}


def test_a_running_machine_is_moved_for_good() -> None:
    found = flags(plan(options(), TARGET), live=True, persistent=True)
    for flag in ("LIVE", "PERSIST_DEST", "UNDEFINE_SOURCE", "ABORT_ON_ERROR", "CHANGE_PROTECTION"):
        assert found & getattr(libvirt, f"VIR_MIGRATE_{flag}"), flag
    assert not found & (libvirt.VIR_MIGRATE_UNSAFE | libvirt.VIR_MIGRATE_PEER2PEER)


def test_a_machine_without_a_definition_gets_none() -> None:
    found = flags(plan(options(), TARGET), live=True, persistent=False)
    assert not found & (libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE)


def test_a_machine_that_is_off_takes_no_option_of_live_ones() -> None:
    wanted = plan(options(copy_storage="all", compression=["xbzrle"], bandwidth=5), TARGET)
    offline = libvirt.VIR_MIGRATE_OFFLINE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    assert flags(wanted, live=False, persistent=True) == offline
    assert parameters(wanted, live=False, copied=["vda"]) == {}


def test_the_peer_is_the_target_where_nothing_else_is_said() -> None:
    assert plan(options(), TARGET).peer_uri is None
    assert plan(options(peer_to_peer=True), TARGET).peer_uri == TARGET
    assert plan(options(tunnelled=True), TARGET).peer_uri == TARGET
    assert plan(options(peer_uri="qemu+tcp://10.0.0.2/system"), TARGET).peer_uri == "qemu+tcp://10.0.0.2/system"


def test_what_is_asked_for_becomes_parameters() -> None:
    given = options(migrate_uri="tcp://10.0.0.2", bandwidth=100, connections=4, copy_storage="all")
    assert parameters(plan(given, TARGET), live=True, copied=["vda", "vdb"]) == {
        "migrate_uri": "tcp://10.0.0.2",
        "bandwidth": 100,
        "parallel.connections": 4,
        "migrate_disks": ["vda", "vdb"],
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bandwidth": 0}, "bandwidth: 0 is less than 1"),
        ({"post_copy_after": -1, "post_copy": True}, "post_copy_after: -1 is less than 0"),
        ({"tunnelled": True, "copy_storage": "all"}, "tunnelled: copies no storage"),
        ({"tunnelled": True, "connections": 2}, "tunnelled: goes through libvirt's own connection"),
        ({"copy_disks": ["root"]}, "copy_disks: say with copy_storage"),
        ({"post_copy_after": 3}, "needs post_copy: true"),
        ({"timeout_action": "postcopy", "timeout": 3}, "timeout_action: postcopy needs post_copy"),
        ({"timeout_action": "pause"}, "say with timeout"),
        ({"compression": ["zstd"]}, "zstd needs several connections"),
        ({"tunnelled": True, "post_copy": True}, "leave out tunnelled or post_copy"),
        ({"migrate_uri": "unix:///m.sock", "copy_storage": "all"}, "name another one for the disks"),
        ({"post_copy": True, "connections": 2}, "leave out connections"),
    ],
)
def test_options_that_contradict_each_other_say_what_to_do(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Failure) as failure:
        plan(options(**given), TARGET)
    assert said in failure.value.message


def test_the_side_that_is_too_old_is_named() -> None:
    wanted = plan(options(compression=["zstd"], connections=2), TARGET)
    [reason] = too_old(wanted, {"qemu:///system": 10_000_000, TARGET: 9_000_000})
    assert reason == f"compression zstd needs libvirt 9.4 on both sides, and {TARGET} has 9.0"


def test_memory_and_space_that_are_missing_are_told_in_figures() -> None:
    gib = 1024**3
    assert short_of_memory(gib, gib, TARGET) == [] == short_of_space(gib, gib, "/srv")
    assert short_of_memory(4 * gib, gib, TARGET) == [f"it has 4096 MiB of memory and {TARGET} only 1024 MiB free"]
    [reason] = short_of_space(2 * gib, gib, "/srv")
    assert reason == "its disks need 2048 MiB in /srv, which has only 1024 MiB free"
