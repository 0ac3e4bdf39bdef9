"""Instance types and preferences inferred from the labels of a volume: pkg/instancetype/infer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from virtlab.admission.webhook import at, items
from virtlab.resource import Object
from virtlab.store import Store

LABELS = {
    "instancetype": (
        "instancetype.kubevirt.io/default-instancetype",
        "instancetype.kubevirt.io/default-instancetype-kind",
    ),
    "preference": ("instancetype.kubevirt.io/default-preference", "instancetype.kubevirt.io/default-preference-kind"),
}
CLAIMS = ("", "persistentvolumeclaims")
SNAPSHOTS = ("snapshot.storage.k8s.io", "volumesnapshots")
DATA_VOLUMES = ("cdi.kubevirt.io", "datavolumes")
DATA_SOURCES = ("cdi.kubevirt.io", "datasources")


class InferenceError(Exception):
    """Nothing can be inferred; C(ignorable) when inferFromVolumeFailurePolicy Ignore may pass over it."""

    def __init__(self, message: str, *, ignorable: bool = False) -> None:
        super().__init__(message)
        self.ignorable = ignorable


@dataclass(frozen=True)
class _Search:
    store: Store
    vm: Object
    namespace: str | None
    field: str

    def labels(self, labels: Mapping[str, str] | None) -> Object:
        name, kind = LABELS[self.field]
        if name not in (labels or {}):
            raise InferenceError(f"unable to find required {name} label on the volume", ignorable=True)
        found = {"name": (labels or {})[name], "kind": (labels or {}).get(kind)}
        return {key: value for key, value in found.items() if value}

    def _object(self, key: tuple[str, str], namespace: str | None, name: str) -> Object:
        entry = self.store.find(key, namespace, name)
        if entry is None:
            qualified = f"{key[1]}.{key[0]}" if key[0] else key[1]
            raise InferenceError(f'{qualified} "{name}" not found')
        return entry.object

    def from_object(self, key: tuple[str, str], namespace: str | None, name: str) -> Object:
        return self.labels(self._object(key, namespace, name)["metadata"].get("labels"))

    def from_volume(self, name: str) -> Object:
        for volume in items(self.vm, "spec", "template", "spec", "volumes"):
            if volume["name"] != name:
                continue
            if volume.get("persistentVolumeClaim"):
                return self.from_object(CLAIMS, self.namespace, volume["persistentVolumeClaim"]["claimName"])
            if volume.get("dataVolume"):
                return self.from_data_volume(volume["dataVolume"]["name"])
            message = f"unable to infer defaults from volume {name} as type is not supported"
            raise InferenceError(message, ignorable=True)
        raise InferenceError(f"unable to find volume {name} to infer defaults")

    def from_data_volume(self, name: str) -> Object:
        for template in items(self.vm, "spec", "dataVolumeTemplates"):
            if at(template, "metadata", "name") == name:
                return self.from_spec(template.get("spec") or {})
        entry = self.store.find(DATA_VOLUMES, self.namespace, name)
        if entry is None:
            return self.from_object(CLAIMS, self.namespace, name)
        try:
            return self.labels(entry.object["metadata"].get("labels"))
        except InferenceError:
            return self.from_spec(entry.object.get("spec") or {})

    def from_spec(self, spec: Object) -> Object:
        source, reference = spec.get("source"), spec.get("sourceRef")
        if source and (source.get("pvc") or source.get("snapshot")):
            return self.from_source(source)
        if reference and reference.get("kind") == "DataSource":
            return self.from_data_source(reference["name"], reference.get("namespace") or self.namespace)
        if reference:
            message = (
                f"unable to infer defaults from DataVolumeSourceRef as Kind {reference.get('kind')} is not supported"
            )
            raise InferenceError(message, ignorable=True)
        message = "unable to infer defaults from DataVolumeSpec as DataVolumeSource is not supported"
        raise InferenceError(message, ignorable=True)

    def from_source(self, source: Object) -> Object:
        key, what = (CLAIMS, source["pvc"]) if source.get("pvc") else (SNAPSHOTS, source["snapshot"])
        return self.from_object(key, what.get("namespace") or self.namespace, what["name"])

    def from_data_source(self, name: str, namespace: str | None) -> Object:
        found = self._object(DATA_SOURCES, namespace, name)
        try:
            return self.labels(found["metadata"].get("labels"))
        except InferenceError:
            source = at(found, "spec", "source") or {}
            if source.get("pvc") or source.get("snapshot"):
                return self.from_source(source)
        message = (
            "unable to infer defaults from DataSource that doesn't provide DataVolumeSourcePVC or "
            "DataVolumeSourceSnapshot"
        )
        raise InferenceError(message, ignorable=True)


def infer(store: Store, vm: Object, field: str, namespace: str | None) -> None:
    """Replaces C(inferFromVolume) of spec.C(field), in place, by the name that the volume's labels give.

    Raises InferenceError. With the policy Ignore a matcher that cannot be inferred is dropped.
    """
    matcher = vm["spec"].get(field) or {}
    if not matcher.get("inferFromVolume"):
        return
    ignore = matcher.get("inferFromVolumeFailurePolicy") == "Ignore"
    try:
        found = _Search(store, vm, namespace, field).from_volume(matcher["inferFromVolume"])
    except InferenceError as error:
        if ignore and error.ignorable:
            del vm["spec"][field]
            return
        raise
    if ignore and field == "instancetype":
        # A memory size given for the case that nothing is inferred would conflict with the instance type.
        vm["spec"]["template"]["spec"].get("domain", {}).pop("memory", None)
    vm["spec"][field] = found
