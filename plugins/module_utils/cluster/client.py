# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An API server as this collection uses it: objects in, objects out, errors in words."""

from __future__ import annotations

import copy
import datetime
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ..journal import note
from ..known import known
from ..libraries import missing
from ..task import Failure
from .credentials import sources
from .errors import AlreadyExists, Asked, ClusterError, Expired, Forbidden, NotFound, NotServed, Unreachable
from .options import Connection, connection
from .resource import Object, Resource
from .stream import Stream
from .transport import Transport
from .watch import Watch

FIELD_MANAGER = "virtstack"
PAGE_SIZE = 500
CONCURRENCY = 16

_MERGE_PATCH = "application/merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"

_POD = Resource("", "v1", "pods", "Pod")

T = TypeVar("T")
R = TypeVar("R")
# Named here, because inside Client the word list is a method.
Results: TypeAlias = list[R | ClusterError]
Objects: TypeAlias = list[Object]


@dataclass(frozen=True)
class Listing:
    """Objects as of one moment; a watch goes on from C(resource_version)."""

    items: list[Object]
    resource_version: str


def connect(params: Mapping[str, Any]) -> Client:
    """A client for the connection options in C(params). Raises Failure; no request is sent yet.

    The same options in the same process, such as in the items of a loop, go on with the same client and connections.
    """
    if lacking := missing():
        raise Failure(lacking)
    wanted = connection(params)
    circumstances = (os.getpid(), *sources(wanted))
    kept = _kept.get("client")
    if kept is None or kept[0] != circumstances or kept[1] != wanted:
        kept = (circumstances, wanted, Client(wanted))
        _kept["client"] = kept
    return kept[2]


