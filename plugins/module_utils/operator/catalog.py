# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a catalog offers, asked before anything is written."""

from __future__ import annotations

from ..cluster.client import Client
from ..cluster.resource import Object
from ..objects.olm import CATALOG_READY, CATALOG_SOURCE, PACKAGE_MANIFEST, connection_state
from ..task import Failure


def package_manifest(client: Client, package: str, source: str, source_namespace: str) -> Object:
    """The PackageManifest of a package in one catalog.

    Raises CatalogNotReady when the catalog may offer it yet, Failure when it does not.
    """
    # Catalogs may offer packages of the same name; a GET answers with any one of them, a list of all is long.
    found = client.get(PACKAGE_MANIFEST, package, source_namespace)
    if found is not None and _is_from(found, source, source_namespace):
        return found
    for item in client.list(PACKAGE_MANIFEST, source_namespace, label_selector=f"catalog={source}").items:
        if item["metadata"]["name"] == package and _is_from(item, source, source_namespace):
            return item
    raise _not_offered(client, package, source, source_namespace, found)


class CatalogNotReady(Failure):
    """The catalog is not connected, as after a restart of its pod."""


def _is_from(manifest: Object, source: str, source_namespace: str) -> bool:
    status = manifest.get("status") or {}
    return (status.get("catalogSource"), status.get("catalogSourceNamespace")) == (source, source_namespace)


def _not_offered(client: Client, package: str, source: str, source_namespace: str, other: Object | None) -> Failure:
    catalog = client.get(CATALOG_SOURCE, source, source_namespace)
    if catalog is None:
        names = sorted(item["metadata"]["name"] for item in client.list(CATALOG_SOURCE, source_namespace).items)
        return Failure(
            f"There is no CatalogSource {source} in the namespace {source_namespace}. "
            f"Those there are: {', '.join(names) or 'none'}. Set source and source_namespace."
        )
    state = connection_state(catalog)
    if state != CATALOG_READY:
        return CatalogNotReady(
            f"The CatalogSource {source_namespace}/{source} is not healthy (connection {state}), so that nothing can be"
            f" installed from it. Look at its pod in {source_namespace}."
        )
    elsewhere = (other or {}).get("status", {}).get("catalogSource")
    hint = f" The catalog {elsewhere} has one: set source." if elsewhere else ""
    return Failure(f"The catalog {source_namespace}/{source} has no package {package}.{hint}")
