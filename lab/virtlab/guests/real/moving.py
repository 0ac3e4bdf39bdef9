"""A live migration, as libvirt does it: the source's libvirtd speaks with the target's."""

from __future__ import annotations

from typing import Any

import libvirt

from virtlab.guests.interface import Move

MEBIBYTE = 1 << 20
FIGURES = {  # what libvirt counted: its name here
    "downtime": "downtime-milliseconds",
    "time_elapsed": "total-milliseconds",
    "data_processed": "transferred-bytes",
    "memory_iteration": "iterations",
}


def move(domain: Any, wanted: Move) -> None:
    """Copy the guest to the other node while it runs. Raises libvirtError; then it runs where it was."""
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER
    if wanted.auto_converge:
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
    if wanted.post_copy:
        flags |= libvirt.VIR_MIGRATE_POSTCOPY
    parameters: dict[str, Any] = {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{wanted.target}"}
    if wanted.bandwidth:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = max(1, wanted.bandwidth // MEBIBYTE)
    domain.migrateToURI3(f"qemu+tcp://{wanted.target}/system", parameters, flags)


def figures(domain: Any) -> dict[str, int]:
    """What the migration that brought the guest here took. Raises libvirtError."""
    told = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    return {ours: int(told[theirs]) for theirs, ours in FIGURES.items() if theirs in told}
