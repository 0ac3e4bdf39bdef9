"""Names, DNS, probes, eviction and scheduling of an instance: what virt-api refuses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from virtlab.admission.kubevirt.settings import Settings
from virtlab.admission.webhook import INVALID, NOT_SUPPORTED, REQUIRED, at, items
from virtlab.names import label_key_problems, label_problems, label_value_problems, subdomain_problems
from virtlab.resource import Object
from virtlab.status import Cause

EVICTION_STRATEGIES = ("LiveMigrate", "LiveMigrateIfPossible", "None", "External")
PROBES = ("httpGet", "tcpSocket", "exec", "guestAgentPing")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None", "")
MAX_NAME_SERVERS, MAX_SEARCHES, MAX_SEARCH_LENGTH = 3, 6, 256
SPREAD_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
RESERVED_LABELS = (
    "kubevirt.io/created-by", "kubevirt.io/migrationJobUID", "kubevirt.io/nodeName",
    "kubevirt.io/migrationTargetNodeName", "kubevirt.io/schedulable", "kubevirt.io/install-strategy",
)  # fmt: skip

Found = Iterator[Cause]
Problems = Iterator[tuple[str, str]]


def host_name(path: str, spec: Object, _: Settings) -> Found:
    problems = label_problems(spec["hostname"]) if spec.get("hostname") else []
    if problems:
        field = f"{path}.hostname"
        message = f"{field} does not conform to the kubernetes DNS_LABEL rules : {', '.join(problems)}"
        yield Cause(message, field, INVALID)


def subdomain(path: str, spec: Object, _: Settings) -> Found:
    problems = subdomain_problems(spec["subdomain"]) if spec.get("subdomain") else []
    if problems:
        field = f"{path}.subdomain"
        message = f"{field} does not conform to the kubernetes DNS_SUBDOMAIN rules : {', '.join(problems)}"
        yield Cause(message, field, INVALID)


def service_account(path: str, spec: Object, _: Settings) -> Found:
    name, field = spec.get("serviceAccountName"), f"{path}.serviceAccountName"
    if not name:
        return
    problems = subdomain_problems(name)
    if problems:
        yield Cause(f"{field} is not a valid service account name: {'; '.join(problems)}", field, INVALID)
    for volume in items(spec, "volumes"):
        other = at(volume, "serviceAccount", "serviceAccountName")
        if volume.get("serviceAccount") is not None and other != name:
            message = (
                f'spec.serviceAccountName "{name}" and serviceAccount volume "{other}" must reference the same service '
                "account"
            )
            yield Cause(message, field, INVALID)
            return


def eviction(path: str, spec: Object, _: Settings) -> Found:
    strategy, field = spec.get("evictionStrategy"), f"{path}.evictionStrategy"
    if strategy is not None and strategy not in EVICTION_STRATEGIES:
        yield Cause(f"{field} is set with an unrecognized option: {strategy}", field, INVALID)


def probes(path: str, spec: Object, _: Settings) -> Found:
    fields = [(f"{path}.{name}", spec.get(name)) for name in ("readinessProbe", "livenessProbe")]
    for field, probe in fields:
        count = sum((probe or {}).get(kind) is not None for kind in PROBES)
        if probe is not None and count > 1:
            yield Cause(f"{field} must have exactly one probe type set", field, INVALID)
        if probe is not None and count < 1:
            message = f"either {field}.tcpSocket, {field}.exec or {field}.httpGet must be set if a {field} is specified"
            yield Cause(message, field, REQUIRED)
    if any(network.get("pod") is not None for network in items(spec, "networks")):
        return
    for field, probe in fields:
        for kind in ("httpGet", "tcpSocket"):
            if (probe or {}).get(kind) is not None:
                where = f"{field}.{kind}"
                yield Cause(f"{where} is only allowed if the Pod Network is attached", where, INVALID)


def dns(path: str, spec: Object, _: Settings) -> Found:
    policy, config, field = spec.get("dnsPolicy") or "", spec.get("dnsConfig"), f"{path}.dnsConfig"
    if policy not in DNS_POLICIES:
        message = f"DNSPolicy: {policy} is not supported, valid values: [{' '.join(DNS_POLICIES)}]"
        yield Cause(message, f"{path}.dnsPolicy", NOT_SUPPORTED)
    if policy == "None" and config is None:
        yield Cause("must provide `dnsConfig` when `dnsPolicy` is None", field, REQUIRED)
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if policy == "None" and not servers:
        message = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield Cause(message, "nameservers", REQUIRED)
        return
    if len(servers) > MAX_NAME_SERVERS:
        message = f"must not have more than {MAX_NAME_SERVERS} nameservers: [{' '.join(servers)}]"
        yield Cause(message, "nameservers", INVALID)
    for server in servers:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            yield Cause(f"must be valid IP address: {server}", "nameservers", INVALID)
    if len(searches) > MAX_SEARCHES:
        yield Cause(f"must not have more than {MAX_SEARCHES} search paths", "searchDomains", INVALID)
    if len(" ".join(searches)) > MAX_SEARCH_LENGTH:
        message = f"must not have more than {MAX_SEARCH_LENGTH} characters (including spaces) in the search list"
        yield Cause(message, "searchDomains", INVALID)
    for search in searches:
        for problem in subdomain_problems(search):
            yield Cause(problem, "searchDomains", INVALID)
    for option in config.get("options") or ():
        if not option.get("name"):
            yield Cause("Option.Name must not be empty", "options", INVALID)


def labels_and_annotations(path: str, metadata: Object, settings: Settings, *, trusted: bool) -> Found:
    """Of a template or an instance; C(trusted): it is written by KubeVirt itself."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if not trusted and any(label in labels for label in RESERVED_LABELS):
        message = "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited"
        yield Cause(message, f"{path}.labels", NOT_SUPPORTED)
    gated = (
        ("kubevirt.io/ignitiondata", "ExperimentalIgnitionSupport", "ExperimentalIgnitionSupport feature gate"),
        ("hooks.kubevirt.io/hookSidecars", "Sidecar", "sidecar feature gate"),
    )
    for annotation, gate, name in gated:
        if annotations.get(annotation) and not settings.gate(gate):
            message = f"{name} is not enabled in kubevirt-config, invalid entry {path}.annotations.{annotation}"
            yield Cause(message, f"{path}.annotations", INVALID)


