"""The API machinery: every read and write, whether it comes over HTTP or from a controller, goes through a Cluster.

A write runs the one pipeline of kube-apiserver: decode, prune and default; managed fields; mutating admission; metadata
and schema validation; validating admission; store.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from virtlab import objectmeta
from virtlab.admission import registry as admission
from virtlab.catalog import Catalog
from virtlab.clock import Clock
from virtlab.operation import SYSTEM, Operation, User
from virtlab.patches import copied
from virtlab.resource import Object, Resource
from virtlab.selectors import selector
from virtlab.status import StatusError, already_exists, bad_request, conflict, invalid, not_found
from virtlab.store import Store

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class Cluster:
    """One cluster. Objects that come out belong to the store: copy before editing."""

    def __init__(self, store: Store, catalog: Catalog, *, clock: Clock | None = None, seed: int | None = None) -> None:
        self.store = store
        self.catalog = catalog
        self.clock = clock or Clock()
        self.random = random.Random(seed)
        catalog.follow(store)

    # Reading

    def resource(self, qualified: str) -> Resource | None:
        """The resource in the version it is stored in; None when it is not served."""
        return self.catalog.storage(qualified)

    def find(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        entry = self.store.find(resource.key, namespace if resource.namespaced else None, name)
        return None if entry is None else self.converted(entry.object, resource)

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Raises a 404."""
        obj = self.find(resource, name, namespace)
        if obj is None:
            raise not_found(resource, name)
        return obj

    def list(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> list[Object]:
        """Everything of the resource (in one namespace) that both selectors select, ordered by namespace and name."""
        selects = selector(resource, label_selector, field_selector)
        objects = [self.converted(entry.object, resource) for entry in self.store.entries(resource.key, namespace)]
        return objects if selects is None else [obj for obj in objects if selects(obj)]

    def converted(self, obj: Object, resource: Resource) -> Object:
        """C(obj) in the version of C(resource)."""
        if obj.get("apiVersion") == resource.api_version:
            return obj
        return {**obj, "apiVersion": resource.api_version}

    # Writing

    def create(
        self,
        resource: Resource,
        obj: Object,
        *,
        namespace: str | None = None,
        user: User = SYSTEM,
        manager: str = "",
        dry_run: bool = False,
        field_validation: str = "Warn",
        warnings: list[str] | None = None,
    ) -> Object:
        new = copied(obj)
        new["apiVersion"], new["kind"] = resource.api_version, resource.kind
        metadata = new.setdefault("metadata", {})
        if resource.namespaced:
            metadata["namespace"] = namespace or metadata.get("namespace")
        objectmeta.fill(metadata, self.clock, self.random)
        metadata["generation"] = 1
        operation = Operation(
            self, "CREATE", resource, metadata.get("namespace"), metadata.get("name", ""), new, None, user, None, dry_run
        )
        admission.mutate(operation)
        causes = objectmeta.problems(resource, metadata)
        if causes:
            raise invalid(resource, metadata.get("name", ""), causes)
        admission.validate(operation)
        live = self.find(resource, metadata["name"], namespace)
        if live is not None:
            deleting = "deletionTimestamp" in live["metadata"]
            raise already_exists(resource, metadata["name"], "object is being deleted: " if deleting else "")
        return new if dry_run else self.store.put(resource.key, new)

    def update(
        self,
        resource: Resource,
        obj: Object,
        *,
        subresource: str | None = None,
        user: User = SYSTEM,
        manager: str = "",
        dry_run: bool = False,
        field_validation: str = "Warn",
        warnings: list[str] | None = None,
    ) -> Object:
        metadata = obj["metadata"]
        live = self.get(resource, metadata["name"], metadata.get("namespace"))
        new = copied(obj)
        version = metadata.get("resourceVersion")
        if version and version != live["metadata"]["resourceVersion"]:
            raise conflict(resource, metadata["name"], MODIFIED)
        if subresource == "status":
            new = {**live, "status": new.get("status", {})}
        objectmeta.carry_over(new["metadata"], live["metadata"])
        new["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        if new == live or dry_run:
            return new
        if live["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            return self.store.remove(resource.key, metadata.get("namespace"), metadata["name"], new)
        return self.store.put(resource.key, new)

    def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        user: User = SYSTEM,
        dry_run: bool = False,
    ) -> Object:
        live = self.get(resource, name, namespace)
        if live["metadata"].get("finalizers"):
            new = copied(live)
            new["metadata"].setdefault("deletionTimestamp", self.clock.stamp())
            new["metadata"].setdefault("deletionGracePeriodSeconds", 0)
            return self.store.put(resource.key, new)
        self.store.remove(resource.key, namespace, name)
        return live

    def update_status(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        edit: Callable[[Object], None],
        *,
        manager: str = "",
    ) -> Object:
        """Copy the live object, let C(edit) change the copy, write it if it differs."""
        new = copied(self.get(resource, name, namespace))
        edit(new)
        return self.update(
            resource, new, subresource="status" if "status" in resource.subresources else None, manager=manager
        )
