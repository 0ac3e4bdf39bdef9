"""The volumes of a machine: which claims and data volumes they are, and whether those are ready. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from virtlab.controllers.conditions import find_condition
from virtlab.resource import Object

Finder = Callable[[str], Object | None]


def claim_name(volume: Object) -> str:
    """The claim behind a volume, or an empty string."""
    if volume.get("dataVolume"):
        name: str = volume["dataVolume"].get("name", "")
        return name
    claim = (
        volume.get("persistentVolumeClaim")
        or volume.get("memoryDump")
        or (volume.get("ephemeral") or {}).get("persistentVolumeClaim")
        or {}
    )
    found: str = claim.get("claimName", "")
    return found


def claims(volumes: Iterable[Object]) -> list[str]:
    return [name for name in map(claim_name, volumes) if name]


def data_volume_names(volumes: Iterable[Object]) -> list[str]:
    return [volume["dataVolume"]["name"] for volume in volumes if volume.get("dataVolume")]


def template_volumes(vm: Object) -> list[Object]:
    spec = (vm["spec"].get("template") or {}).get("spec") or {}
    return list(spec.get("volumes") or ())


def phase(obj: Object | None) -> str:
    found: str = ((obj or {}).get("status") or {}).get("phase") or ""
    return found


def data_volume_error(volumes: Iterable[Object], find: Finder) -> bool:
    """Has the import into one of the data volumes failed or stopped?"""
    for name in data_volume_names(volumes):
        data_volume = find(name)
        if phase(data_volume) == "Failed":
            return True
        running = find_condition(data_volume, "Running") or {}
        if running.get("status") == "False" and running.get("reason") in ("Error", "ImagePullFailed"):
            return True
    return False


def provisioning(volumes: Iterable[Object], find: Finder) -> bool:
    """Is one of the data volumes being filled?"""
    for name in data_volume_names(volumes):
        data_volume = find(name)
        if data_volume is None or phase(data_volume) in ("Succeeded", "PendingPopulation"):
            continue
        bound = (find_condition(data_volume, "Bound") or {}).get("status") == "True"
        if bound or phase(data_volume) != "WaitForFirstConsumer":
            return True
    return False


def unbound(volumes: Iterable[Object], find_claim: Finder) -> bool:
    found = (find_claim(name) for name in claims(volumes))
    return any(claim is not None and phase(claim) != "Bound" for claim in found)
