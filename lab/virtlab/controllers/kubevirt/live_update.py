"""Which changes of a running machine's template need a restart. Pure functions (KubeVirt's syncRestartRequired)."""

from __future__ import annotations

from typing import Any

from virtlab.patches import copied
from virtlab.resource import Object

REASON = "a non-live-updatable field was changed in the template spec"
LIVE_FIELDS = ("nodeSelector", "affinity", "tolerations")


def _by_name(items: Any) -> dict[str, Object]:
    return {item["name"]: item for item in items or ()}


def hotpluggable(volume: Object) -> bool:
    return any((volume.get(kind) or {}).get("hotpluggable") for kind in ("dataVolume", "persistentVolumeClaim"))


def volumes_live(old: Object, new: Object, strategy: str = "") -> bool:
    """Can the volumes of C(old) become those of C(new) while the guest runs?"""
    before, after = _by_name(old.get("volumes")), _by_name(new.get("volumes"))
    for name, volume in after.items():
        if hotpluggable(volume) or "memoryDump" in volume:
            continue
        if name not in before:
            return False
        claimed = "dataVolume" in volume or "persistentVolumeClaim" in volume
        if not (claimed and strategy == "Migration") and before[name] != volume:
            return False
    return all(hotpluggable(volume) or "memoryDump" in volume for name, volume in before.items() if name not in after)


def disks_live(old: Object, new: Object) -> bool:
    before_volumes, after_volumes = _by_name(old.get("volumes")), _by_name(new.get("volumes"))
    before = _by_name(old["domain"]["devices"].get("disks"))
    after = _by_name(new["domain"]["devices"].get("disks"))
    for name, disk in after.items():
        if hotpluggable(after_volumes.get(name, {})):
            continue
        if before.get(name) != disk:
            return False
    for name, disk in before.items():
        if name in after:
            continue
        if "cdrom" in disk or (name in before_volumes and not hotpluggable(before_volumes[name])):
            return False
    return True


def interfaces_live(old: Object, new: Object) -> bool:
    """Bridge interfaces on secondary networks may come and go, and links go up and down."""
    networks = {**_by_name(old.get("networks")), **_by_name(new.get("networks"))}
    before = _by_name(old["domain"]["devices"].get("interfaces"))
    after = _by_name(new["domain"]["devices"].get("interfaces"))
    for name, interface in after.items():
        known = before.get(name)
        if known is None:
            if "multus" not in networks.get(name, {}) or not ("bridge" in interface or "sriov" in interface):
                return False
        elif {**known, "state": None} != {**interface, "state": None}:
            return False
    if any(name not in after for name in before):
        return False
    kept_old = {name: item for name, item in _by_name(old.get("networks")).items() if name in before}
    return all(networks.get(name) == item for name, item in kept_old.items())


def restart_reason(started: Object, current: Object, strategy: str = "", *, live: bool = True) -> str | None:
    """Why the machine needs a restart: C(started) and C(current) are the template's spec then and now, with the
    instance type applied. None when nothing changed that waits for one. C(live): processors, memory and placement
    may change while it runs."""
    old, new = copied(started), copied(current)
    old_domain, new_domain = old["domain"], new["domain"]
    if volumes_live(old, new, strategy):
        disks = disks_live(old, new)
        old["volumes"] = new.get("volumes")
        if disks:
            old_domain["devices"]["disks"] = new_domain["devices"].get("disks")
    if interfaces_live(old, new):
        old_domain["devices"]["interfaces"] = new_domain["devices"].get("interfaces")
        old["networks"] = new.get("networks")
    if live:
        if old_domain.get("cpu") and new_domain.get("cpu"):
            old_domain["cpu"]["sockets"] = new_domain["cpu"].get("sockets")
        if (new_domain.get("memory") or {}).get("guest"):
            old_domain.setdefault("memory", {})["guest"] = new_domain["memory"]["guest"]
        for field in LIVE_FIELDS:
            old[field] = new.get(field)
    return None if _same(old, new) else REASON


def _same(old: Any, new: Any) -> bool:
    """Equality for which an absent field and an empty one are the same."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(_same(old.get(key), new.get(key)) for key in old.keys() | new.keys())
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return all(_same(a, b) for a, b in zip(old, new, strict=True))
    return old == new or (not old and not new and not isinstance(old, bool) and not isinstance(new, bool))
