"""The API machinery: every read and write, whether it comes over HTTP or from a controller, goes through a Cluster."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from virtlab import builtin_kinds, deletion, patching, writes
from virtlab.catalog import Catalog
from virtlab.clock import Clock
from virtlab.conversion import convert
from virtlab.faults import Faults
from virtlab.fields import Fields
from virtlab.guests.interface import Guests
from virtlab.guests.played import PlayedGuests
from virtlab.guests.power import Power, Switches
from virtlab.operation import SYSTEM, User
from virtlab.patches import copied
from virtlab.patching import PatchRefusals
from virtlab.resource import Object, Resource
from virtlab.schema import structural
from virtlab.selectors import selector
from virtlab.status import Cause, StatusError, bad_request, conflict, not_found
from virtlab.store import Entry, Store
from virtlab.strategies import created_on_update
from virtlab.writes import Write

if TYPE_CHECKING:
    from virtlab.auth.authentication import Authenticator
    from virtlab.auth.rbac import Authorizer
    from virtlab.datapath.volumes import Volumes
    from virtlab.schema.cache import Schemas

Warnings = list[str]


class Cluster:
    """One cluster. Objects that come out belong to the store: copy before editing."""

    authenticator: Authenticator
    authorizer: Authorizer
    ca_certificate: str = ""  # PEM, as kube-root-ca.crt carries it
    volumes: Volumes | None = None  # the bytes of volumes; None where they are played

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        *,
        schemas: Schemas | None = None,
        clock: Clock | None = None,
        faults: Faults | None = None,
        seed: int | None = None,
    ) -> None:
        self.store = store
        self.catalog = catalog
        self.schemas = schemas
        self.clock = clock or Clock()
        self.guests: Guests = PlayedGuests(self.clock)
        self.power: Power = Switches()
        self.random = random.Random(seed)
        self.faults = faults or Faults(self.random)
        self.fields = Fields(self)
        catalog.follow(store)

    # Reading

    def resource(self, qualified: str) -> Resource | None:
        """The resource in the version it is stored in; None when it is not served."""
        return self.catalog.storage(qualified)

    def structure(self, resource: Resource) -> Object | None:
        """The schema that describes the resource; None when nothing does."""
        known = self.schemas.structure(resource) if self.schemas is not None else None
        if known is not None or not resource.custom:
            return known
        return self.catalog.schema(resource)

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
        selects = selector(resource, label_selector, field_selector, self.catalog.selectable(resource))
        objects = [self.converted(entry.object, resource) for entry in self.store.entries(resource.key, namespace)]
        return objects if selects is None else [obj for obj in objects if selects(obj)]

    def converted(self, obj: Object, resource: Resource) -> Object:
        """C(obj) in the version of C(resource), with that version's defaults where conversion left a field out."""
        if obj["apiVersion"] == resource.api_version:
            return obj
        found = convert(obj, resource)
        schema = self.structure(resource) if resource.custom else None
        if schema is not None:
            found = copied(found)
            structural.default(schema, found)
        return found

    def entry_converter(self, resource: Resource) -> Callable[[Entry], bytes] | None:
        """How an entry becomes JSON in this version where the cached text will not do."""
        storage = self.resource(resource.qualified)
        if storage is None or storage.version == resource.version:
            return None
        return lambda entry: orjson.dumps(self.converted(entry.object, resource))

    def reached(self, version: str) -> None:
        """Raises 504 for a resourceVersion that lies ahead, 400 for one that is none."""
        if version in ("", "0"):
            return
        if not version.isdigit():
            text = f'Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
            raise bad_request(f"resourceVersion: {text}")
        if int(version) > self.store.version:
            cause = Cause("Too large resource version", None, "ResourceVersionTooLarge")
            message = f"Timeout: Too large resource version: {version}, current: {self.store.version}"
            raise StatusError(504, message, "Timeout", {"retryAfterSeconds": 1}, (cause,), {"Retry-After": "1"})

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
        problems: Sequence[str] = (),
        warnings: Warnings | None = None,
    ) -> Object:
        write = Write(user, manager, dry_run, field_validation, problems, [] if warnings is None else warnings)
        return writes.create(self, resource, obj, namespace, write)

    def replace(
        self,
        resource: Resource,
        obj: Object,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        user: User = SYSTEM,
        manager: str = "",
        dry_run: bool = False,
        field_validation: str = "Warn",
        problems: Sequence[str] = (),
        warnings: Warnings | None = None,
    ) -> tuple[Object, bool]:
        """PUT: the object as it is then, and whether that created it, which few kinds allow."""
        write = Write(user, manager, dry_run, field_validation, problems, [] if warnings is None else warnings)
        new = copied(obj)
        new["apiVersion"], new["kind"] = resource.api_version, resource.kind
        writes.decode(self, resource, new, write, writes.Refusals(resource))
        name = new["metadata"]["name"]
        live = self.find(resource, name, namespace)
        if live is None:
            if subresource or not created_on_update(resource):
                raise not_found(resource, name)
            return writes.create(self, resource, new, namespace, write), True
        writes.check_uid(resource, new["metadata"], live["metadata"])
        return writes.update(self, resource, live, new, subresource, write), False

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
        warnings: Warnings | None = None,
    ) -> Object:
        return self.replace(
            resource,
            obj,
            namespace=obj["metadata"].get("namespace"),
            subresource=subresource,
            user=user,
            manager=manager,
            dry_run=dry_run,
            field_validation=field_validation,
            warnings=warnings,
        )[0]

    def patched(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        patch: Any,
        kind: str,
        *,
        subresource: str | None = None,
        user: User = SYSTEM,
        manager: str = "",
        force: bool = False,
        dry_run: bool = False,
        field_validation: str = "Warn",
        warnings: Warnings | None = None,
    ) -> tuple[Object, bool]:
        """PATCH; C(kind) is json, merge, strategic or apply. The object, and whether an apply created it."""
        write = Write(user, manager, dry_run, field_validation, (), [] if warnings is None else warnings)
        live = self.find(resource, name, namespace)
        if kind == "apply":
            return self._applied(resource, name, namespace, live, patch, force, subresource, write)
        if live is None:
            raise not_found(resource, name)
        new = patching.changed(self, resource, live, patch, kind)
        writes.decode(self, resource, new, write, PatchRefusals(resource, patch, kind))
        patching.check_names(name, namespace, new)
        return writes.update(self, resource, live, new, subresource, write), False

    def patch(
        self, resource: Resource, name: str, namespace: str | None, patch: Any, patch_type: str = "merge", **how: Any
    ) -> Object:
        """C(patched) for whoever knows that the object is there."""
        return self.patched(resource, name, namespace, patch, patch_type, **how)[0]

    def apply(self, resource: Resource, obj: Object, *, manager: str, force: bool = False, **how: Any) -> Object:
        """Server-side apply."""
        metadata = obj["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace")
        return self.patched(resource, name, namespace, obj, "apply", manager=manager, force=force, **how)[0]

    def _applied(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        live: Object | None,
        patch: Object,
        force: bool,
        subresource: str | None,
        write: Write,
    ) -> tuple[Object, bool]:
        self._check_applied(name, namespace, patch)
        write.applied = True
        metadata = patch.get("metadata") or {}
        if live is None:
            if metadata.get("uid"):
                uid = metadata["uid"]
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise conflict(resource, name, why)
            if subresource:
                raise not_found(resource, name)
        new = self.fields.applied(resource, live, patch, write.manager, force, subresource)
        new["metadata"].setdefault("name", name)
        if live is None:
            return writes.create(self, resource, new, namespace, write), True
        writes.decode(self, resource, new, write, PatchRefusals(resource, patch, "apply"))
        return writes.update(self, resource, live, new, subresource, write), False

    def _check_applied(self, name: str, namespace: str | None, patch: Object) -> None:
        metadata = patch.get("metadata") or {}
        checks = (("name", name), ("namespace", namespace or ""))
        for field, wanted in checks:
            named = metadata.get(field)
            if named and named != wanted:
                raise bad_request(
                    f"the {field} of the object ({named}) does not match the {field} on the URL ({wanted})"
                )

    def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        user: User = SYSTEM,
        dry_run: bool = False,
        warnings: Warnings | None = None,
    ) -> Object:
        """The object while something holds it, else a Status; raises a 404."""
        write = Write(user, dry_run=dry_run, warnings=[] if warnings is None else warnings)
        return deletion.delete(self, resource, self.get(resource, name, namespace), options or {}, write)

    # Conveniences for controllers

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
        subresource = "status" if "status" in resource.subresources else None
        return self.update(resource, new, subresource=subresource, manager=manager)

    def finalize_namespace(self, name: str) -> None:
        """Take the cluster's own finalizer off a namespace, which goes if nothing else holds it."""
        resource = self.resource("namespaces")
        live = self.find(resource, name) if resource is not None else None
        if resource is None or live is None:
            return
        new = copied(live)
        new["spec"].pop("finalizers", None)
        if writes.is_over(resource, new):
            self.removed(resource, new)
        elif new != live:
            self.stored(resource, new)

    def event(self, involved: Object, type: str, reason: str, message: str, component: str) -> None:
        """A core/v1 Event about C(involved); the same once more only counts up."""
        builtin_kinds.record_event(self, involved, type, reason, message, component)

    # The last step

    def stored(self, resource: Resource, obj: Object) -> Object:
        """Put C(obj) into the store in its storage version; returns it in the version it came in."""
        storage = self.resource(resource.qualified) or resource
        return self.converted(self.store.put(resource.key, self.converted(obj, storage)), resource)

    def removed(self, resource: Resource, obj: Object) -> Object:
        """Take the object out of the store; C(obj) is its last state."""
        storage = self.resource(resource.qualified) or resource
        metadata = obj["metadata"]
        last = self.store.remove(
            resource.key, metadata.get("namespace"), metadata["name"], self.converted(obj, storage)
        )
        return self.converted(last, resource)
