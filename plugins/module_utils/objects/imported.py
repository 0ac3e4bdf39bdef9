# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifests of an export, made fit for the place where they are imported: names, identity, storage. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cluster.resource import Object
from ..task import Failure
from .cdi import DATA_VOLUME
from .data_volumes import BIND_NOW
from .kubevirt import DEVICES, SPEC, VIRTUAL_MACHINE, at

# What an imported object came from, by which another run knows it.
ORIGIN = "virtstack.core/imported-from"
_KINDS = ("ConfigMap", "Secret", VIRTUAL_MACHINE.kind, DATA_VOLUME.kind)


@dataclass(frozen=True)
class Wish:
    """Where and how to import. C(name) is that of the machine or volume, None for its own."""

    namespace: str
    origin: str
    name: str | None = None
    storage_class: str | None = None
    keep_identity: bool = False


def wish(given: Mapping[str, Any], origin: str) -> Wish:
    """The options of C(import_to)."""
    return Wish(
        given["namespace"], origin, given.get("name"), given.get("storage_class"), bool(given.get("keep_identity"))
    )


def adapted(objects: Iterable[Object], wanted: Wish) -> list[Object]:
    """The objects to declare, what others need first. Raises Failure for a kind that no export should have."""
    found = [copy.deepcopy(item) for item in objects]
    for item in found:
        if item.get("kind") not in _KINDS:
            raise Failure(f"The export has a {item.get('kind')}, which is not imported: {', '.join(_KINDS)} are.")
    machines = [item for item in found if item["kind"] == VIRTUAL_MACHINE.kind]
    names = _names(machines[0], wanted) if machines else {}
    for item in found:
        metadata = item["metadata"]
        item["metadata"] = {key: metadata[key] for key in ("name", "labels", "annotations") if metadata.get(key)} | {
            "namespace": wanted.namespace
        }
        if item["kind"] == VIRTUAL_MACHINE.kind:
            _machine(item, wanted, names)
        elif item["kind"] == DATA_VOLUME.kind:
            _volume(item, wanted, names)
        else:
            _mark(item["metadata"], **{ORIGIN: wanted.origin})
    return sorted(found, key=lambda item: _KINDS.index(item["kind"]))


def _names(machine: Object, wanted: Wish) -> dict[str, str]:
    """New names of the volumes of a machine that gets a new name."""
    old = machine["metadata"]["name"]
    if wanted.name is None or wanted.name == old:
        return {}
    return {name: f"{wanted.name}-{name.removeprefix(f'{old}-')}" for name in _volume_names(machine)}


def _volume_names(machine: Object) -> Iterator[str]:
    for volume in at(machine, f"{SPEC}.volumes") or ():
        name = at(volume, "dataVolume.name") or at(volume, "persistentVolumeClaim.claimName")
        if name:
            yield str(name)


def _mark(metadata: Object, **annotations: str) -> None:
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}


def _machine(machine: Object, wanted: Wish, names: Mapping[str, str]) -> None:
    metadata = machine["metadata"]
    if wanted.name is not None:
        metadata["name"] = wanted.name
    _mark(metadata, **{ORIGIN: wanted.origin})
    for template in at(machine, "spec.dataVolumeTemplates") or ():
        _volume(template, wanted, names)
    for volume in at(machine, f"{SPEC}.volumes") or ():
        for field, key in (("dataVolume", "name"), ("persistentVolumeClaim", "claimName")):
            if field in volume:
                volume[field][key] = names.get(volume[field][key], volume[field][key])
    if not wanted.keep_identity:
        for interface in at(machine, f"{DEVICES}.interfaces") or ():
            interface.pop("macAddress", None)
        firmware = at(machine, f"{SPEC}.domain.firmware") or {}
        for part in ("uuid", "serial"):
            firmware.pop(part, None)


def _volume(volume: Object, wanted: Wish, names: Mapping[str, str]) -> None:
    metadata = volume["metadata"]
    metadata["name"] = names.get(metadata["name"], metadata["name"])
    # Nothing runs on it yet, and the export does not wait.
    _mark(metadata, **{ORIGIN: wanted.origin, BIND_NOW: "true"})
    if wanted.storage_class is not None:
        for api in ("storage", "pvc"):
            if volume["spec"].get(api) is not None:
                volume["spec"][api]["storageClassName"] = wanted.storage_class


def volume_of(url: str, size: str, certificate: str, wanted: Wish, name: str, export: str) -> list[Object]:
    """What imports an exported claim: its certificate, and a data volume that lets itself in with a secret."""
    authority = f"export-ca-cm-{export}"
    access = {"certConfigMap": authority, "secretExtraHeaders": [f"header-secret-{export}"]}
    spec = {"source": {"http": {"url": url, **access}}, "storage": {"resources": {"requests": {"storage": size}}}}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": authority}, "data": {"ca.pem": certificate}},
        {
            "apiVersion": DATA_VOLUME.api_version,
            "kind": DATA_VOLUME.kind,
            "metadata": {"name": wanted.name or name},
            "spec": spec,
        },
    ]


def volumes_of(objects: Iterable[Object]) -> list[str]:
    """The data volumes that have to be filled for what is imported."""
    names: list[str] = []
    for item in objects:
        if item["kind"] == VIRTUAL_MACHINE.kind:
            names += [template["metadata"]["name"] for template in at(item, "spec.dataVolumeTemplates") or ()]
        elif item["kind"] == DATA_VOLUME.kind:
            names.append(item["metadata"]["name"])
    return list(dict.fromkeys(names))


def admitted_by(objects: Iterable[Object | None]) -> list[tuple[str, str]]:
    """Kinds and names of what let imports in: those of data volumes, and of the templates of machines."""
    found: list[tuple[str, str]] = []
    for item in objects:
        for volume in (item, *(at(item, "spec.dataVolumeTemplates") or ())):
            found += [("Secret", str(name)) for name in at(volume, "spec.source.http.secretExtraHeaders") or ()]
            authority = at(volume, "spec.source.http.certConfigMap")
            found += [("ConfigMap", str(authority))] if authority else []
    return list(dict.fromkeys(found))


def unsized(objects: Sequence[Object]) -> list[Object]:
    """The data volumes among objects, and in the templates of machines, that are imported and do not say how large."""
    found = [item for item in objects if item["kind"] == DATA_VOLUME.kind]
    for item in objects:
        found += at(item, "spec.dataVolumeTemplates") or []
    return [
        volume
        for volume in found
        if at(volume, "spec.source.http.url")
        and not any(at(volume, f"spec.{way}.resources.requests.storage") for way in ("storage", "pvc"))
    ]


def exported_claim(volume: Object) -> str:
    """The claim that a data volume is imported from, by the link of the export: C(.../volumes/CLAIM/disk.img.gz)."""
    return str(at(volume, "spec.source.http.url")).rpartition("/volumes/")[2].partition("/")[0]


def give_size(volume: Object, size: str) -> None:
    """Say how large a data volume is to be."""
    way = "pvc" if at(volume, "spec.pvc") is not None else "storage"
    asked = volume["spec"].setdefault(way, {}).setdefault("resources", {}).setdefault("requests", {})
    asked["storage"] = size
