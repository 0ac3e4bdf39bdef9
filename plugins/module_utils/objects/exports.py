# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports of machines, snapshots and claims: what one is, where it is served, and what lets one in."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..cluster.client import Client
from ..cluster.endpoint import Endpoint, Trust
from ..cluster.fetch import Target
from ..cluster.resource import Object, Resource
from ..task import Failure, Result
from .claim_users import users
from .kubevirt import HINT, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, label, printable_status
from .kubevirt_power import is_live
from .lifecycle import Course, duration
from .snapshots import GROUP as SNAPSHOT_GROUP
from .snapshots import SNAPSHOT, SNAPSHOTS

GROUP = "export.kubevirt.io"
# Newest first: the older one is deprecated where both are served.
VERSIONS = tuple(
    Resource(GROUP, version, "virtualmachineexports", "VirtualMachineExport", hint=HINT)
    for version in ("v1", "v1beta1")
)
SECRET = Resource("", "v1", "secrets", "Secret", secrets=("data.*", "stringData.*"))
TOKEN_HEADER = "x-kubevirt-export-token"
# Option -> (kind, API group) of the source.
SOURCES: Mapping[str, tuple[str, str]] = {
    "vm": ("VirtualMachine", "kubevirt.io"),
    "snapshot": ("VirtualMachineSnapshot", SNAPSHOT_GROUP),
    "pvc": ("PersistentVolumeClaim", ""),
}
SIDES = ("external", "internal")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def course(client: Client) -> Course:
    """How exports come to their end, in the version that the cluster has."""
    return Course(
        client.preferred(VERSIONS),
        "export",
        ready={"status.phase": frozenset({"Ready"})},
        failed={"status.phase": frozenset({"Skipped", "Terminated"})},
        failing=(),
        telling=("Ready", "PVCReady", "VolumesCreated"),
        hopeless=re.compile(r"not found|does not contain|has no volumes", re.IGNORECASE),
    )


def manifest(resource: Resource, name: str, params: Mapping[str, Any]) -> Object:
    """The export that is declared. Raises Failure for a TTL that is no duration."""
    option = next(option for option in SOURCES if params[option])
    kind, group = SOURCES[option]
    spec: Object = {"source": {"apiGroup": group, "kind": kind, "name": params[option]}}
    if params.get("ttl") is not None:
        spec["ttlDuration"] = duration(params["ttl"], "ttl")
    if params.get("token_secret"):
        spec["tokenSecretRef"] = params["token_secret"]
    metadata: Object = {"name": name, "namespace": params["namespace"]}
    for part in ("labels", "annotations"):
        if params.get(part):
            metadata[part] = dict(params[part])
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def tell(found: Object | None) -> Result:
    """What a task says of an export. Links need the token, so that they are no secret."""
    source = at(found, "spec.source") or {}
    side = served_side(found)
    return {
        "source": source.get("name"),
        "source_kind": source.get("kind"),
        "phase": at(found, "status.phase"),
        "expires": at(found, "status.ttlExpirationTime"),
        "token_secret": at(found, "status.tokenSecretRef"),
        "certificate": at(found, f"status.links.{side}.cert") if side else None,
        "volumes": [
            {
                "name": item.get("name"),
                "formats": {entry["format"]: entry["url"] for entry in item.get("formats") or ()},
            }
            for item in (at(found, f"status.links.{side}.volumes") or ())
        ]
        if side
        else [],
        "manifest_links": {entry["type"]: entry["url"] for entry in (at(found, f"status.links.{side}.manifests") or ())}
        if side
        else {},
    }


def served_side(found: Object | None) -> str | None:
    """Where it is served: outside of the cluster if anything leads there, else inside."""
    return next((side for side in SIDES if at(found, f"status.links.{side}.volumes")), None)


