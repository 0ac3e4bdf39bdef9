"""What happens to an object on its way through virt-api's Go types: amounts become canonical, empty values go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from virtlab.resource import Object
from virtlab.schema.quantity import QuantityError, canonical

RESOURCES = (("requests", "*"), ("limits", "*"))
DOMAIN = (
    ("memory", "guest"),
    ("memory", "maxGuest"),
    *(("resources", *path) for path in RESOURCES),
)
INSTANCE_QUANTITIES = (
    *(("domain", *path) for path in DOMAIN),
    ("volumes", "*", "emptyDisk", "capacity"),
    ("volumes", "*", "hostDisk", "capacity"),
)
MACHINE_QUANTITIES = (
    *(("template", "spec", *path) for path in INSTANCE_QUANTITIES),
    *(
        ("dataVolumeTemplates", "*", "spec", kind, "resources", *path)
        for kind in ("pvc", "storage")
        for path in RESOURCES
    ),
)
# Lists that Go writes even when they are empty.
KEPT_LISTS = frozenset({"nodeSelectorTerms"})
# Fields without a sign, by the end of their path; zero is not written. C(uint) has 64 bits.
UNSIGNED = {
    ("cpu", "cores"): "uint32",
    ("cpu", "sockets"): "uint32",
    ("cpu", "maxSockets"): "uint32",
    ("cpu", "threads"): "uint32",
    ("disks", "bootOrder"): "uint",
    ("interfaces", "bootOrder"): "uint",
    ("custom", "logical"): "uint",
    ("custom", "physical"): "uint",
    ("spinlocks", "spinlocks"): "uint32",
    ("ioThreads", "supplementalPoolThreadCount"): "uint32",
}
_LIMITS = {"uint32": 2**32, "uint": 2**64}
# Structs that Go writes even when they are empty: (path of the owner, field).
MACHINE_STRUCTS = (
    (("template",), "metadata"),
    (("template",), "spec"),
    (("template", "spec"), "domain"),
    (("template", "spec", "domain"), "devices"),
    (("template", "spec", "domain"), "resources"),
    (("template", "spec", "domain", "features"), "acpi"),
)
INSTANCE_STRUCTS = (
    ((), "domain"),
    (("domain",), "devices"),
    (("domain",), "resources"),
    (("domain", "features"), "acpi"),
)


class BadNumber(Exception):
    """A text that should be an amount is none, or a number does not fit its type; the message is the parser's."""


def reencode(
    spec: Object, quantities: tuple[tuple[str, ...], ...], structs: tuple[tuple[tuple[str, ...], str], ...]
) -> None:
    """Changes C(spec) in place. Raises BadNumber."""
    instance = (spec.get("template") or {}).get("spec") if "template" in spec else spec
    for problem in _misfits(instance, ()):
        raise BadNumber(problem)
    for path in quantities:
        _canonical(spec, path)
    _drop_empty_lists(spec)
    for path, name in structs:
        owner: Any = spec
        for key in path:
            owner = owner.get(key) if isinstance(owner, dict) else None
        if isinstance(owner, dict):
            owner.setdefault(name, {})


def _canonical(value: Any, path: tuple[str, ...]) -> None:
    key, rest = path[0], path[1:]
    if isinstance(value, list):
        if key == "*":
            for item in value:
                _canonical(item, rest)
        return
    if not isinstance(value, dict):
        return
    for name in list(value) if key == "*" else [key]:
        if name not in value or value[name] is None:
            continue
        if rest:
            _canonical(value[name], rest)
            continue
        try:
            value[name] = canonical(value[name])
        except QuantityError as error:
            raise BadNumber(str(error)) from error


def _drop_empty_lists(value: Any) -> None:
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if item == [] and key not in KEPT_LISTS]:
            del value[key]
        for item in value.values():
            _drop_empty_lists(item)
    elif isinstance(value, list):
        for item in value:
            _drop_empty_lists(item)


def _misfits(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Numbers of an instance's spec that their unsigned types cannot hold. Zeros are taken out."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _misfits(item, (*path, str(index)))
        return
    if not isinstance(value, dict):
        return
    names = [step for step in path if not step.isdigit()]
    for key, item in list(value.items()):
        go_type = UNSIGNED.get((names[-1] if names else "", key))
        if go_type is None or not isinstance(item, int | float):
            yield from _misfits(item, (*path, key))
        elif not 0 <= item < _LIMITS[go_type]:
            where = ".".join((*path, key))
            yield f"json: cannot unmarshal number {item} into Go struct field VMISpecAlias.{where} of type {go_type}"
        elif item == 0 and key != "bootOrder":
            del value[key]
