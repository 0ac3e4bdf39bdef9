"""The real bytes of a cluster: which file a claim is, how large, and who works on it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from virtlab.datapath.container_disks import ContainerDisks
from virtlab.datapath.jobs import Jobs
from virtlab.datapath.uploads import Uploads
from virtlab.resource import Object
from virtlab.schema.quantity import parse
from virtlab.storage.disks import Disks
from virtlab.storage.receive import Target
from virtlab.storage.sizes import OVERHEAD, usable

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

PREALLOCATION = "cdi.kubevirt.io/storage.preallocation.requested"


class Quiescer(Protocol):
    """What is done to a running guest for its disks' sake. It may take seconds: call it in a job."""

    def freeze(self, namespace: str, name: str) -> bool:
        """The guest writes nothing to its disks afterwards; whether its agent froze the file systems for that."""
        ...

    def thaw(self, namespace: str, name: str) -> None:
        """The guest goes on. No error when it was not frozen."""
        ...

    def grown(self, namespace: str, name: str, disk: Path, size: int) -> None:
        """One of the guest's disks is C(size) bytes long now, and it sees that. Raises DataProblem."""
        ...


class Simulated:
    """For guests that are played: there is nothing to keep still."""

    def grown(self, namespace: str, name: str, disk: Path, size: int) -> None:
        return None

    def freeze(self, namespace: str, name: str) -> bool:
        return True

    def thaw(self, namespace: str, name: str) -> None:
        return None


class Forwarded(NamedTuple):
    """A client that was forwarded to the pod of an export, which is known by its service."""

    namespace: str
    service: str
    writer: asyncio.StreamWriter


class Volumes:
    """The files below C(root), the work on them, and where they are served (host:port, empty when they are not)."""

    def __init__(self, root: Path) -> None:
        self.disks = Disks(root)
        self.container_disks = ContainerDisks(root)
        self.jobs = Jobs()
        self.uploads = Uploads()
        self.quiescer: Quiescer = Simulated()
        self.upload_host = ""
        self.export_host = ""
        self.export_ca = ""  # PEM
        self.export_clients: dict[int, Forwarded] = {}  # by their ports
        self._held: dict[tuple[str, str], int] = {}
        self._holding = threading.Lock()

    def hold(self, namespace: str, guest: str) -> bool:
        """Keep a guest's disks still, as long as anybody holds it; may take seconds. Raises DataProblem.

        Whether its agent froze the file systems for that, where this was the first to hold it.
        """
        with self._holding:
            count = self._held.get((namespace, guest), 0)
            frozen = self.quiescer.freeze(namespace, guest) if not count else True
            self._held[(namespace, guest)] = count + 1
            return frozen

    def let_go(self, namespace: str, guest: str) -> None:
        """What C(hold) began is over; the guest goes on with the last one."""
        with self._holding:
            count = self._held.pop((namespace, guest), 0) - 1
            if count > 0:
                self._held[(namespace, guest)] = count
            elif count == 0:
                self.quiescer.thaw(namespace, guest)

    def disk(self, claim: Object) -> Path:
        """The raw disk of a claim, whether or not it is there."""
        metadata = claim["metadata"]
        storage_class = claim["spec"].get("storageClassName") or "none"
        return self.disks.path(storage_class, metadata["namespace"], metadata["name"])

    def target(self, cluster: Cluster, claim: Object) -> Target:
        """The disk that an image becomes in a claim."""
        space = capacity(claim)
        preallocate = (claim["metadata"].get("annotations") or {}).get(PREALLOCATION) == "true"
        return Target(self.disk(claim), disk_size(cluster, claim), space, preallocate)


def tidy(cluster: Cluster) -> None:
    """Keep of the files only what objects of the cluster stand for; for its start, before anything works on them.

    A bound claim without a file, of a lab that played its volumes, gets a blank one.
    """
    volumes, store = cluster.volumes, cluster.store
    if volumes is None:
        return
    for entry in store.entries(("", "persistentvolumeclaims"), None):
        path = volumes.disk(entry.object)
        if (entry.object.get("status") or {}).get("phase") == "Bound" and not path.exists():
            volumes.disks.ensure(path, disk_size(cluster, entry.object))
    contents = ("snapshot.storage.k8s.io", "volumesnapshotcontents")
    volumes.disks.sweep(
        lambda namespace, name: store.find(("", "persistentvolumeclaims"), namespace, name) is not None,
        lambda handle: store.find(contents, None, handle) is not None,
        lambda name: store.find(("", "persistentvolumes"), None, name) is not None,
    )


def capacity(claim: Object) -> int:
    """Bytes of the volume behind a claim, or that it asks for while there is none."""
    size = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    asked = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "1Gi")
    return int(parse(size or asked))


def overhead(cluster: Cluster, storage_class: str) -> float:
    """Of file systems in a storage class, by CDI's configuration."""
    entry = cluster.store.find(("cdi.kubevirt.io", "cdiconfigs"), None, "config")
    found = ((entry.object.get("status") or {}).get("filesystemOverhead") or {}) if entry is not None else {}
    return float((found.get("storageClass") or {}).get(storage_class) or found.get("global") or OVERHEAD)


def disk_size(cluster: Cluster, claim: Object, space: int | None = None) -> int:
    """Bytes of the disk in a claim: all of a block volume, of a file system what is left of it."""
    space = capacity(claim) if space is None else space
    if claim["spec"].get("volumeMode") == "Block":
        return space
    return usable(overhead(cluster, claim["spec"].get("storageClassName") or ""), space)
