"""What the cluster serves at this moment: the built-in kinds, and those of the CustomResourceDefinitions that exist."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from virtlab.resource import Object, Resource
from virtlab.schema.columns import columns as printer_columns
from virtlab.schema.custom import object_schema
from virtlab.store import Event, Store

CRD_KEY = ("apiextensions.k8s.io", "customresourcedefinitions")

# Groups that an aggregated API server answers, and the CRD whose operator brings that server.
AGGREGATED = {
    "subresources.kubevirt.io": "virtualmachines.kubevirt.io",
    "upload.cdi.kubevirt.io": "datavolumes.cdi.kubevirt.io",
    "packages.operators.coreos.com": "catalogsources.operators.coreos.com",
}

# Groups that hold nothing but actions on objects of other groups.
ACTION_GROUPS = {"subresources.kubevirt.io": ("v1", "v1alpha3")}

# Built-in groups come first in discovery, so that `kubectl get rolebindings` means those of RBAC.
GROUP_ORDER = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
)
_RANKS = {group: rank for rank, group in enumerate(GROUP_ORDER)}


def _group_rank(group: str) -> tuple[int, str]:
    return (_RANKS.get(group, len(_RANKS)), group)


def version_rank(version: str) -> tuple[int, int, int]:
    """Sorts versions as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, anything else."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (0, 0, 0)
    stage = {None: 3, "beta": 2, "alpha": 1}[match[2]]
    return (-stage, -int(match[1]), -int(match[3] or 0))


class Catalog:
    """Finds resources by group, version and plural; changes as CRDs come and go."""

    def __init__(self, builtins: Iterable[Resource]) -> None:
        self.generation = 0  # counts the changes, for whoever caches what it derived
        self._served: dict[tuple[str, str, str], Resource] = {}
        self._storage: dict[str, Resource] = {}
        self._definitions: dict[str, Object] = {}
        self._aggregated: dict[str, list[Resource]] = defaultdict(list)
        for resource in builtins:
            if resource.group in AGGREGATED:
                self._aggregated[AGGREGATED[resource.group]].append(resource)
            else:
                self._serve(resource)

    def follow(self, store: Store) -> None:
        """Take in the CRDs that the store holds, and every change of them."""
        for entry in store.entries(CRD_KEY):
            self._adopt(entry.object)
        store.subscribe(self._observe)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._served.get((group, version, plural))

    def storage(self, qualified: str) -> Resource | None:
        """The resource in the version it is stored in."""
        return self._storage.get(qualified)

    def of_kind(self, group: str, version: str, kind: str) -> Resource | None:
        return next((r for r in self._served.values() if (r.group, r.version, r.kind) == (group, version, kind)), None)

    def is_built_in(self, group: str) -> bool:
        """Whether kube-apiserver has the group's routes itself, whatever is defined."""
        return any(r.group == group and not r.custom for r in self._served.values())

    def groups(self) -> dict[str, list[str]]:
        """Each group's versions, the preferred one first."""
        versions: dict[str, set[str]] = defaultdict(set)
        for group, version, _ in self._served:
            versions[group].add(version)
        for group, served in ACTION_GROUPS.items():
            if AGGREGATED[group] in self._storage:
                versions[group].update(served)
        return {group: sorted(versions[group], key=version_rank) for group in sorted(versions, key=_group_rank)}

    def resources(self, group: str, version: str) -> list[Resource]:
        found = [r for (g, v, _), r in self._served.items() if (g, v) == (group, version)]
        return sorted(found, key=lambda resource: resource.plural)

    def version_of(self, resource: Resource) -> Object:
        """The version's entry in the CRD (schema, printer columns, selectable fields); empty for a built-in."""
        definition = self._definitions.get(resource.qualified, {})
        versions: list[Object] = definition.get("spec", {}).get("versions", [])
        return next((version for version in versions if version["name"] == resource.version), {})

    def schema(self, resource: Resource) -> Object | None:
        """The schema that the CRD carries itself."""
        schema: Object | None = (self.version_of(resource).get("schema") or {}).get("openAPIV3Schema")
        return None if schema is None else object_schema(schema)

    def columns(self, resource: Resource) -> list[Object] | None:
        """The CRD's additional printer columns, None where it declares none."""
        if not resource.custom:
            return printer_columns(resource) or None
        columns: list[Object] | None = self.version_of(resource).get("additionalPrinterColumns")
        return columns

    def selectable(self, resource: Resource) -> tuple[str, ...]:
        """Fields, besides name and namespace, that a field selector may name."""
        fields = self.version_of(resource).get("selectableFields") or ()
        return tuple(field["jsonPath"].lstrip(".") for field in fields)

    def _observe(self, event: Event) -> None:
        if event.key != CRD_KEY:
            return
        self._withdraw(event.object["metadata"]["name"])
        if event.type != "DELETED":
            self._adopt(event.object)

    def _adopt(self, definition: Object) -> None:
        name = definition["metadata"]["name"]
        self._definitions[name] = definition
        for resource in resources_of(definition):
            self._serve(resource)
        for resource in self._aggregated.get(name, ()):
            self._serve(resource)

    def _withdraw(self, name: str) -> None:
        definition = self._definitions.pop(name, None)
        if definition is None:
            return
        self._storage.pop(name, None)
        for resource in (*resources_of(definition), *self._aggregated.get(name, ())):
            self._served.pop((resource.group, resource.version, resource.plural), None)
            self._storage.pop(resource.qualified, None)
        self.generation += 1

    def _serve(self, resource: Resource) -> None:
        self._served[resource.group, resource.version, resource.plural] = resource
        if resource.storage_version in ("", resource.version):
            self._storage[resource.qualified] = resource
        self.generation += 1


def resources_of(definition: Object) -> list[Resource]:
    """The resources that a CustomResourceDefinition serves, one a version."""
    spec = definition["spec"]
    names: dict[str, Any] = spec["names"]
    storage = next((version["name"] for version in spec["versions"] if version.get("storage")), "")
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            namespaced=spec.get("scope") == "Namespaced",
            singular=names.get("singular") or names["kind"].lower(),
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=frozenset(version.get("subresources") or ()),
            storage_version=storage,
        )
        for version in spec["versions"]
        if version.get("served")
    ]


def definition_of(resources: Iterable[Resource]) -> Object:
    """A CustomResourceDefinition object for the versions of one custom kind."""
    versions = sorted(resources, key=lambda resource: version_rank(resource.version))
    first = versions[0]
    storage = first.storage_version or first.version
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": first.qualified},
        "spec": {
            "group": first.group,
            "scope": "Namespaced" if first.namespaced else "Cluster",
            "conversion": {"strategy": "None"},
            "names": {
                "plural": first.plural,
                "singular": first.singular or first.kind.lower(),
                "kind": first.kind,
                "listKind": f"{first.kind}List",
                **({"shortNames": list(first.short_names)} if first.short_names else {}),
                **({"categories": list(first.categories)} if first.categories else {}),
            },
            "versions": [_version(resource, storage) for resource in versions],
        },
    }


def _version(resource: Resource, storage: str) -> Object:
    version: Object = {
        "name": resource.version,
        "served": True,
        "storage": resource.version == storage,
        # Schemas of known kinds are kept beside the cluster, once, and not in its objects.
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    subresources: Object = {name: {} for name in sorted(resource.subresources & {"status"})}
    if "scale" in resource.subresources:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.labelSelector",
        }
    if subresources:
        version["subresources"] = subresources
    if columns := printer_columns(resource):
        version["additionalPrinterColumns"] = columns
    return version
