# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Operator Lifecycle Manager: what a package offers, what a subscription asks for, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..cluster.resource import Object, Resource
from ..cluster.verdict import Failed, Progress, Ready, Verdict, conditions
from ..task import Failure

GROUP = "operators.coreos.com"
_HINT = "operators are installed through the Operator Lifecycle Manager, which this cluster does not have"
PACKAGE_MANIFEST = Resource("packages.operators.coreos.com", "v1", "packagemanifests", "PackageManifest", hint=_HINT)
CATALOG_SOURCE = Resource(GROUP, "v1alpha1", "catalogsources", "CatalogSource", hint=_HINT)
OPERATOR_GROUP = Resource(GROUP, "v1", "operatorgroups", "OperatorGroup", hint=_HINT)
SUBSCRIPTION = Resource(GROUP, "v1alpha1", "subscriptions", "Subscription", hint=_HINT)
INSTALL_PLAN = Resource(GROUP, "v1alpha1", "installplans", "InstallPlan", hint=_HINT)
CLUSTER_SERVICE_VERSION = Resource(GROUP, "v1alpha1", "clusterserviceversions", "ClusterServiceVersion", hint=_HINT)

# Subscription conditions that do not heal by waiting, by type; None stands for every reason. A resolution or a catalog
# that fails for another reason (a catalog pod that is just restarting) is tried again by OLM itself.
FATAL_CONDITIONS: dict[str, frozenset[str] | None] = {
    "ResolutionFailed": frozenset({"ConstraintsNotSatisfiable"}),
    "BundleUnpackFailed": None,
    "InstallPlanFailed": None,
}
HINDRANCES = ("ResolutionFailed", "CatalogSourcesUnhealthy", "BundleUnpacking", "InstallPlanMissing")
CATALOG_READY = "READY"
REQUIREMENT_MET = frozenset({"Present", "Satisfied"})


def component_label(package: str, namespace: str) -> str:
    """The label by which OLM marks what belongs to an installed operator: its CSV and its CRDs."""
    return f"{GROUP}/{package}.{namespace}"


def connection_state(catalog: Object) -> str:
    """What a CatalogSource last saw of the connection to its pod."""
    found = ((catalog.get("status") or {}).get("connectionState") or {}).get("lastObservedState")
    return str(found or "not looked at yet")


def catalog_connected(catalog: Object | None) -> Verdict:
    """Ready when OLM can read a CatalogSource."""
    if catalog is None:
        return Failed("it was deleted while it was waited for")
    state = connection_state(catalog)
    return Ready() if state == CATALOG_READY else Progress(f"the catalog's connection is {state}")


def channel_of(manifest: Object, channel: str | None) -> dict[str, Any]:
    """The channel entry of a PackageManifest, the package's default one when none is asked for.

    Raises Failure, naming the channels there are, when the package has no such channel.
    """
    status = manifest.get("status") or {}
    channels = {item["name"]: item for item in status.get("channels") or []}
    wanted = channel or status.get("defaultChannel") or ""
    if wanted in channels:
        return dict(channels[wanted])
    package = status.get("packageName") or manifest["metadata"]["name"]
    raise Failure(
        f"The package {package} of the catalog {status.get('catalogSource')} has no channel {wanted!r}. "
        f"Its channels are: {', '.join(sorted(channels)) or 'none'}."
    )


def check_starting_csv(channel: Mapping[str, Any], starting_csv: str | None) -> None:
    """Raises Failure when a channel does not hold the CSV to start with; old catalogs name only the current one."""
    held = [entry["name"] for entry in channel.get("entries") or []]
    if starting_csv is None or not held or starting_csv in held:
        return
    raise Failure(
        f"The channel {channel['name']} has no CSV {starting_csv}. It holds: {', '.join(held)}. "
        "Leave starting_csv out to install the newest one."
    )


def supports_own_namespace(channel: Mapping[str, Any]) -> bool:
    """Whether the channel's operator can be installed for its own namespace alone; true when it does not say."""
    modes = (channel.get("currentCSVDesc") or {}).get("installModes") or []
    return all(mode.get("supported", False) for mode in modes if mode.get("type") == "OwnNamespace")


def operator_group(package: str, namespace: str, *, own_namespace: bool) -> Object:
    """The OperatorGroup made where there is none; one without target namespaces selects all of them."""
    return {
        "apiVersion": OPERATOR_GROUP.api_version,
        "kind": OPERATOR_GROUP.kind,
        "metadata": {"name": f"{package}-group", "namespace": namespace},
        "spec": {"targetNamespaces": [namespace]} if own_namespace else {},
    }


