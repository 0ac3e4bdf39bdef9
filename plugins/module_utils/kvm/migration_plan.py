# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a machine is to be moved: the options of C(kvm_vm_migration) as libvirt's flags and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..task import Failure
from .library import libvirt

# What a migration can be asked not to look at.
CHECKS = ("cpu", "memory", "space", "network", "storage", "firmware_state")
# Compression methods, and the libvirt on both sides from which they are known to work.
COMPRESSION: dict[str, int] = {"xbzrle": 1_000_000, "mt": 1_000_000, "zlib": 9_004_000, "zstd": 9_004_000}
# These work on the pages of several connections, and on nothing else.
_NEEDS_PARALLEL = ("zlib", "zstd")


@dataclass(frozen=True)
class Plan:
    """The options, checked. Times are in seconds, C(max_downtime) in milliseconds, C(bandwidth) in MiB/s."""

    migrate_uri: str | None
    disks_uri: str | None
    peer_uri: str | None
    tunnelled: bool
    copy_storage: str
    copy_disks: Sequence[str] | None
    bandwidth: int | None
    max_downtime: int | None
    auto_converge: bool
    post_copy: bool
    post_copy_after: int | None
    compression: Sequence[str]
    connections: int | None
    timeout: int | None
    timeout_action: str
    skip: frozenset[str]

    @property
    def copies(self) -> bool:
        return self.copy_storage != "none"


def plan(params: Mapping[str, Any], target_uri: str) -> Plan:
    """The plan of a task. Raises Failure for options that contradict each other."""
    for option in ("bandwidth", "max_downtime", "connections", "timeout", "post_copy_after"):
        value, least = params[option], 0 if option == "post_copy_after" else 1
        if value is not None and value < least:
            raise Failure(f"{option}: {value} is less than {least}.")
    if params["tunnelled"] and params["copy_storage"] != "none":
        raise Failure("tunnelled: copies no storage through the tunnel; leave out tunnelled or copy_storage.")
    if params["tunnelled"] and (params["migrate_uri"] or params["connections"]):
        raise Failure("tunnelled: goes through libvirt's own connection; leave out migrate_uri and connections.")
    if params["tunnelled"] and params["post_copy"]:
        raise Failure("tunnelled: its guests cannot fetch memory afterwards; leave out tunnelled or post_copy.")
    by_socket = (params["migrate_uri"] or "").startswith("unix:")
    if by_socket and params["copy_storage"] != "none" and not params["disks_uri"]:
        raise Failure("migrate_uri: is a socket; name another one for the disks (disks_uri: unix:///path).")
    if params["copy_disks"] is not None and params["copy_storage"] == "none":
        raise Failure("copy_disks: say with copy_storage (all or incremental) how the disks are to be copied.")
    if params["post_copy_after"] is not None and not params["post_copy"]:
        raise Failure("post_copy_after: needs post_copy: true.")
    if params["timeout_action"] == "postcopy" and not params["post_copy"]:
        raise Failure("timeout_action: postcopy needs post_copy: true, or the hosts do not prepare for it.")
    if params["timeout_action"] != "abort" and params["timeout"] is None:
        raise Failure("timeout_action: say with timeout after how many seconds.")
    alone = [method for method in params["compression"] if method in _NEEDS_PARALLEL and not params["connections"]]
    if alone:
        raise Failure(f"compression: {alone[0]} needs several connections; set connections.")
    if params["post_copy"] and params["connections"]:
        raise Failure("post_copy: pages are fetched by one connection; leave out connections.")
    is_peer = params["peer_to_peer"] or params["tunnelled"] or params["peer_uri"] is not None
    return Plan(
        migrate_uri=params["migrate_uri"],
        disks_uri=params["disks_uri"],
        peer_uri=(params["peer_uri"] or target_uri) if is_peer else None,
        tunnelled=params["tunnelled"],
        copy_storage=params["copy_storage"],
        copy_disks=params["copy_disks"],
        bandwidth=params["bandwidth"],
        max_downtime=params["max_downtime"],
        auto_converge=params["auto_converge"],
        post_copy=params["post_copy"],
        post_copy_after=params["post_copy_after"],
        compression=tuple(params["compression"]),
        connections=params["connections"],
        timeout=params["timeout"],
        timeout_action=params["timeout_action"],
        skip=frozenset(params["skip_checks"]),
    )


def flags(plan: Plan, *, live: bool, persistent: bool, resume: bool = False) -> int:
    """VIR_MIGRATE_... of a plan. C(live) is whether a guest runs; C(resume) takes up a post-copy that broke off."""
    if not live:
        return int(libvirt.VIR_MIGRATE_OFFLINE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE)
    found = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    chosen = {
        libvirt.VIR_MIGRATE_PERSIST_DEST: persistent,
        libvirt.VIR_MIGRATE_UNDEFINE_SOURCE: persistent,
        libvirt.VIR_MIGRATE_PEER2PEER: plan.peer_uri is not None,
        # With p2p the source's libvirt guards the machine itself.
        libvirt.VIR_MIGRATE_CHANGE_PROTECTION: plan.peer_uri is None,
        libvirt.VIR_MIGRATE_TUNNELLED: plan.tunnelled,
        libvirt.VIR_MIGRATE_NON_SHARED_DISK: plan.copy_storage == "all",
        libvirt.VIR_MIGRATE_NON_SHARED_INC: plan.copy_storage == "incremental",
        libvirt.VIR_MIGRATE_AUTO_CONVERGE: plan.auto_converge,
        libvirt.VIR_MIGRATE_POSTCOPY: plan.post_copy,
        libvirt.VIR_MIGRATE_COMPRESSED: bool(plan.compression),
        libvirt.VIR_MIGRATE_PARALLEL: plan.connections is not None,
        libvirt.VIR_MIGRATE_UNSAFE: "storage" in plan.skip,
    }
    for flag, wanted in chosen.items():
        found |= flag if wanted else 0
    if resume:
        found &= ~(libvirt.VIR_MIGRATE_NON_SHARED_DISK | libvirt.VIR_MIGRATE_NON_SHARED_INC)
        found |= libvirt.VIR_MIGRATE_POSTCOPY | libvirt.VIR_MIGRATE_POSTCOPY_RESUME
    return int(found)


def parameters(plan: Plan, *, live: bool, copied: Sequence[str]) -> dict[str, Any]:
    """VIR_MIGRATE_PARAM_... of a plan. C(copied) are the targets of the disks whose content is copied."""
    if not live:
        return {}
    wanted = {
        libvirt.VIR_MIGRATE_PARAM_URI: plan.migrate_uri,
        libvirt.VIR_MIGRATE_PARAM_DISKS_URI: plan.disks_uri if plan.copies else None,
        libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: plan.bandwidth,
        # Pages that the guest waits for are not slowed down.
        libvirt.VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY: plan.bandwidth if plan.post_copy else None,
        libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: list(copied) or None,
        libvirt.VIR_MIGRATE_PARAM_COMPRESSION: list(plan.compression) or None,
        libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS: plan.connections,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def too_old(plan: Plan, versions: Mapping[str, int]) -> list[str]:
    """What libvirt on a side cannot do of the plan. C(versions) are those of the sides, by their uris."""
    return [
        f"compression {method} needs libvirt {needed // 1_000_000}.{needed // 1000 % 1000} on both sides,"
        f" and {uri} has {version // 1_000_000}.{version // 1000 % 1000}"
        for method in plan.compression
        for uri, version in versions.items()
        if version < (needed := COMPRESSION[method])
    ]
