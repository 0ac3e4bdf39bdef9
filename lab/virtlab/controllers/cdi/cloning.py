"""How a claim is cloned, and why not faster: CDI's planner. Pure functions over a controller's view of the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtlab.controllers.cdi.names import CLASSES, PROFILES, PVCS
from virtlab.resource import Object
from virtlab.schema.quantity import parse

if TYPE_CHECKING:
    from virtlab.controllers.runtime import Controller


@dataclass(frozen=True)
class Strategy:
    """C(kind): csi-clone, snapshot or copy. C(fallback): reason and message of a copy that was not wanted."""

    kind: str
    fallback: tuple[str, str] | None = None


def _fallback(reason: str, message: str) -> Strategy:
    return Strategy("copy", (reason, message))


def strategy_of(controller: Controller, origin: Object | None, claim: Object) -> Strategy:
    """How C(claim) is made from the claim C(origin)."""
    name = claim["spec"].get("storageClassName", "")
    profile, target_class = controller.find(PROFILES, None, name), controller.find(CLASSES, None, name)
    wanted: str = ((profile or {}).get("status") or {}).get("cloneStrategy") or "copy"
    if wanted == "copy" or origin is None:
        return Strategy(wanted)
    source_class = controller.find(CLASSES, None, origin["spec"].get("storageClassName", ""))
    if (source_class or {}).get("provisioner") != (target_class or {}).get("provisioner"):
        return _fallback("IncompatibleProvisioners", "Provisioners are incompatible")
    modes = {item["spec"].get("volumeMode", "Filesystem") for item in (origin, claim)}
    if len(modes) > 1:
        return _fallback("IncompatibleVolumeModes", "The volume modes of source and target are incompatible")
    if wanted == "snapshot" and not ((profile or {}).get("status") or {}).get("snapshotClass"):
        return _fallback("NoVolumeSnapshotClass", "No compatible volumesnapshotclass found")
    if requested(origin) != requested(claim) and not (target_class or {}).get("allowVolumeExpansion"):
        return _fallback("NoVolumeExpansion", "No volume expansion is possible")
    return Strategy(wanted)


def requested(claim: Object) -> int:
    """Bytes that the claim asks for."""
    return int(parse(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")))


def too_small(controller: Controller, source: Object, claim: Object) -> str | None:
    """Why a claim cannot take what the source claim holds; None when it can."""
    origin = controller.find(PVCS, source.get("namespace") or claim["metadata"]["namespace"], source["name"])
    if origin is None or requested(claim) >= requested(origin):
        return None
    sizes = f"{requested(claim)} < {requested(origin)}"
    return f"target resources requests storage size is smaller than the source {sizes}"
