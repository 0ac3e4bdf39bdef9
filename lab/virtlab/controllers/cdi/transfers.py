"""The work that fills claims with bytes: imports from this machine, clones, restored snapshots."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from virtlab.controllers.cdi.names import PVCS, SNAPSHOTS
from virtlab.controllers.claim_users import ClaimUsers
from virtlab.datapath.copying import copy_still
from virtlab.datapath.fetch import Access, is_local
from virtlab.datapath.http_import import HttpSource, import_http
from virtlab.datapath.jobs import Job, Work, failed
from virtlab.datapath.registry_import import import_image
from virtlab.datapath.volumes import Volumes
from virtlab.resource import Object
from virtlab.storage.problems import DataProblem
from virtlab.storage.receive import Target

if TYPE_CHECKING:
    from virtlab.controllers.runtime import Controller, Manager

IMPORTS = ("http", "registry", "s3", "gcs")


class Transfers:
    """One job for each data volume that is being filled. C(job) is None where nothing but time is played."""

    def __init__(self, controller: Controller, manager: Manager) -> None:
        self._controller = controller
        self._users = ClaimUsers(controller, manager)

    @property
    def volumes(self) -> Volumes | None:
        return self._controller.cluster.volumes

    def is_real(self, source: Object, kind: str) -> bool:
        if self.volumes is None:
            return False
        url: str = (source.get(kind) or {}).get("url") or ""
        if kind == "registry":
            return url.startswith("oci-archive:") or is_local(url)
        return (kind == "http" and is_local(url)) or kind in ("pvc", "snapshot")

    def played(self, source: Object, kind: str) -> str:
        """What is to be said of an import that is played beside volumes that are real; empty for any other."""
        if self.volumes is None or kind in ("blank", "upload") or self.is_real(source, kind):
            return ""
        url: str = (source.get(kind) or {}).get("url") or ""
        host = url.partition("://")[2].partition("/")[0]
        if kind in ("http", "registry") and host:
            return f"{host} is not on this machine: the import is played, and the disk stays blank"
        return f"the lab has no {kind} to import from: the import is played, and the disk stays blank"

    def job(self, data_volume: Object, claim: Object, source: Object, kind: str) -> Job | None:
        """The work on the claim, begun unless it was."""
        volumes = self.volumes
        if volumes is None or not self.is_real(source, kind):
            return None
        metadata = data_volume["metadata"]
        key = _key(data_volume)
        found = volumes.jobs.find(key)
        if found is not None:
            return found
        target = volumes.target(self._controller.cluster, claim)
        tag, place = claim["metadata"]["uid"], (metadata["namespace"], metadata["name"])
        try:
            work = self._work(volumes, data_volume, source, kind, target, tag)
        except DataProblem as problem:
            return failed(problem)
        manager = self._controller.manager
        return volumes.jobs.begin(key, work, lambda: manager.enqueue(self._controller, place))

    def drop(self, data_volume: Object) -> None:
        if self.volumes is not None:
            self.volumes.jobs.drop(_key(data_volume))

    def users(self, source: Object, namespace: str) -> list[str]:
        """The pods that use the claim which is to be cloned, as C(namespace/name)."""
        place = source.get("namespace") or namespace
        return ["/".join(pod) for pod in self._users.pods(place, source["name"])]

    # Kinds of work

    def _work(self, volumes: Volumes, data_volume: Object, source: Object, kind: str, target: Target, tag: str) -> Work:
        namespace, item = data_volume["metadata"]["namespace"], source[kind]
        if kind == "http":
            archive = data_volume["spec"].get("contentType") == "archive"
            http = HttpSource(item["url"], self._access(namespace, item), archive, item.get("checksum") or "")
            return lambda job: import_http(http, target, tag, job)
        if kind == "registry":
            access = self._access(namespace, item)
            return lambda job: import_image(item["url"], access, target, tag, job)
        origin, guests = self._origin(volumes, namespace, item, kind)
        return lambda job: copy_still(volumes, origin, target, guests, job)

    def _origin(
        self, volumes: Volumes, namespace: str, item: Object, kind: str
    ) -> tuple[Path | None, list[tuple[str, str]]]:
        """The file to clone, None for one that was never made, and the guests that write to it."""
        place = item.get("namespace") or namespace
        if kind == "snapshot":
            snapshot = self._controller.find(SNAPSHOTS, place, item["name"])
            handle = ((snapshot or {}).get("status") or {}).get("boundVolumeSnapshotContentName")
            path = volumes.disks.snapshot(handle) if handle else None
            return path, []
        claim = self._controller.find(PVCS, place, item["name"])
        return (volumes.disk(claim) if claim is not None else None), self._users.guests(place, item["name"])

    def _access(self, namespace: str, item: Object) -> Access:
        """Raises DataProblem for what is named and not there."""
        user = password = authority = ""
        if item.get("secretRef"):
            data = self._data("secrets", namespace, item["secretRef"])
            user, password = _decoded(data.get("accessKeyId")), _decoded(data.get("secretKey"))
        if item.get("certConfigMap"):
            authority = "\n".join(self._data("configmaps", namespace, item["certConfigMap"]).values())
        lines = list(item.get("extraHeaders") or ())
        for name in item.get("secretExtraHeaders") or ():
            lines += [_decoded(value) for value in self._data("secrets", namespace, name).values()]
        services = self.volumes.export_host if self.volumes is not None else ""
        insecure = bool(item.get("insecureSkipVerify"))
        return Access(user, password, tuple(_headers(lines)), authority, services, insecure)

    def _data(self, plural: str, namespace: str, name: str) -> dict[str, str]:
        found = self._controller.find(plural, namespace, name)
        if found is None:
            raise DataProblem(f'Unable to process data: {plural[:-1]} "{name}" not found')
        return found.get("data") or {}


def _key(data_volume: Object) -> str:
    return f"fill/{data_volume['metadata']['uid']}"


def _decoded(text: str | None) -> str:
    try:
        return base64.b64decode(text or "").decode()
    except (binascii.Error, ValueError):
        return ""


def _headers(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.strip().partition(":")
        if colon:
            yield name.strip(), value.strip()