class Client:
    """Requests to one API server. Every method raises ClusterError; threads may share a client."""

    def __init__(self, connection: Connection) -> None:
        # One more than the bulk writes: a watch runs beside them.
        self._transport = Transport(connection, CONCURRENCY + 1)

    @property
    def host(self) -> str:
        """The URL of the API server."""
        return self._transport.host

    @property
    def transport(self) -> Transport:
        """What is known of the way to the server: its authorities, whether they are verified, the proxy."""
        return self._transport

    def until(self, deadline: float) -> Client:
        """The same client for requests that are given up at C(deadline), a time.monotonic()."""
        bounded = copy.copy(self)
        bounded._transport = self._transport.until(deadline)
        return bounded

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """The object, or None when there is none of that name. Raises NotServed when the API itself is missing."""
        asked = Asked("get", resource, name, namespace)
        try:
            answer = self._transport.send(asked, "GET", resource.path(name, namespace), repeatable=True)
        except NotFound:
            return None
        return _object(resource, answer.body)

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> Listing:
        """All objects of a namespace or, with None, of the cluster, read in pages."""
        expired: Expired | None = None
        for _attempt in range(3):
            items: list[Object] = []
            resource_version = ""
            try:
                for page in self.pages(
                    resource, namespace, label_selector=label_selector, field_selector=field_selector
                ):
                    items += page.items
                    resource_version = page.resource_version
            except Expired as error:
                expired = error
                continue
            return Listing(items, resource_version)
        raise known(expired)

    def list_namespaces(self, resource: Resource, namespaces: Iterable[str | None]) -> dict[str | None, Listing]:
        """All objects of these namespaces and maybe of others, by the scope that was listed (None: the cluster).

        Several namespaces are one LIST where the user may list the whole cluster, and one each otherwise.
        """
        wanted = sorted({namespace for namespace in namespaces if namespace is not None})
        if not resource.namespaced or len(wanted) != 1:
            try:
                return {None: self.list(resource)}
            except Forbidden:
                if not resource.namespaced or not wanted:
                    raise
        listings: dict[str | None, Listing] = {}
        for namespace, listing in zip(
            wanted, self.in_parallel(lambda namespace: self.list(resource, namespace), wanted), strict=True
        ):
            if isinstance(listing, ClusterError):
                raise listing
            listings[namespace] = listing
        return listings

    def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = PAGE_SIZE,
    ) -> Iterator[Listing]:
        """The same in pages of C(limit) objects. Raises Expired when the next page cannot be had any more."""
        asked = Asked("list", resource, namespace=namespace)
        query: dict[str, Any] = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": limit}
        while True:
            body = self._transport.send(asked, "GET", resource.path(None, namespace), query=query, repeatable=True).body
            metadata = body.get("metadata") or {}
            items = [_object(resource, item) for item in body.get("items") or ()]
            yield Listing(items, str(metadata.get("resourceVersion") or ""))
            query["continue"] = metadata.get("continue")
            if not query["continue"]:
                return

    def create(self, resource: Resource, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object. When the answer is lost it is looked up, and sent again only if it is not there."""
        metadata = body.get("metadata") or {}
        name, namespace = metadata.get("name"), metadata.get("namespace")
        asked = Asked("create", resource, name, namespace)
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **_dry_run(dry_run)}
        started = _now()
        lost: ClusterError | None = None
        for _attempt in range(3):
            try:
                answer = self._transport.send(
                    asked, "POST", resource.path(None, namespace), query=query, body=body, repeatable=dry_run
                )
            except (Unreachable, AlreadyExists) as error:
                if isinstance(error, AlreadyExists) and lost is None:
                    raise
                if name is None:
                    raise
                lost = error
                found = self.get(resource, name, namespace)
                if found is not None:
                    if found["metadata"].get("creationTimestamp", "") >= started:
                        note("created", (resource.kind, namespace, name))
                        return found
                    raise
            else:
                made = _object(resource, answer.body)
                # A review is answered, and not kept.
                if not dry_run and "uid" in made["metadata"]:
                    note("created", (resource.kind, namespace, made["metadata"]["name"]))
                return made
        raise known(lost)

    def apply(self, resource: Resource, body: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        """Server-side apply by our field manager. Raises FieldConflict, and Invalid for a field that does not exist.

        What came of it notes who knows what was there before: declare().
        """
        metadata = body["metadata"]
        query = {
            "fieldManager": FIELD_MANAGER,
            "fieldValidation": "Strict",
            "force": "true" if force else None,
            **_dry_run(dry_run),
        }
        return self._patch(
            Asked("apply", resource, metadata["name"], metadata.get("namespace")), query, body, _APPLY_PATCH
        )

    def patch(
        self, resource: Resource, name: str, namespace: str | None, body: Object, *, dry_run: bool = False
    ) -> Object:
        """JSON merge patch (RFC 7386): null removes a field, a list replaces the list."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **_dry_run(dry_run)}
        patched = self._patch(Asked("patch", resource, name, namespace), query, body, _MERGE_PATCH)
        if not dry_run:
            note("updated", (resource.kind, namespace, name))
        return patched

    def _patch(self, asked: Asked, query: Mapping[str, Any], body: Object, content_type: str) -> Object:
        resource = known(asked.resource)
        answer = self._transport.send(
            asked,
            "PATCH",
            resource.path(asked.name, asked.namespace),
            query=query,
            body=body,
            content_type=content_type,
            repeatable=True,
        )
        return _object(resource, answer.body)

    def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        dry_run: bool = False,
        propagation: str | None = None,
        grace_period: int | None = None,
        uid: str | None = None,
    ) -> bool:
        """Ask for an object's deletion; finalizers may keep it for a while. False when it was not there.

        C(uid) makes sure that no object created since is hit, and makes the request safe to repeat.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if dry_run:
            # With a body, the API server takes nothing from the query.
            options["dryRun"] = ["All"]
        try:
            self._transport.send(
                Asked("delete", resource, name, namespace),
                "DELETE",
                resource.path(name, namespace),
                body=options,
                repeatable=dry_run or uid is not None,
            )
        except NotFound as error:
            if not error.after_loss:
                return False
        if not dry_run:
            note("deleted", (resource.kind, namespace, name))
        return True

    def call(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        subresource: str,
        body: Any = None,
        *,
        dry_run: bool = False,
    ) -> Any:
        """PUT an action subresource such as start or pause; what it returns. It is never repeated blindly.

        These answer nothing, or text, and refuse C(Accept: application/json) with 406.
        """
        answer = self._transport.send(
            Asked("call", resource, name, namespace, subresource),
            "PUT",
            resource.path(name, namespace, subresource),
            query=_dry_run(dry_run),
            body=body,
            accept="*/*",
            repeatable=dry_run,
        )
        if not dry_run:
            note(f"called {subresource} of", (resource.kind, namespace, name))
        return answer.body

    def stream(self, resource: Resource, name: str, namespace: str | None, subresource: str) -> Stream:
        """Open a stream of bytes, such as C(console) or C(portforward/22/tcp) of an instance; the caller closes it."""
        asked = Asked("open", resource, name, namespace, subresource)
        return self._transport.connect(asked, resource.path(name, namespace, subresource))

    def content(
        self, resource: Resource, name: str, namespace: str | None, subresource: str, *, accept: str, **query: Any
    ) -> bytes:
        """What a subresource answers to a GET, as it came: a picture, a log."""
        asked = Asked("read", resource, name, namespace, subresource)
        return self._transport.read(asked, resource.path(name, namespace, subresource), query, accept)

    def lines(
        self, resource: Resource, name: str, namespace: str | None, subresource: str, *, timeout: float, **query: Any
    ) -> Generator[bytes, None, None]:
        """What a subresource answers, in pieces as they come. Raises TimeoutError after that many silent seconds."""
        asked = Asked("follow", resource, name, namespace, subresource)
        return self._transport.pieces(asked, resource.path(name, namespace, subresource), query, timeout)

    def evict(self, name: str, namespace: str, *, uid: str | None = None, dry_run: bool = False) -> bool:
        """Ask for a pod's eviction; False when it was not there.

        Raises Conflict where a disruption budget does not allow it now, and Denied where a webhook answers for the pod:
        KubeVirt's says so when it sees to the guest instead.
        """
        options: dict[str, Any] = {}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if dry_run:
            options["dryRun"] = ["All"]
        metadata = {"name": name, "namespace": namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata, "deleteOptions": options}
        try:
            self._transport.send(
                Asked("evict", _POD, name, namespace),
                "POST",
                _POD.path(name, namespace, "eviction"),
                body=body,
                repeatable=dry_run or uid is not None,
            )
        except NotFound:
            return False
        if not dry_run:
            note("evicted", (_POD.kind, namespace, name))
        return True

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        name: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str | None = None,
        known: Iterable[Object] = (),
        timeout: float,
        on_refusal: Callable[[Forbidden], None] | None = None,
    ) -> Watch:
        """Changes for C(timeout) seconds, to iterate over: see watch.Watch."""
        if name is not None:
            field_selector = f"metadata.name={name}"

        def lister() -> tuple[Objects, str]:
            try:
                listing = self.list(resource, namespace, label_selector=label_selector, field_selector=field_selector)
            except Forbidden:
                if name is None:
                    raise
                # Who may not list may yet get what they know by name.
                found = self.get(resource, name, namespace)
                return ([found], found["metadata"]["resourceVersion"]) if found else ([], "0")
            return listing.items, listing.resource_version

        return Watch(
            lister,
            self._transport,
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            known=known,
            timeout=timeout,
            on_refusal=on_refusal,
        )

    def serves(self, resource: Resource) -> bool:
        """Whether the cluster has the API in this version, now."""
        path = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        try:
            body = self._transport.send(Asked("discover", path=path), "GET", path, repeatable=True).body
        except (NotFound, NotServed):
            return False
        return any(item["name"] == resource.plural for item in body.get("resources") or ())

    def preferred(self, resources: Iterable[Resource]) -> Resource:
        """The first of these versions of a kind that the cluster serves. Raises NotServed."""
        candidates = [*resources]
        for resource in candidates:
            if self.serves(resource):
                return resource
        first = candidates[0]
        hint = first.hint or "the operator or custom resource definition that brings it is not installed"
        versions = ", ".join(resource.api_version for resource in candidates)
        raise NotServed(f"The cluster does not serve {first.kind} ({versions}): {hint}.", code=404)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Any other request, e.g. C(GET /version). GET alone is repeated."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        return self._transport.send(
            Asked(method, path=path),
            method,
            path,
            query=query,
            body=body,
            content_type=given.get("content-type", "application/json"),
            accept=given.get("accept", "application/json, */*"),
            repeatable=method == "GET",
        ).body

    def in_parallel(self, function: Callable[[T], R], items: Iterable[T], limit: int = CONCURRENCY) -> Results[R]:
        """C(function) of every item, at most C(limit) at a time; results and errors in the order of the items."""

        def guarded(item: T) -> R | ClusterError:
            try:
                return function(item)
            except ClusterError as error:
                return error

        given = [*items]
        if len(given) <= 1:
            return [guarded(item) for item in given]
        with ThreadPoolExecutor(min(limit, CONCURRENCY, len(given))) as pool:
            return [*pool.map(guarded, given)]


# The last client of this process, with what it was made from. A forked process must not use its parent's connections.
_kept: dict[str, tuple[tuple[Any, ...], Connection, Client]] = {}


def _object(resource: Resource, body: Any) -> Object:
    """Items of a list of a built-in kind come without their kind."""
    if "kind" not in body:
        body["apiVersion"], body["kind"] = resource.api_version, resource.kind
    found: Object = body
    return found


def _dry_run(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _now() -> str:
    """The server's clock may be somewhat behind ours."""
    return (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
