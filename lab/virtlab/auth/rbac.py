"""Role-based access control: what the bindings in the store allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtlab.auth.attributes import Attributes
from virtlab.operation import User
from virtlab.resource import Object
from virtlab.store import Event, Store

GROUP = "rbac.authorization.k8s.io"
CLUSTER_ROLES = (GROUP, "clusterroles")
CLUSTER_ROLE_BINDINGS = (GROUP, "clusterrolebindings")
ROLES = (GROUP, "roles")
ROLE_BINDINGS = (GROUP, "rolebindings")

MASTERS = "system:masters"
SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class Decision:
    """C(reason) tells which binding allowed it; it is empty for a refusal."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True)
class Rule:
    """One PolicyRule."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()

    @classmethod
    def read(cls, rule: Mapping[str, Any]) -> Rule:
        def items(key: str) -> frozenset[str]:
            return frozenset(rule.get(key) or ())

        return cls(
            items("verbs"),
            items("apiGroups"),
            items("resources"),
            items("resourceNames"),
            tuple(rule.get("nonResourceURLs") or ()),
        )

    def allows(self, wanted: Attributes) -> bool:
        if "*" not in self.verbs and wanted.verb not in self.verbs:
            return False
        if wanted.path:
            return any(_path_matches(path, wanted.path) for path in self.paths)
        return (
            ("*" in self.groups or wanted.group in self.groups)
            and self._resource_matches(wanted)
            and (not self.names or wanted.name in self.names)
        )

    def _resource_matches(self, wanted: Attributes) -> bool:
        if "*" in self.resources or wanted.full_resource in self.resources:
            return True
        return bool(wanted.subresource) and f"*/{wanted.subresource}" in self.resources


def _path_matches(pattern: str, path: str) -> bool:
    if pattern == "*" or pattern == path:
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


@dataclass(frozen=True)
class _Grant:
    """One subject of one binding. C(namespace) is None for a ClusterRoleBinding."""

    namespace: str | None
    role: tuple[tuple[str, str], str | None, str]
    description: str


def subject_keys(user: User) -> Iterator[tuple[str, str]]:
    yield "User", user.name
    for group in user.groups:
        yield "Group", group


def aggregated_rules(role: Object, roles: Iterable[Object]) -> list[Object] | None:
    """The rules that C(role) collects from other ClusterRoles, or None when it does not aggregate."""
    aggregation = role.get("aggregationRule")
    if not aggregation:
        return None
    rules: list[Object] = []
    candidates = sorted(roles, key=lambda other: str(other["metadata"]["name"]))
    for selector in aggregation.get("clusterRoleSelectors") or ():
        for other in candidates:
            if other["metadata"]["name"] == role["metadata"]["name"]:
                continue
            if _selects(selector, other["metadata"].get("labels") or {}):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression_holds(item, labels) for item in selector.get("matchExpressions") or ())


def _expression_holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
    return key not in labels


class Authorizer:
    """Answers from an index over the bindings and compiled roles, rebuilt when RBAC objects change."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._grants: dict[tuple[str, str], list[_Grant]] | None = None
        self._rules: dict[tuple[tuple[str, str], str | None, str], tuple[Rule, ...]] = {}
        store.subscribe(self._observe)

    def _observe(self, event: Event) -> None:
        if event.key[0] == GROUP:
            self._grants = None
            self._rules.clear()

    def allowed(self, user: User, wanted: Attributes) -> Decision:
        if MASTERS in user.groups:
            return Decision(True)
        for grant, rules in self._applicable(user, wanted.namespace):
            if any(rule.allows(wanted) for rule in rules):
                return Decision(True, f"RBAC: allowed by {grant.description}")
        return Decision(False)

    def require(self, user: User, wanted: Attributes) -> None:
        """Raises the 403 when C(user) may not do what is C(wanted)."""
        if not self.allowed(user, wanted).allowed:
            raise wanted.forbidden(user)

    def rules(self, user: User, namespace: str) -> list[Rule]:
        """Every rule that holds for C(user) in C(namespace)."""
        if MASTERS in user.groups:
            everything = frozenset({"*"})
            return [Rule(everything, everything, everything), Rule(everything, paths=("*",))]
        return [rule for _, rules in self._applicable(user, namespace) for rule in rules]

    def _applicable(self, user: User, namespace: str) -> Iterator[tuple[_Grant, Sequence[Rule]]]:
        if self._grants is None:
            self._grants = self._index()
        found = [grant for key in subject_keys(user) for grant in self._grants.get(key, ())]
        for grant in sorted(found, key=lambda item: item.namespace is not None):
            if grant.namespace is None or grant.namespace == namespace:
                yield grant, self._role_rules(grant.role)

    def _index(self) -> dict[tuple[str, str], list[_Grant]]:
        grants: dict[tuple[str, str], list[_Grant]] = defaultdict(list)
        for key in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            for entry in self.store.entries(key):
                for subject, grant in _grants(entry.object):
                    grants[subject].append(grant)
        return grants

    def _role_rules(self, role: tuple[tuple[str, str], str | None, str]) -> tuple[Rule, ...]:
        if role not in self._rules:
            entry = self.store.find(*role)
            rules: Iterable[Object] = ()
            if entry is not None:
                collected = None
                if role[0] == CLUSTER_ROLES:
                    collected = aggregated_rules(
                        entry.object, (other.object for other in self.store.entries(CLUSTER_ROLES))
                    )
                rules = (entry.object.get("rules") or ()) if collected is None else collected
            self._rules[role] = tuple(Rule.read(rule) for rule in rules)
        return self._rules[role]


def _grants(binding: Object) -> Iterator[tuple[tuple[str, str], _Grant]]:
    metadata, reference = binding["metadata"], binding["roleRef"]
    namespace = metadata.get("namespace")
    role = (
        (CLUSTER_ROLES, None, reference["name"])
        if reference["kind"] == "ClusterRole"
        else (ROLES, namespace, reference["name"])
    )
    name = f"{metadata['name']}/{namespace}" if namespace else metadata["name"]
    for subject in binding.get("subjects") or ():
        kind, title = subject["kind"], subject["name"]
        key = (kind, title)
        if kind == "ServiceAccount":
            home = subject.get("namespace") or namespace or ""
            key = ("User", f"{SERVICE_ACCOUNT}{home}:{title}")
            title = f"{title}/{home}"
        description = f'{binding["kind"]} "{name}" of {reference["kind"]} "{reference["name"]}" to {kind} "{title}"'
        yield key, _Grant(namespace, role, description)
