# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a machine: where each comes from, what is made for it, and how the guest sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import names, quantity
from .refusal import Problems, Refused

DEVICES = ("disk", "cdrom", "lun")
BUSES = ("virtio", "scsi", "sata", "usb")
CACHES = ("none", "writethrough", "writeback")
IO_MODES = ("native", "threads", "default")
ERROR_POLICIES = ("stop", "ignore", "report", "enospace")
ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
VOLUME_MODES = ("Filesystem", "Block")


@dataclass(frozen=True)
class Source:
    """A way in which a disk gets its content.

    C(creates) is what is made for it: a volume that outlives the machine, scratch space, or nothing.
    C(size) says whether a size must be given, may be given, or means nothing. C(fields) are the keys its value may
    have, the first being what a plain text stands for. C(schemes) are those of the URL it may lead to.
    """

    option: str
    creates: str = "nothing"
    size: str = "none"
    fields: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()


SOURCES = {
    source.option: source
    for source in (
        Source("boot_source", "volume", "optional", ("name", "namespace", "pool"), ("name",)),
        Source("blank", "volume", "required"),
        Source(
            "http",
            "volume",
            "required",
            ("url", "secret", "cert_config_map", "checksum"),
            ("url",),
            ("http", "https"),
        ),
        Source(
            "registry",
            "volume",
            "required",
            ("url", "secret", "cert_config_map", "pull_method"),
            ("url",),
            ("docker", "oci-archive"),
        ),
        Source("clone_pvc", "volume", "optional", ("name", "namespace"), ("name",)),
        Source("clone_snapshot", "volume", "optional", ("name", "namespace"), ("name",)),
        Source("pvc", fields=("name",), required=("name",)),
        Source("data_volume", fields=("name",), required=("name",)),
        Source("container_disk", fields=("image", "pull_policy", "pull_secret", "path"), required=("image",)),
        Source("ephemeral", fields=("pvc",), required=("pvc",)),
        Source("empty", "scratch", "required"),
        Source("sysprep", fields=("config_map", "secret")),
        Source("config_map", fields=("name",), required=("name",)),
        Source("secret", fields=("name",), required=("name",)),
        Source("service_account", fields=("name",), required=("name",)),
        Source("volume", fields=("pool", "name"), required=("pool", "name")),
        Source("path", size="optional", fields=("path",), required=("path",)),
    )
}

# What describes the volume that a source creates, and nothing where none is created.
VOLUME_OPTIONS = ("storage_class", "access_modes", "volume_mode", "preallocation")


@dataclass(frozen=True)
class Disk:
    """One disk. C(source) is None where the description only says how an existing disk is attached."""

    name: str
    source: Source | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    size: str | None = None
    absent: bool = False
    device: str | None = None
    bus: str | None = None
    boot_order: int | None = None
    readonly: bool | None = None
    serial: str | None = None
    shareable: bool | None = None
    cache: str | None = None
    io: str | None = None
    error_policy: str | None = None
    dedicated_io_thread: bool | None = None
    storage_class: str | None = None
    access_modes: tuple[str, ...] = ()
    volume_mode: str | None = None
    preallocation: bool | None = None
    pool: str | None = None
    format: str | None = None


def read_disks(
    options: Sequence[Mapping[str, Any]] | None, other_side: Collection[str] = ()
) -> tuple[Disk, ...] | None:
    """The disks that C(disks:) lists, None when the list is not declared. Refuses two of one name.

    C(other_side) has the options that only another kind of host knows (C(disks.pvc)); no message proposes them.
    """
    if options is None:
        return None
    problems = Problems()
    disks = [problems.take(lambda item=item: read_disk(item, other_side)) for item in options]  # type: ignore[misc]
    for name in names.repeated([item["name"] for item in options]):
        problems.add(f'disks: two disks are named "{name}"; give each a name of its own')
    problems.refuse()
    return tuple(disk for disk in disks if disk)


