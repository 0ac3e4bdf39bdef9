"""What is served: a resource of one API version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """One kind in one served version. C(custom): it comes from a CRD, whose rules and messages differ from built-in."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset(
        {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    )
    custom: bool = True
    storage_version: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Names the resource whatever the version: (group, plural). The store's key."""
        return (self.group, self.plural)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """C(virtualmachines.kubevirt.io), or C(pods)."""
        return f"{self.plural}.{self.group}" if self.group else self.plural
