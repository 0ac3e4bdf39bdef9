"""What an export gives away: the claims behind it, and how each is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from virtlab.resource import Object

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

EXPORTS = ("export.kubevirt.io", "virtualmachineexports")
CLAIMS = ("", "persistentvolumeclaims")
CONTENT_TYPE = "cdi.kubevirt.io/storage.contentType"


@dataclass(frozen=True)
class Served:
    """One volume of an export. C(title): its name in the links; C(is_disk): a disk image, not any files."""

    claim_name: str
    title: str
    path: Path
    is_disk: bool


def is_disk(cluster: Cluster, claim: Object) -> bool:
    """Does KubeVirt take the claim for a disk image? A file system that nobody said so of holds just files."""
    if claim["spec"].get("volumeMode") == "Block":
        return True
    metadata = claim["metadata"]
    content = (metadata.get("annotations") or {}).get(CONTENT_TYPE)
    if content is not None:
        return content in ("", "kubevirt")
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner["kind"] == "DataVolume":
            entry = cluster.store.find(("cdi.kubevirt.io", "datavolumes"), metadata["namespace"], owner["name"])
            return entry is not None and entry.object["spec"].get("contentType", "kubevirt") in ("", "kubevirt")
    return False


def claim_names(export: Object) -> list[str]:
    """Of the volumes of an export that is ready, by its links."""
    links = ((export.get("status") or {}).get("links") or {}).get("internal") or {}
    names = []
    for volume in links.get("volumes") or ():
        url = volume["formats"][0]["url"]
        names.append(url.partition("/volumes/")[2].partition("/")[0])
    return names


def served_volumes(cluster: Cluster, export: Object) -> list[Served]:
    namespace = export["metadata"]["namespace"]
    found = []
    for claim_name in claim_names(export):
        entry = cluster.store.find(CLAIMS, namespace, claim_name)
        if entry is not None and cluster.volumes is not None:
            path = cluster.volumes.disk(entry.object)
            title = title_of(export, claim_name)
            found.append(Served(claim_name, title, path, is_disk(cluster, entry.object)))
    return found


def title_of(export: Object, claim_name: str) -> str:
    """Claims restored for the export of a snapshot are told by the name of what they were made from."""
    if export["spec"]["source"]["kind"] == "VirtualMachineSnapshot":
        return claim_name.removeprefix(f"{export['metadata']['name']}-")
    return claim_name
