"""Paths that are about no resource: discovery, OpenAPI, health, version."""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Iterator

import orjson
from aiohttp import web

from virtlab.api.errors import PLAIN, no_route, no_such_method, page_not_found
from virtlab.api.negotiation import JSON
from virtlab.catalog import AGGREGATED as SERVED_BY_OTHERS
from virtlab.cluster import Cluster
from virtlab.resource import Object, Resource
from virtlab.schema import openapi_protobuf
from virtlab.schema.openapi import Documents as OpenApi
from virtlab.subresources.registry import Action, registered

VERSION: Object = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.0-virtlab",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-06-01T00:00:00Z",
    "goVersion": "go1.25.0",
    "compiler": "gc",
    "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
}
HEALTHY = ("/healthz", "/readyz", "/livez")
AGGREGATED = "g=apidiscovery.k8s.io"
PATHS = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
KINDS = {
    "status": ("get", "patch", "update"),
    "scale": ("get", "patch", "update"),
}
CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")  # in that order
METHOD_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def documents(cluster: Cluster) -> OpenApi:
    """The OpenAPI documents of everything that the catalog serves at the moment."""

    def served() -> Iterator[Resource]:
        for group, versions in cluster.catalog.groups().items():
            for version in versions:
                yield from cluster.catalog.resources(group, version)

    def described(resource: Resource) -> Object | None:
        known = cluster.schemas.documented(resource) if cluster.schemas is not None else None
        return known or cluster.structure(resource)

    return OpenApi(served, described, str(VERSION["gitVersion"]))


