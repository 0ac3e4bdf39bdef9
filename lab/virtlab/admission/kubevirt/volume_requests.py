"""Requests to plug a volume in or out, as addvolume and removevolume leave them in a VM's status."""

from __future__ import annotations

from virtlab.patches import copied
from virtlab.resource import Object

ADD, REMOVE = "addVolumeOptions", "removeVolumeOptions"


def applied(spec: Object, request: Object) -> Object:
    """The instance spec after the request."""
    new: Object = copied(spec)
    devices = new.setdefault("domain", {}).setdefault("devices", {})
    volumes, disks = new.get("volumes") or [], devices.get("disks") or []
    if request.get(ADD):
        wanted = request[ADD]
        if not any(volume["name"] == wanted["name"] for volume in volumes):
            source = {kind: {**value, "hotpluggable": True} for kind, value in wanted["volumeSource"].items()}
            volumes = [*volumes, {"name": wanted["name"], **source}]
            disks = [*disks, {**wanted["disk"], "name": wanted["name"]}]
    else:
        name = request[REMOVE]["name"]
        volumes = [volume for volume in volumes if volume["name"] != name]
        disks = [disk for disk in disks if disk["name"] != name]
    new["volumes"], devices["disks"] = volumes, disks
    return new
