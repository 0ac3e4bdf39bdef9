# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client has to know of a kind of object: where it is served and which of its lists are merged by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A kind of object of an API server.

    C(list_keys) maps the path of a list to the key that names its items, e.g.
    C({"spec.template.spec.domain.devices.disks": "name"}): a declared list is merged by that key with the live one.
    Only lists that the API treats as one value (atomic) belong there: the API server merges the others itself.
    C(one_of) maps the path of such a list to the keys of which an item holds one at a time, e.g. the sources of a
    volume: a declared one takes the place of the live one. C(secrets) are paths that output never shows, with C(*) for
    any key or list item. C(hint) says what to do where the API is not served.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    list_keys: Mapping[str, str] = field(default_factory=dict)
    one_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    hint: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name that RBAC and error messages use, e.g. C(virtualmachines.kubevirt.io)."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, name: str | None = None, namespace: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, or of one object or its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/" + "/".join(parts)
