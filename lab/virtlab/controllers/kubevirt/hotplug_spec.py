"""What a running instance takes over from its machine's template: volumes, disks, interfaces. Pure functions.

pkg/storage/hotplug/hotplug.go and pkg/network/controllers/vm.go of KubeVirt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from virtlab.controllers.kubevirt.live_update import hotpluggable
from virtlab.patches import copied
from virtlab.resource import Object

ABSENT = "absent"


def by_name(items: Iterable[Object] | None) -> dict[str, Object]:
    return {item["name"]: item for item in items or ()}


def devices(spec: Object) -> Object:
    found: Object = (spec.get("domain") or {}).get("devices") or {}
    return found


def with_devices(spec: Object, **lists: Any) -> Object:
    """C(spec) with other lists of devices."""
    new: Object = copied(spec)
    new.setdefault("domain", {}).setdefault("devices", {}).update(lists)
    return new


def plugged_volumes(template: Object, spec: Object, statuses: Iterable[Object]) -> Object:
    """The instance's C(spec) with the hot-pluggable volumes that the machine's template has, and no others.

    One that is being unplugged still has a status, and is not plugged in again before that is gone.
    """
    wanted, present = by_name(template.get("volumes")), by_name(spec.get("volumes"))
    leaving = {status["name"] for status in statuses}
    volumes = [
        volume
        for name, volume in present.items()
        if not hotpluggable(volume) or (name in wanted and wanted[name] == volume)
    ]
    volumes += [
        copied(volume)
        for name, volume in wanted.items()
        if hotpluggable(volume) and name not in present and name not in leaving
    ]
    kept = by_name(volumes)
    template_disks, disks = by_name(devices(template).get("disks")), by_name(devices(spec).get("disks"))
    result = [
        disk
        for name, disk in disks.items()
        if name in kept or (name in template_disks and (name not in wanted or "cdrom" in disk))
    ]
    result += [
        copied(disk)
        for name, disk in template_disks.items()
        if name not in disks and name in kept and hotpluggable(kept[name])
    ]
    new = with_devices(spec, disks=result)
    new["volumes"] = volumes
    return new


def plugged_interfaces(template: Object, spec: Object, statuses: Mapping[str, Object]) -> Object:
    """The instance's C(spec) with the interfaces that may come and go, and their links' states.

    One that is absent stays in the spec until its status is gone.
    """
    networks = by_name(template.get("networks"))
    interfaces = [copied(item) for item in devices(spec).get("interfaces") or ()]
    own_networks = list(spec.get("networks") or ())
    present = by_name(interfaces)
    for wanted in devices(template).get("interfaces") or ():
        found, state = present.get(wanted["name"]), wanted.get("state")
        if found is None:
            if state != ABSENT and ("bridge" in wanted or "sriov" in wanted) and wanted["name"] in networks:
                interfaces.append(copied(wanted))
                own_networks.append(copied(networks[wanted["name"]]))
        elif found.get("state") not in (state, ABSENT):
            found.pop("state", None)
            if state:
                found["state"] = state
    interfaces = [item for item in interfaces if item.get("state") != ABSENT or item["name"] in statuses]
    kept = by_name(interfaces)
    new = with_devices(spec, interfaces=interfaces)
    new["networks"] = [network for network in own_networks if network["name"] in kept]
    return new


def cleared_template(template: Object, spec: Object | None, statuses: Mapping[str, Object]) -> Object:
    """The machine's template without the absent interfaces that its instance no longer has."""
    present = by_name(devices(spec or {}).get("interfaces"))
    interfaces = [
        item
        for item in devices(template).get("interfaces") or ()
        if item.get("state") != ABSENT or item["name"] in present or item["name"] in statuses
    ]
    if len(interfaces) == len(devices(template).get("interfaces") or ()):
        return template
    kept = by_name(interfaces)
    new = with_devices(template, interfaces=interfaces)
    new["networks"] = [network for network in template.get("networks") or () if network["name"] in kept]
    return new


def done_requests(requests: Iterable[Object], template: Object) -> list[Object]:
    """The volume requests that the template does not fulfil yet."""
    volumes, disks = by_name(template.get("volumes")), by_name(devices(template).get("disks"))
    left = []
    for request in requests:
        added = request.get("addVolumeOptions")
        name = (added or request.get("removeVolumeOptions") or {}).get("name")
        there = (name in volumes, name in disks)
        if there != ((True, True) if added else (False, False)):
            left.append(request)
    return left
