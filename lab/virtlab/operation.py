"""One request on its way through the API machinery: what admission sees of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from virtlab.resource import Object, Resource

if TYPE_CHECKING:
    from virtlab.cluster import Cluster


@dataclass(frozen=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)


# The cluster's own components, whose writes webhooks let pass, and the administrator of its kubeconfig.
SYSTEM = User("system:apiserver", ("system:masters", "system:authenticated"))
ADMIN = User("system:admin", ("system:masters", "system:authenticated"))


@dataclass
class Operation:
    """C(verb) is CREATE, UPDATE, DELETE or CONNECT. Mutating admission edits C(object) in place."""

    cluster: Cluster
    verb: str
    resource: Resource
    namespace: str | None
    name: str
    object: Object | None
    old: Object | None
    user: User = SYSTEM
    subresource: str | None = None
    dry_run: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
