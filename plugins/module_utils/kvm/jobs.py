# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs that libvirt does on a machine, of which it takes one at a time."""

from __future__ import annotations

from .errors import asking
from .library import libvirt
from .view import DomainView


def busy(domain: libvirt.virDomain, view: DomainView) -> str | None:
    """What job keeps the machine from being moved, snapshotted or backed up; None when there is none."""
    with asking(f"ask for the jobs of {view.name}"):
        if domain.isActive() and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
            operation = domain.jobStats().get("operation", libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN)
            return f"another job of libvirt is under way ({_OPERATIONS.get(operation, 'unknown')})"
        for disk in view.disks if domain.isActive() else ():
            if disk.source is not None and (job := domain.blockJobInfo(disk.target)):
                kind = _BLOCK_JOBS.get(job.get("type", 0), "job")
                return f"a block {kind} of disk {disk.name} is under way ({job.get('cur')} of {job.get('end')})"
    return None


_OPERATIONS = (
    {}
    if libvirt is None
    else {
        libvirt.VIR_DOMAIN_JOB_OPERATION_START: "start",
        libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: "save",
        libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: "incoming migration",
        libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: "migration",
        libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: "snapshot",
        libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT: "revert to a snapshot",
        libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: "memory dump",
        libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP: "backup",
    }
)
_BLOCK_JOBS = (
    {}
    if libvirt is None
    else {
        libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL: "pull",
        libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY: "copy",
        libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT: "commit",
        libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT: "commit",
        libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP: "backup",
    }
)
