"""The resources of operators.coreos.com, and the rules of operator groups."""

from __future__ import annotations

from virtlab.resource import Object

CATALOGS = "catalogsources.operators.coreos.com"
SUBSCRIPTIONS = "subscriptions.operators.coreos.com"
INSTALL_PLANS = "installplans.operators.coreos.com"
CSVS = "clusterserviceversions.operators.coreos.com"
GROUPS = "operatorgroups.operators.coreos.com"
MANIFESTS = "packagemanifests.packages.operators.coreos.com"


def component_label(package: str, namespace: str) -> str:
    """The label by which everything of an installed operator is found."""
    return f"operators.coreos.com/{package}.{namespace}"


def group_problem(groups: list[Object]) -> str | None:
    """Why a namespace with these operator groups can install nothing, in OLM's words."""
    if not groups:
        return "no operator group found that is managing this namespace"
    if len(groups) > 1:
        return f"more than one operator group(s) are managing this namespace count={len(groups)}"
    return None


def target_namespaces(group: Object) -> list[str]:
    """What the operator group targets; an empty name means all namespaces."""
    return sorted((group.get("spec") or {}).get("targetNamespaces") or [""])


def mode_problem(modes: tuple[str, ...], namespace: str, targets: list[str]) -> str | None:
    """Why an operator with these install modes cannot serve C(targets), in OLM's words."""
    if targets == [""]:
        if "AllNamespaces" not in modes:
            return "AllNamespaces InstallModeType not supported, cannot configure to watch all namespaces"
    elif len(targets) > 1:
        if "MultiNamespace" not in modes:
            return f"MultiNamespace InstallModeType not supported, cannot configure to watch {len(targets)} namespaces"
    elif targets[0] == namespace:
        if "OwnNamespace" not in modes:
            return "OwnNamespace InstallModeType not supported, cannot configure to watch own namespace"
    elif "SingleNamespace" not in modes:
        return "SingleNamespace InstallModeType not supported, cannot configure to watch one namespace"
    return None
