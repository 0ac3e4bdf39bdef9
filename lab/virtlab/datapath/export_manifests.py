"""The manifests of an export: the machine, its data volumes importing from the export, and what they need for that."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import yaml

from virtlab.datapath.export_sources import claim_names, title_of
from virtlab.patches import copied
from virtlab.resource import Object

if TYPE_CHECKING:
    from virtlab.cluster import Cluster
    from virtlab.datapath.volumes import Volumes

PATH = "/api/export.kubevirt.io/v1/namespaces/{namespace}/virtualmachineexports/{name}"
SNAPSHOTS = ("snapshot.kubevirt.io", "virtualmachinesnapshots")
CONTENTS = ("snapshot.kubevirt.io", "virtualmachinesnapshotcontents")
MACHINES = ("kubevirt.io", "virtualmachines")


def base(volumes: Volumes | None, export: Object, *, external: bool) -> str:
    """Host and path below which everything of an export lies."""
    metadata = export["metadata"]
    if external and volumes is not None:
        return volumes.export_host + PATH.format(namespace=metadata["namespace"], name=metadata["name"])
    return f"{export['status']['serviceName']}.{metadata['namespace']}.svc"


def written(objects: list[Object], *, as_yaml: bool) -> bytes:
    if as_yaml:
        return "".join(f"{yaml.safe_dump(item, sort_keys=True)}---\n" for item in objects).encode()
    return json.dumps({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": objects}, indent=4).encode()


def header_secret(export: Object, token: str) -> Object:
    """What CDI adds to its requests to be let in."""
    return {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": secret_name(export)},
        "stringData": {"token": f"x-kubevirt-export-token:{token}"},
    }


def secret_name(export: Object) -> str:
    return f"header-secret-{export['metadata']['name']}"


def everything(cluster: Cluster, volumes: Volumes, export: Object, *, external: bool) -> list[Object] | None:
    """Certificate, machine and data volumes; None for an export that is of no machine."""
    machine = _machine(cluster, export)
    if machine is None:
        return None
    host = base(volumes, export, external=external)
    authority = f"export-ca-cm-{export['metadata']['name']}"
    urls = {title_of(export, name): f"https://{host}/volumes/{name}/disk.img.gz" for name in claim_names(export)}
    access = {"certConfigMap": authority, "secretExtraHeaders": [secret_name(export)]}
    certificate = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": authority},
        "data": {"ca.pem": volumes.export_ca.strip()},
    }
    spec, names = machine["spec"], _claims(machine)
    templated = set()
    for template in spec.get("dataVolumeTemplates") or ():
        name = template["metadata"]["name"]
        templated.add(name)
        if name in urls:
            template["spec"].pop("sourceRef", None)
            template["spec"]["source"] = {"http": {"url": urls[name], **access}}
    others = [name for name in names if name in urls and name not in templated]
    made = [_data_volume(cluster, export, name, {"url": urls[name], **access}) for name in others]
    return [certificate, machine, *(item for item in made if item is not None)]


def _machine(cluster: Cluster, export: Object) -> Object | None:
    """The machine as it was exported, expanded, with nothing that belongs to this cluster."""
    # The action that expands a machine knows how; it is asked for here only, as it needs all of admission.
    from virtlab.subresources.kubevirt.specification import expanded
    from virtlab.subresources.registry import Call

    namespace, source = export["metadata"]["namespace"], export["spec"]["source"]
    found: Object | None = None
    if source["kind"] == "VirtualMachineSnapshot":
        snapshot = cluster.store.find(SNAPSHOTS, namespace, source["name"])
        status = (snapshot.object.get("status") or {}) if snapshot is not None else {}
        content = cluster.store.find(CONTENTS, namespace, status.get("virtualMachineSnapshotContentName") or "")
        if content is not None:
            found = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine"}
            found.update(copied(content.object["spec"]["source"]["virtualMachine"]))
    elif source["kind"] == "VirtualMachine":
        entry = cluster.store.find(MACHINES, namespace, source["name"])
        found = copied(entry.object) if entry is not None else None
    resource = cluster.resource("virtualmachines.kubevirt.io")
    if found is None or resource is None:
        return None
    with contextlib.suppress(ValueError):  # an instance type that is gone: the machine is told as it is
        found = copied(expanded(Call(cluster, resource, "expand-spec", "GET", namespace, source["name"]), found))
    kept = ("name", "namespace", "labels", "annotations")
    found["metadata"] = {key: found["metadata"][key] for key in kept if key in found["metadata"]}
    found.pop("status", None)
    return found


def _claims(machine: Object) -> list[str]:
    names = []
    for volume in machine["spec"]["template"]["spec"].get("volumes") or ():
        claim: dict[str, Any] = volume.get("persistentVolumeClaim") or {}
        name = (volume.get("dataVolume") or {}).get("name") or claim.get("claimName")
        if name:
            names.append(name)
    return names


def _data_volume(cluster: Cluster, export: Object, name: str, http: Object) -> Object | None:
    """A data volume for a claim that no template of the machine makes."""
    namespace = export["metadata"]["namespace"]
    restored = f"{export['metadata']['name']}-{name}"  # of a snapshot whose claim is gone
    found = (cluster.store.find(("", "persistentvolumeclaims"), namespace, item) for item in (name, restored))
    entry = next((item for item in found if item is not None), None)
    if entry is None:
        return None
    spec = entry.object["spec"]
    kept = ("accessModes", "volumeMode", "resources")
    storage = {key: spec[key] for key in kept if key in spec}
    return {
        "kind": "DataVolume",
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": {"http": http}, "storage": storage},
    }