def refuse_unready_source(client: Client, params: Mapping[str, Any], check_mode: bool) -> str | None:
    """Raises Failure where the source is not there, is in use, or failed; in check mode what is not there is told."""
    namespace = params["namespace"]
    option = next(option for option in SOURCES if params[option])
    name = params[option]
    resource = {"vm": VIRTUAL_MACHINE, "snapshot": SNAPSHOT}.get(option)
    found = client.get(resource, name, namespace) if resource is not None else None
    if resource is not None and found is None:
        text = f"There is no {resource.kind} {namespace}/{name}"
        if check_mode:
            return f"{text} yet: whether it can be exported could not be checked."
        raise Failure(f"{text}. Check {option} and namespace.")
    if option == "vm":
        instance = client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace)
        if found is not None and is_live(instance):
            raise Failure(
                f"VirtualMachine {label(found)} cannot be exported: its guest is running (status"
                f" {printable_status(found)}). Stop it with virtstack.core.vm_power, or export a snapshot of it."
            )
    if option == "snapshot" and found is not None and SNAPSHOTS.has_failed(found):
        raise Failure(f"The snapshot {label(found)} failed and cannot be exported: {SNAPSHOTS.words(found)}.")
    if option == "pvc":
        using = users(client, namespace)
        told = [f"VirtualMachine {user} runs on it" for user in using.running.get(name, ())]
        told += [f"pod {user} mounts it" for user in using.pods.get(name, ()) if not user.startswith("virt-export-")]
        if told:
            raise Failure(f"The claim {namespace}/{name} cannot be exported: {'; '.join(told)}. Stop that first.")
    return None


@dataclass(frozen=True)
class Served:
    """An export that is ready, and the way to it."""

    client: Client
    export: Object
    side: str

    def endpoint(self, url: str) -> tuple[Endpoint, str]:
        """The server of a link, trusted by the certificate that the export itself tells, and the path there."""
        parts = urlsplit(url)
        certificate = str(at(self.export, f"status.links.{self.side}.cert") or "")
        transport = self.client.transport
        trust = Trust(system=False, pem=(certificate,))
        if not certificate.strip():
            trust = Trust(der=tuple(transport.authorities()))
        server = f"{parts.scheme}://{parts.netloc}"
        advice = "It is not the one that the export names; do not go on before you know why."
        return Endpoint(server, f"The export {label(self.export)}", trust, transport, advice), parts.path

    def headers(self) -> Mapping[str, str]:
        """What lets a request in."""
        return {TOKEN_HEADER: self.token()}

    def token(self) -> str:
        """The token, read from its secret. Raises Failure where there is none."""
        namespace = self.export["metadata"]["namespace"]
        name = at(self.export, "status.tokenSecretRef")
        secret = self.client.get(SECRET, str(name), namespace) if name else None
        data = at(secret, "data.token")
        if not data:
            raise Failure(
                f"The secret {namespace}/{name} with the token of the export {label(self.export)} is not there, or has"
                " no key token. Make it, or leave token_secret out to have one made."
            )
        return base64.b64decode(data).decode()

    def volume(self, name: str | None) -> Object:
        """A volume's links; that of the only one where none is named. Raises Failure."""
        listed = at(self.export, f"status.links.{self.side}.volumes") or []
        if name is None and len(listed) == 1:
            return dict(listed[0])
        found = next((item for item in listed if item.get("name") == name), None)
        if found is None:
            names = ", ".join(str(item.get("name")) for item in listed)
            what = f"no volume {name}" if name else "more than one volume"
            raise Failure(f"The export {label(self.export)} has {what}: it has {names}. Name one of them as volume.")
        return dict(found)

    def link(self, volume: Object, wanted: str) -> str:
        """The URL of a volume in a format. Raises Failure for one that it is not served in."""
        urls = {entry["format"]: entry["url"] for entry in volume.get("formats") or ()}
        if wanted not in urls:
            raise Failure(
                f"The volume {volume.get('name')} of the export {label(self.export)} is not served as {wanted}, but as"
                f" {', '.join(sorted(urls))}."
            )
        return str(urls[wanted])


def served(client: Client, export: Object) -> Served:
    """Raises Failure where nothing leads to the export."""
    side = served_side(export)
    if side is None:
        raise Failure(f"The export {label(export)} tells no links. Expose the service virt-exportproxy of the cluster.")
    return Served(client, export, side)


def within(directory: str, volume: str, wanted: str, if_exists: str, checksum: tuple[str, str] | None = None) -> Target:
    """The file of a volume in a directory. Raises Failure for a name that would lead out of it."""
    if not _PLAIN_NAME.fullmatch(volume):
        raise Failure(
            f"The server calls a volume {volume!r}, which is no plain file name. Nothing was fetched: it could lead out"
            f" of {directory}."
        )
    suffix = {"raw": ".img", "gzip": ".img.gz"}[wanted]
    return Target(Path(directory) / f"{volume}{suffix}", if_exists, checksum)
