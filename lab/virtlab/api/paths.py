"""What a URL asks for: kube-apiserver's RequestInfo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from virtlab.api.options import boolean

NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
METHOD_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Target:
    """A request for a resource, or, with an empty C(plural), for a path that is about none."""

    path: str
    verb: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def is_resource(self) -> bool:
        return bool(self.plural)


def parse(method: str, path: str, query: Mapping[str, str]) -> Target:
    """Splits a path as the API server does, whether or not the resource exists."""
    verb = METHOD_VERBS.get(method, method.lower())
    steps = [step for step in path.split("/") if step]
    plain = Target(path, verb)
    if not steps or steps[0] not in ("api", "apis"):
        return plain
    width = 2 if steps[0] == "api" else 3
    if len(steps) <= width:
        return plain
    group, version = ("", steps[1]) if width == 2 else (steps[1], steps[2])
    rest = steps[width:]
    watching = boolean(query.get("watch"))
    if rest[0] == "watch" and len(rest) > 1:
        watching, rest = True, rest[1:]
    namespace = ""
    if rest[0] == "namespaces":
        if len(rest) > 1:
            namespace = rest[1]
        if len(rest) > 2 and rest[2] not in NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    plural, name, subresource = rest[0], "/".join(rest[1:2]), "/".join(rest[2:])
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if watching and verb in ("get", "list"):
        verb = "watch"
    return Target(path, verb, group, version, namespace, plural, name, subresource)