# Affinity and topology spread, as kubernetes validates them for pods


def affinity(path: str, spec: Object, _: Settings) -> Found:
    wanted = spec.get("affinity")
    if wanted is None:
        return
    problems = [*_node_affinity(f"{path}.nodeAffinity", wanted.get("nodeAffinity") or {})]
    for name in ("podAffinity", "podAntiAffinity"):
        problems += _pod_affinity(f"{path}.{name}", wanted.get(name) or {})
    for field, problem in problems:
        yield Cause(f"{field}: {problem}", field, INVALID)


def _invalid(value: object, why: str) -> str:
    shown = f'"{value}"' if isinstance(value, str) else value
    return f"Invalid value: {shown}: {why}"


def _weight(field: str, weight: int) -> Problems:
    if not 0 < weight <= 100:
        yield f"{field}.weight", _invalid(weight, "must be in the range 1-100")


def _key(field: str, key: str) -> Problems:
    for problem in label_key_problems(key):
        yield field, _invalid(key, problem)


def _node_affinity(field: str, wanted: Object) -> Problems:
    required = wanted.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is not None:
        terms = f"{field}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        if not required.get("nodeSelectorTerms"):
            yield terms, "Required value: must have at least one node selector term"
        for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
            yield from _node_term(f"{terms}[{index}]", term)
    for index, term in enumerate(wanted.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        this = f"{field}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        yield from _weight(this, term.get("weight") or 0)
        yield from _node_term(f"{this}.preference", term.get("preference") or {})


def _node_term(field: str, term: Object) -> Problems:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        this = f"{field}.matchExpressions[{index}]"
        yield from _operator(this, expression.get("operator") or "", expression.get("values") or (), comparing=True)
        yield from _key(f"{this}.key", expression.get("key") or "")
    for index, expression in enumerate(term.get("matchFields") or ()):
        this, operator = f"{field}.matchFields[{index}]", expression.get("operator") or ""
        if operator not in ("In", "NotIn"):
            yield f"{this}.operator", _invalid(operator, "not a valid selector operator")
        elif len(expression.get("values") or ()) != 1:
            why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield f"{this}.values", f"Required value: {why}"
        if expression.get("key") != "metadata.name":
            yield f"{this}.key", _invalid(expression.get("key") or "", "not a valid field selector key")


def _operator(field: str, operator: str, values: Sequence[str], *, comparing: bool = False) -> Problems:
    if operator in ("In", "NotIn"):
        if not values:
            yield f"{field}.values", "Required value: must be specified when `operator` is 'In' or 'NotIn'"
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            yield f"{field}.values", "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
    elif comparing and operator in ("Gt", "Lt"):
        if len(values) != 1:
            yield f"{field}.values", "Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
    else:
        yield f"{field}.operator", _invalid(operator, "not a valid selector operator")


def _pod_affinity(field: str, wanted: Object) -> Problems:
    for index, term in enumerate(wanted.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
        yield from _pod_term(f"{field}.requiredDuringSchedulingIgnoredDuringExecution[{index}]", term)
    for index, term in enumerate(wanted.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        this = f"{field}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        yield from _weight(this, term.get("weight") or 0)
        yield from _pod_term(f"{this}.podAffinityTerm", term.get("podAffinityTerm") or {})


def _pod_term(field: str, term: Object) -> Problems:
    for name in ("labelSelector", "namespaceSelector"):
        yield from label_selector(f"{field}.{name}", term.get(name) or {})
    for namespace in term.get("namespaces") or ():
        for problem in label_problems(namespace):
            yield f"{field}.namespace", _invalid(namespace, problem)
    yield from _topology_key(f"{field}.topologyKey", term.get("topologyKey") or "")


def _topology_key(field: str, key: str) -> Problems:
    if not key:
        yield field, "Required value: can not be empty"
    yield from _key(field, key)


def label_selector(field: str, selector: Object) -> Problems:
    """(field, problem) pairs of a metav1.LabelSelector."""
    for key, value in (selector.get("matchLabels") or {}).items():
        yield from _key(f"{field}.matchLabels", key)
        for problem in label_value_problems(value):
            yield f"{field}.matchLabels", _invalid(value, problem)
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        this = f"{field}.matchExpressions[{index}]"
        yield from _operator(this, expression.get("operator") or "", expression.get("values") or ())
        yield from _key(f"{this}.key", expression.get("key") or "")


def topology_spread(path: str, spec: Object, _: Settings) -> Found:
    constraints = spec.get("topologySpreadConstraints") or []
    base = f"{path}.topologySpreadConstraints"
    problems: list[tuple[str, str]] = []
    for index, constraint in enumerate(constraints):
        this, skew = f"{base}[{index}]", constraint.get("maxSkew") or 0
        key, action = constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""
        if skew <= 0:
            problems.append((f"{this}.maxSkew", _invalid(skew, "must be greater than zero")))
        if key:
            problems += _key(f"{this}.topologyKey", key)
        else:
            problems.append((f"{this}.topologyKey", "Required value: can not be empty"))
        if action not in SPREAD_ACTIONS:
            supported = ", ".join(f'"{name}"' for name in SPREAD_ACTIONS)
            problem = f'Unsupported value: "{action}": supported values: {supported}'
            problems.append((f"{this}.whenUnsatisfiable", problem))
        problems += label_selector(f"{base}.labelSelector", constraint.get("labelSelector") or {})
        pair = (key, action)
        if any(
            (other.get("topologyKey"), other.get("whenUnsatisfiable")) == pair for other in constraints[index + 1 :]
        ):
            field = f"{this}.{{topologyKey, whenUnsatisfiable}}"
            problems.append((field, f'Duplicate value: "{{{key}, {action}}}"'))
    for field, problem in problems:
        yield Cause(f"{field}: {problem}", field, INVALID)