class Discovery:
    """Answers from the catalog; each text is kept until the catalog changes."""

    def __init__(self, cluster: Cluster, documents: OpenApi | None = None) -> None:
        self.cluster = cluster
        self.documents = documents
        self._generation = -1
        self._kept: dict[tuple[str, str], bytes | None] = {}

    def answer(self, method: str, path: str, accept: str) -> web.Response:
        path = "/" + path.strip("/")
        if method != "GET" and self._is_read_only(path):
            raise no_such_method()
        if path == "/version":
            return _json(orjson.dumps(VERSION, option=orjson.OPT_INDENT_2))
        if path in HEALTHY or path.removesuffix("/ping") in HEALTHY:
            return web.Response(body=b"ok", headers={"Content-Type": PLAIN})
        if self._generation != self.cluster.catalog.generation:
            self._kept.clear()
            self._generation = self.cluster.catalog.generation
        if path.startswith("/openapi/"):
            return self._openapi(path, accept)
        form = _aggregated_version(accept) if path in ("/api", "/apis") else ""
        key = (path, form)
        if key not in self._kept:
            value = self._aggregated(path, form) if form else self._plain(path)
            self._kept[key] = None if value is None else orjson.dumps(value)
        body = self._kept[key]
        if not isinstance(body, bytes):
            if self._is_read_only(path):
                raise no_route()
            return page_not_found()
        return _json(body, f"{JSON};g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList" if form else JSON)

    def _is_read_only(self, path: str) -> bool:
        """Whether the path lies where the built-in APIs have their routes, which are all there to be read."""
        steps = path.split("/")[1:]
        if steps[0] in ("version", "api"):
            return True
        return steps[0] == "apis" and len(steps) == 3 and self.cluster.catalog.is_built_in(steps[1])

    def _openapi(self, path: str, accept: str) -> web.Response:
        if self.documents is None:
            return page_not_found()
        older = path == "/openapi/v2" and any(form in accept for form in openapi_protobuf.ASKED_AS)
        form = openapi_protobuf.MEDIA_TYPE if older else JSON
        key = (path, form)
        if key not in self._kept:
            if older:
                self._kept[key] = openapi_protobuf.document(orjson.loads(self.documents.v2()))
            elif path == "/openapi/v2":
                self._kept[key] = self.documents.v2()
            elif path == "/openapi/v3":
                self._kept[key] = self.documents.v3_index()
            else:
                self._kept[key] = self.documents.v3(path.removeprefix("/openapi/v3/"))
        body = self._kept[key]
        return _json(body, form) if isinstance(body, bytes) else page_not_found()

    def _plain(self, path: str) -> Object | None:
        catalog = self.cluster.catalog
        if path == "/":
            groups = [f"/apis/{group}" for group in self._groups() if group]
            return {"paths": sorted([*PATHS, *groups])}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if path == "/apis":
            entries = [_group(group, versions) for group, versions in self._groups().items() if group]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": entries}
        steps = path.split("/")[1:]
        if steps[0] == "apis" and len(steps) == 2 and steps[1] in self._groups():
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(steps[1], self._groups()[steps[1]])}
        if steps[0] == "api" and len(steps) == 2:
            group, version = "", steps[1]
        elif steps[0] == "apis" and len(steps) == 3:
            group, version = steps[1], steps[2]
        else:
            return None
        if version not in self._groups().get(group, ()):
            return None
        found = [entry for resource in catalog.resources(group, version) for entry in self._entries(resource)]
        found += self._actions_of(group, version)
        list_of: Object = {"kind": "APIResourceList", "apiVersion": "v1"}
        return {**list_of, "groupVersion": f"{group}/{version}" if group else version, "resources": found}

    def _groups(self) -> dict[str, list[str]]:
        return self.cluster.catalog.groups()

    def _entries(self, resource: Resource) -> Iterator[Object]:
        entry: Object = {
            "name": resource.plural,
            "singularName": resource.singular or resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": [verb for verb in CUSTOM_VERBS if verb in resource.verbs]
            if resource.custom
            else sorted(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if "list" in resource.verbs and resource.group not in SERVED_BY_OTHERS:
            entry["storageVersionHash"] = self._storage_hash(resource)
        yield entry
        known = {action.name: action for action in registered() if action.subject == resource.qualified}
        for name in sorted(resource.subresources | {name for name in known if name}):
            yield _subresource(resource, name, known.get(name))

    def _storage_hash(self, resource: Resource) -> str:
        """Tells clients when objects come to be stored in another version."""
        stored = self.cluster.resource(resource.qualified) or resource
        digest = hashlib.sha256(f"{stored.group}/{stored.version}/{stored.kind}".encode()).digest()
        return base64.b64encode(digest[:8]).decode()

    def _actions_of(self, group: str, version: str) -> list[Object]:
        """Actions whose resource is served by no entry of its own, as virt-api lists them: without verbs."""
        found = []
        for action in registered():
            plural, _, of = action.subject.partition(".")
            if not of or of != group or self.cluster.catalog.find(group, version, plural) is not None:
                continue
            found.append(
                {
                    "name": f"{plural}/{action.name}" if action.name else plural,
                    "singularName": "",
                    "namespaced": True,
                    "kind": action.kind,
                    "verbs": None,
                }
            )
        return found

    def _aggregated(self, path: str, form: str) -> Object:
        items = []
        for group, versions in self._groups().items():
            if (path == "/api") == (group == ""):
                items.append(
                    {
                        "metadata": {"name": group, "creationTimestamp": None},
                        "versions": [self._aggregated_entry(group, version) for version in versions],
                    }
                )
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{form}",
            "metadata": {},
            "items": items,
        }

    def _aggregated_entry(self, group: str, version: str) -> Object:
        resources: list[Object] = []
        for resource in self.cluster.catalog.resources(group, version):
            main, *subresources = self._entries(resource)
            resources.append(_discovered(resource, main, subresources))
        bare: dict[str, list[Object]] = {}
        for entry in self._actions_of(group, version):
            bare.setdefault(entry["name"].partition("/")[0], []).append(entry)
        for plural, entries in bare.items():
            resources.append(_undescribed(plural, entries))
        return {"version": version, "resources": resources, "freshness": "Current"}


def _json(body: bytes, content_type: str = JSON) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": content_type})


def _aggregated_version(accept: str) -> str:
    """The version of APIGroupDiscoveryList that the client prefers, empty for the old form."""
    for clause in accept.split(","):
        if AGGREGATED in clause and "as=APIGroupDiscoveryList" in clause:
            for version in ("v2beta1", "v2"):
                if f"v={version}" in clause.replace(" ", "").split(";"):
                    return version
        elif clause.strip().startswith(JSON):
            return ""
    return ""


def _group(group: str, versions: list[str]) -> Object:
    entries = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": entries, "preferredVersion": entries[0]}


def _subresource(resource: Resource, name: str, action: Action | None) -> Object:
    entry: Object = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(KINDS.get(name, ())),
    }
    if name == "scale":
        entry = {**entry, "group": "autoscaling", "version": "v1", "kind": "Scale"}
    if action is not None:
        entry["kind"] = action.kind or resource.kind
        entry["verbs"] = sorted(METHOD_VERBS[method] for method in action.methods if method in METHOD_VERBS)
        entry.update({key: value for key, value in (("group", action.group), ("version", action.version)) if value})
    return entry


def _kind(resource: Resource, entry: Object) -> Object:
    return {
        "group": entry.get("group", resource.group),
        "version": entry.get("version", resource.version),
        "kind": entry["kind"],
    }


def _discovered(resource: Resource, main: Object, subresources: list[Object]) -> Object:
    shape: Object = {
        "resource": main["name"],
        "responseKind": _kind(resource, main),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": main["singularName"],
        "verbs": main["verbs"],
    }
    for name in ("shortNames", "categories"):
        if name in main:
            shape[name] = main[name]
    if subresources:
        shape["subresources"] = [
            {
                "subresource": entry["name"].partition("/")[2],
                "responseKind": _kind(resource, entry),
                "verbs": entry["verbs"],
            }
            for entry in subresources
        ]
    return shape


def _undescribed(plural: str, entries: list[Object]) -> Object:
    return {
        "resource": plural,
        "responseKind": {"group": "", "version": "", "kind": ""},
        "scope": "Namespaced",
        "singularResource": "",
        "verbs": None,
        "subresources": [
            {
                "subresource": entry["name"].partition("/")[2],
                "responseKind": {"group": "", "version": "", "kind": entry["kind"]},
                "verbs": None,
            }
            for entry in entries
            if "/" in entry["name"]
        ],
    }