def read_disk(options: Mapping[str, Any], other_side: Collection[str] = ()) -> Disk:
    """One disk. Refuses several sources, a size that is none, and volume options where no volume is made."""
    label = f"disk {options['name']}"
    problems = Problems()
    problems.take(lambda: names.device_name(options["name"], "disks: name"))
    given = [name for name in SOURCES if options.get(name) not in (None, False)]
    if len(given) > 1:
        raise Refused(f"{label}: {' and '.join(given)} are {len(given)} sources; a disk has one")
    source = SOURCES[given[0]] if given else None
    absent = options.get("state") == "absent"
    origin = problems.take(lambda: _origin(source, options, label, other_side)) if source else {}
    size = None
    if options.get("size") is not None:
        size = problems.take(lambda: quantity.size(options["size"], f"{label}: size"))
    if not absent:
        _check_volume(problems, label, source, options, other_side)
    order = options.get("boot_order")
    if order is not None and order < 1:
        problems.add(f"{label}: boot_order: {order} is less than 1")
    if options.get("shareable") and options.get("cache") not in (None, "none"):
        problems.add(f"{label}: shareable: disks that machines share are not cached; set cache to none")
    problems.refuse()
    attributes = {name: options.get(name) for name in _ATTRIBUTES}
    return Disk(
        name=options["name"],
        source=source,
        origin=origin or {},
        size=size,
        absent=absent,
        access_modes=tuple(options.get("access_modes") or ()),
        **attributes,
    )


_ATTRIBUTES = (
    "device",
    "bus",
    "boot_order",
    "readonly",
    "serial",
    "shareable",
    "cache",
    "io",
    "error_policy",
    "dedicated_io_thread",
    "storage_class",
    "volume_mode",
    "preallocation",
    "pool",
    "format",
)


def _origin(source: Source, options: Mapping[str, Any], label: str, other_side: Collection[str]) -> dict[str, str]:
    """What a source refers to, as a dictionary: a plain text stands for the source's first field."""
    value = options[source.option]
    if not source.fields:
        return {}
    option = f"{label}: {source.option}"
    takes = ", ".join(key for key in source.fields if f"disks.{source.option}.{key}" not in other_side)
    if isinstance(value, str):
        value = {source.fields[0]: value}
    if not isinstance(value, Mapping):
        raise Refused(f"{option}: must be a text or a dictionary of {takes}")
    unknown = sorted(set(value) - set(source.fields))
    if unknown:
        raise Refused(f"{option}: has no key {', '.join(unknown)}; it takes {takes}")
    origin = {key: str(text) for key, text in value.items() if text not in (None, "")}
    missing = [key for key in source.required if key not in origin]
    if missing:
        raise Refused(f"{option}: lacks {', '.join(missing)}")
    if source.schemes and not _is_url(origin["url"], source.schemes):
        known = " or ".join(f"{scheme}://" for scheme in source.schemes)
        raise Refused(f'{option}: "{origin["url"]}" is no URL that can be imported; begin with {known}, then the host')
    if not origin:
        raise Refused(f"{option}: lacks one of {', '.join(source.fields)}")
    slashed = next((key for key in ("name", "pvc") if "/" in origin.get(key, "")), None)
    if slashed is not None and source.option != "volume":
        place, _slash, name = origin[slashed].partition("/")
        instead = (
            f"{{name: {name}, namespace: {place}}}" if "namespace" in source.fields else "one of the VM's namespace"
        )
        raise Refused(f'{option}: "{origin[slashed]}" is no name; write {instead}')
    return origin


def _is_url(text: str, schemes: Collection[str]) -> bool:
    scheme, separator, rest = text.partition("://")
    return bool(separator) and scheme.lower() in schemes and rest.strip("/") != "" and " " not in text


def _check_volume(
    problems: Problems,
    label: str,
    source: Source | None,
    options: Mapping[str, Any],
    other_side: Collection[str],
) -> None:
    if source is None:
        if options.get("size") is not None or any(options.get(name) for name in VOLUME_OPTIONS):
            choices = ", ".join(option for option in SOURCES if f"disks.{option}" not in other_side)
            problems.add(f"{label}: has no source; add one of {choices}")
        return
    if source.size == "required" and options.get("size") is None:
        problems.add(f"{label}: {source.option} needs a size, e.g. 30Gi")
    if source.size == "none" and options.get("size") is not None:
        problems.add(f"{label}: size: {source.option} brings its own size; leave size out")
    if source.creates != "volume":
        for name in VOLUME_OPTIONS:
            if options.get(name) not in (None, [], False):
                problems.add(f"{label}: {name}: {source.option} makes no volume that this could apply to; leave it out")


def require_sources(disks: Sequence[Disk], known: Sequence[str] = ()) -> None:
    """Refuse disks that would be new and say not where they come from. C(known) names the disks that exist."""
    problems = Problems()
    for disk in disks:
        if disk.source is None and not disk.absent and disk.name not in known:
            problems.add(f"disk {disk.name}: has no source; add one of {', '.join(SOURCES)}")
    problems.refuse()