def the_operator_group(groups: Iterable[Object], namespace: str) -> Object | None:
    """The OperatorGroup of a namespace. Raises Failure when there are several: OLM then installs nothing there."""
    found = list(groups)
    if len(found) < 2:
        return found[0] if found else None
    names = ", ".join(sorted(group["metadata"]["name"] for group in found))
    raise Failure(
        f"The namespace {namespace} has {len(found)} OperatorGroups ({names}). OLM installs nothing into a namespace "
        "with more than one: delete all but the one that the operators there need, then run this again."
    )


def the_subscription(subscriptions: Iterable[Object], package: str) -> Object | None:
    """The Subscription to a package, whatever its own name is. Raises Failure when there are several."""
    found = [item for item in subscriptions if (item.get("spec") or {}).get("name") == package]
    if len(found) < 2:
        return found[0] if found else None
    names = ", ".join(sorted(item["metadata"]["name"] for item in found))
    raise Failure(
        f"{len(found)} Subscriptions ask for the package {package}: {names}. OLM cannot resolve that: keep one."
    )


def installed_csv(subscription: Object | None) -> str | None:
    """The name of the ClusterServiceVersion that a Subscription has installed."""
    return ((subscription or {}).get("status") or {}).get("installedCSV") or None


def install_plan_of(subscription: Object | None) -> str | None:
    """The name of the InstallPlan that a Subscription last asked for."""
    status = (subscription or {}).get("status") or {}
    reference = status.get("installPlanRef") or status.get("installplan") or {}
    return reference.get("name")


def awaits_approval(plan: Object | None) -> bool:
    """Whether an InstallPlan stands still until somebody approves it."""
    spec = (plan or {}).get("spec") or {}
    phase = ((plan or {}).get("status") or {}).get("phase")
    return not spec.get("approved", False) and spec.get("approval") == "Manual" and phase in ("RequiresApproval", None)


def subscription_settled(
    subscription: Object | None, *, head: str | None = None, approved: str | None = None
) -> Verdict:
    """Ready when what the Subscription stands for is installed, or waits for an approval that is still to be given.

    C(head) is the CSV to arrive at where the Subscription has just changed and its status still speaks of the old one;
    C(approved) the InstallPlan that was just approved.
    """
    if subscription is None:
        return Failed("it was deleted while it was waited for")
    status = subscription.get("status") or {}
    found = conditions(subscription)
    for kind, reasons in FATAL_CONDITIONS.items():
        condition = found.get(kind, {})
        if condition.get("status") == "True" and (reasons is None or condition.get("reason") in reasons):
            return Failed(f"{kind} ({condition.get('reason')}): {condition.get('message')}")
    unhealthy = found.get("CatalogSourcesUnhealthy", {})
    if unhealthy.get("status") == "True" and str(unhealthy.get("message", "")).endswith("missing"):
        return Failed(f"CatalogSourcesUnhealthy: {unhealthy['message']}")
    current = status.get("currentCSV")
    if current and status.get("installedCSV") == current and head in (None, current):
        return Ready()
    pending = found.get("InstallPlanPending", {})
    needs_approval = pending.get("status") == "True" and pending.get("reason") == "RequiresApproval"
    if needs_approval and install_plan_of(subscription) != approved:
        return Ready()
    return Progress(_subscription_progress(subscription, found))


def _subscription_progress(subscription: Object, found: Mapping[str, Mapping[str, Any]]) -> str:
    status = subscription.get("status") or {}
    for kind in HINDRANCES:
        if found.get(kind, {}).get("status") == "True":
            return f"{kind}: {found[kind].get('message') or found[kind].get('reason')}"
    plan = install_plan_of(subscription)
    if plan is None:
        return "OLM is resolving the package"
    phase = found.get("InstallPlanPending", {}).get("reason") or "working"
    return f"InstallPlan {plan} for {status.get('currentCSV') or 'the package'}: {phase}"


def csv_succeeded(csv: Object | None) -> Verdict:
    """Ready when a ClusterServiceVersion is in phase Succeeded; the progress names what holds it up."""
    if csv is None:
        return Progress("OLM has not created it yet")
    status = csv.get("status") or {}
    phase, reason, message = status.get("phase"), status.get("reason"), status.get("message")
    if phase == "Succeeded":
        return Ready()
    if phase == "Failed":
        return Failed(f"{reason}: {message}")
    missing = [
        f"{item.get('kind')} {item.get('name')} is {item.get('status')}"
        for item in status.get("requirementStatus") or []
        if item.get("status") not in REQUIREMENT_MET
    ]
    return Progress(f"{phase or 'not looked at yet'}: {'; '.join(missing[:3]) or message or reason or 'no word yet'}")
