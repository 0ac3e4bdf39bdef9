# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user asks of the operator's installation, and the objects that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cluster.resource import Object
from ..objects import hyperconverged, olm
from ..task import Failure
from .product import NODE_NETWORKING, PRODUCTS, Product

DEFAULTS = {
    "installPlanApproval": "Automatic",
    "source": "redhat-operators",
    "sourceNamespace": "openshift-marketplace",
}

MANUAL_RISKS = (
    "approval is Manual: no update, security fixes included, is installed until somebody approves its InstallPlan, and"
    " a version that fell behind OpenShift is not supported. Automatic is what the product recommends."
)

_OF_VIRTUALIZATION = ("certificates", "infra", "workloads")
_PLACEMENT_KEYS = {"node_selector": "nodeSelector", "affinity": "affinity", "tolerations": "tolerations"}
_CERTIFICATE_KEYS = {
    "ca_duration": ("ca", "duration"),
    "ca_renew_before": ("ca", "renewBefore"),
    "server_duration": ("server", "duration"),
    "server_renew_before": ("server", "renewBefore"),
}


@dataclass(frozen=True)
class Wish:
    """The installation as declared; None leaves a thing as it is, or at its default where it is made."""

    package: str
    product: Product
    namespace: str
    channel: str | None = None
    source: str | None = None
    source_namespace: str | None = None
    starting_csv: str | None = None
    approval: str | None = None
    approve: bool = False
    certificates: Mapping[str, Any] = field(default_factory=dict)
    placements: Mapping[str, Any] = field(default_factory=dict)


def wish(params: Mapping[str, Any]) -> Wish:
    """The wish that a module's options spell. Raises Failure for what cannot work, before anything is asked."""
    package = params["package"]
    product = PRODUCTS[package]
    namespace = params.get("namespace") or product.namespace
    if product.only_in_its_namespace and namespace != product.namespace:
        raise Failure(f"The package {package} works in the namespace {product.namespace} only, not in {namespace}.")
    foreign = [option for option in _OF_VIRTUALIZATION if params.get(option) is not None]
    if foreign and product is NODE_NETWORKING:
        raise Failure(f"{' and '.join(foreign)}: {product.title} has no such settings; leave that out.")
    return Wish(
        package=package,
        product=product,
        namespace=namespace,
        channel=params.get("channel"),
        source=params.get("source"),
        source_namespace=params.get("source_namespace"),
        starting_csv=params.get("starting_csv"),
        approval=params.get("approval"),
        approve=bool(params.get("approve")),
        certificates=_certificates(params.get("certificates") or {}),
        placements={
            role: {
                api: placement[option] for option, api in _PLACEMENT_KEYS.items() if placement.get(option) is not None
            }
            for role in ("infra", "workloads")
            if (placement := params.get(role)) is not None
        },
    )


def _certificates(options: Mapping[str, Any]) -> dict[str, Any]:
    given = [(path, options[option]) for option, path in _CERTIFICATE_KEYS.items() if options.get(option) is not None]
    return hyperconverged.nested(given)


def namespace(wish: Wish) -> Object:
    """The operator's namespace as the product's documentation makes it: watched by the cluster's monitoring."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": wish.namespace, "labels": {"openshift.io/cluster-monitoring": "true"}},
    }


def subscription_spec(wish: Wish, live: Object | None) -> dict[str, Any]:
    """The Subscription's spec: what is declared over what is there, defaults only where there is nothing yet."""
    given: dict[str, Any] = {
        "channel": wish.channel,
        "installPlanApproval": wish.approval,
        "name": wish.package,
        "source": wish.source,
        "sourceNamespace": wish.source_namespace,
        "startingCSV": wish.starting_csv,
    }
    if live is None:
        return {**DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    there = {key: live["spec"][key] for key in given if key in live["spec"]}
    # Where the first version came from is history once there is one; a changed startingCSV would do nothing.
    given["startingCSV"] = there.get("startingCSV")
    return there | {key: value for key, value in given.items() if value is not None}


def subscription(wish: Wish, spec: Mapping[str, Any], live: Object | None) -> Object:
    """The Subscription under its own name, or under the one that it already has."""
    return {
        "apiVersion": olm.SUBSCRIPTION.api_version,
        "kind": olm.SUBSCRIPTION.kind,
        "metadata": {"name": live["metadata"]["name"] if live else wish.package, "namespace": wish.namespace},
        "spec": dict(spec),
    }


def instance_spec(wish: Wish, version: str) -> dict[str, Any]:
    """What is passed on to the instance, at the places that its version has for it."""
    values: list[tuple[tuple[str, ...], Any]] = []
    if wish.certificates:
        values.append((hyperconverged.CERTIFICATES[version], dict(wish.certificates)))
    values += [(hyperconverged.PLACEMENTS[version][role], placement) for role, placement in wish.placements.items()]
    return hyperconverged.nested(values)


def instance_patch(wish: Wish, version: str, live: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7386) that lays the wish over a live spec; empty when the spec has it all already.

    Certificates are laid over those that are there, a placement takes the place of the one that is there.
    """
    values: list[tuple[tuple[str, ...], Any]] = []
    for key_path, wanted in _leaves(wish.certificates):
        path = (*hyperconverged.CERTIFICATES[version], *key_path)
        if hyperconverged.at_path(live, path) != wanted:
            values.append((path, wanted))
    for role, placement in wish.placements.items():
        path = hyperconverged.PLACEMENTS[version][role]
        there = hyperconverged.at_path(live, path) or {}
        if there != placement:
            values.append((path, _replacement(there, placement)))
    return hyperconverged.nested(values)


def _leaves(tree: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    return [((part, key), value) for part, values in tree.items() for key, value in values.items()]


def _replacement(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch that turns a mapping into another one."""
    gone = {key: None for key in there if key not in wanted}
    return gone | {
        key: _replacement(there[key], value)
        if isinstance(value, Mapping) and isinstance(there.get(key), Mapping)
        else value
        for key, value in wanted.items()
    }
