# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(vm_info): one list a kind, however many machines there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import ClusterError, Forbidden, NotServed
from ..cluster.resource import Object, Resource
from ..task import Failure, Result, Task
from .cdi import DATA_VOLUME
from .core import PVC
from .kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE
from .kubevirt_facts import Surroundings, by_key, facts

_BESIDE = (VIRTUAL_MACHINE_INSTANCE, DATA_VOLUME, PVC)


def inform(client: Client, task: Task) -> Result:
    """Run a task of C(vm_info)."""
    params = task.params
    namespaces: list[str | None] = list(params["namespaces"] or []) or [None]
    field_selector = params["field_selector"]
    if params["name"] is not None:
        if len(namespaces) != 1 or namespaces[0] is None:
            raise Failure("name: needs exactly one namespace in namespaces.")
        by_field = f"metadata.name={params['name']}"
        field_selector = f"{field_selector},{by_field}" if field_selector else by_field
    selectors = {"label_selector": params["label_selector"], "field_selector": field_selector}
    wanted = [(VIRTUAL_MACHINE, namespace, selectors) for namespace in namespaces]
    wanted += [(resource, namespace, {}) for resource in _BESIDE for namespace in namespaces]
    listings = client.in_parallel(lambda asked: client.list(asked[0], asked[1], **asked[2]).items, wanted)
    found: dict[str, list[Object]] = {resource.kind: [] for resource in (VIRTUAL_MACHINE, *_BESIDE)}
    for (resource, _namespace, _selectors), listing in zip(wanted, listings, strict=True):
        found[resource.kind] += _items(resource, listing, task)
    around = Surroundings(*(by_key(found[resource.kind]) for resource in _BESIDE))
    machines = sorted(found[VIRTUAL_MACHINE.kind], key=_place)
    return {"changed": False, "vms": [facts(vm, around) for vm in machines]}


def _items(resource: Resource, listing: Sequence[Object] | ClusterError, task: Task) -> Sequence[Object]:
    if not isinstance(listing, ClusterError):
        return listing
    if resource is VIRTUAL_MACHINE or not isinstance(listing, (Forbidden, NotServed)):
        raise listing
    task.warn(f"{listing.message} What it would tell is left empty.")
    return []


def _place(vm: Mapping[str, Any]) -> tuple[str, str]:
    return vm["metadata"].get("namespace", ""), vm["metadata"]["name"]
