"""Makes guests: their files, their networks, their domains. What waits for libvirt or a disk is to run in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt

from virtlab.controllers.kubelet import POD_NETWORK
from virtlab.controllers.kubevirt import instance_status
from virtlab.guests.real import files, plugging
from virtlab.guests.real.devices import DiskFile, Nic
from virtlab.guests.real.domain_xml import Places, domain_name, domain_xml
from virtlab.guests.real.files import Sources
from virtlab.guests.real.nodes import POD_BRIDGE, Node, Nodes, segment_of
from virtlab.resource import Object
from virtlab.tiny import image

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

SOCKETS = "/run/virtlab"  # in a node


class Workshop:
    """C(directory) holds the guests' own files, on all nodes."""

    def __init__(self, cluster: Cluster, nodes: Nodes, directory: Path) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._directory = directory
        self._image_lock = threading.Lock()

    def sources(self, vmi: Object) -> Sources:
        """Where the volumes come from; to be read in the event loop. Raises NoGuest."""
        namespace, store, volumes = vmi["metadata"]["namespace"], self._cluster.store, self._cluster.volumes
        claims = {}
        for volume in vmi["spec"].get("volumes") or ():
            name = files.claimed(volume) or files.claimed(volume.get("ephemeral") or {})
            entry = store.find(("", "persistentvolumeclaims"), namespace, name) if name else None
            if entry is not None and volumes is not None:
                claims[name] = volumes.disk(entry.object)

        def reader(plural: str) -> Callable[[str], Object | None]:
            def read(name: str) -> Object | None:
                found = store.find(("", plural), namespace, name)
                return found.object if found is not None else None

            return read

        return Sources(claims, files.texts_of(vmi, reader("secrets"), reader("configmaps")))

    def create(self, node: Node, vmi: Object, address: str, sources: Sources) -> tuple[str, bool]:
        """Make the files, the networks and the domain. Its XML, and whether it stands still at first."""
        place = files.directory_of(self._directory, vmi)
        disks = files.prepare(vmi, place, sources, self._container_disk)
        nics = self.plug_in(vmi, address)
        self.make_room(node)
        for other in self._nodes.all.values():  # firmware's variables of a guest of this name that is gone
            (other.host.directory / "lib" / "qemu" / "nvram" / f"{domain_name(vmi)}_VARS.fd").unlink(missing_ok=True)
        log_file = place / "console.log"
        log_file.write_bytes(b"")
        sockets = (f"{SOCKETS}/{vmi['metadata']['uid']}.console", f"{SOCKETS}/{vmi['metadata']['uid']}.vnc")
        paused = vmi["spec"].get("startStrategy") == "Paused"
        flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
        domain = node.connection.createXML(domain_xml(vmi, disks, nics, Places(log_file, *sockets)), flags)
        return domain.XMLDesc(0), paused

    def make_room(self, node: Node) -> None:
        """There is a place for sockets on a node, to which a guest may come."""
        (node.host.directory / SOCKETS.lstrip("/")).mkdir(exist_ok=True)

    def _container_disk(self, name: str) -> Path:
        """The disk of an image on this machine; of any other the tiny guest's. Raises ImageError or DataProblem."""
        volumes = self._cluster.volumes
        found = volumes.container_disks.path(name) if volumes is not None else None
        if found is not None:
            return found
        with self._image_lock:
            return image.make(self._directory / ".tiny").disk

    def plug_in(self, vmi: Object, address: str) -> dict[str, Nic]:
        """The Ethernets of an instance's interfaces, there with addresses reserved."""
        metadata, spec = vmi["metadata"], vmi["spec"]
        networks = {network["name"]: network for network in spec.get("networks") or ()}
        found = {}
        for interface in (spec["domain"].get("devices") or {}).get("interfaces") or ():
            name = interface["name"]
            mac = interface.get("macAddress") or instance_status.generated_mac(f"{metadata['uid']}/{name}")
            reference = (networks.get(name, {}).get("multus") or {}).get("networkName")
            segment = POD_BRIDGE
            if reference:
                reference = reference if "/" in reference else f"{metadata['namespace']}/{reference}"
                segment = segment_of(reference)
                given = instance_status.secondary_address(reference, f"{metadata['uid']}/{name}")
                self._nodes.join(segment, f"{given}/16")
            else:
                given = address
                self._nodes.join(segment, str(POD_NETWORK))
            self._nodes.reserve(segment, mac, given, metadata["name"][:63])
            found[name] = Nic(segment, mac)
        return found

    def unplug(self, macs: Iterable[str]) -> None:
        """A guest is gone; its addresses are free."""
        for mac in macs:
            self._nodes.release(mac)

    def disks(self, vmi: Object, wanted: plugging.Changes, sources: Sources) -> dict[str, DiskFile]:
        """The files of the volumes that are to be plugged, and of no other."""
        names = {disk["name"] for disk in wanted.disks}
        volumes = [volume for volume in vmi["spec"].get("volumes") or () if volume["name"] in names]
        part = {**vmi, "spec": {**vmi["spec"], "volumes": volumes}}
        return files.prepare(part, files.directory_of(self._directory, vmi), sources, self._container_disk)
