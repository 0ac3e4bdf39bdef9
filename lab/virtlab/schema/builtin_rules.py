"""What kube-apiserver's validation of built-in kinds refuses, with its wording: kubernetes' pkg/apis/*/validation.

Only the rules that people meet when they write virtual machines' surroundings are here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from virtlab.goformat import quoted
from virtlab.resource import Object
from virtlab.schema.causes import duplicate, forbidden, invalid, required, supported, unchanged
from virtlab.schema.pod_rules import PORT_TEXT, PROTOCOLS, pod, pod_spec
from virtlab.schema.quantity import QuantityError, parse
from virtlab.status import Cause

Rule = Callable[[Object, Object | None], Iterator[Cause]]

_CONFIG_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_MARKED_IMMUTABLE = "field is immutable when `immutable` is set"
_CLAIM_TEXT = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def problems(qualified: str, new: Object, old: Object | None) -> list[Cause]:
    """The causes for which the built-in resource C(qualified) is refused; C(old) on update."""
    rule = _RULES.get(qualified)
    return [] if rule is None else list(rule(new, old))


# Configuration


def _config_keys(new: Object, fields: Iterable[str]) -> Iterator[Cause]:
    for field in fields:
        for key in sorted(new.get(field) or {}):
            if not _CONFIG_KEY.match(key) or key in (".", ".."):
                yield invalid(f"{field}[{key}]", key, _CONFIG_KEY_TEXT)


def _marked_immutable(new: Object, old: Object | None, fields: Iterable[str]) -> Iterator[Cause]:
    if old is None or not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield forbidden("immutable", _MARKED_IMMUTABLE)
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            yield forbidden(field, _MARKED_IMMUTABLE)


def _config_map(new: Object, old: Object | None) -> Iterator[Cause]:
    fields = ("data", "binaryData")
    yield from _marked_immutable(new, old, fields)
    yield from _config_keys(new, ("data",))
    for key in sorted((new.get("data") or {}).keys() & (new.get("binaryData") or {}).keys()):
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    yield from _config_keys(new, ("binaryData",))


# What secrets of a type must hold.
SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _secret(new: Object, old: Object | None) -> Iterator[Cause]:
    if old is not None:
        yield from unchanged("type", new.get("type", ""), old.get("type", ""))
    yield from _marked_immutable(new, old, ("data",))
    yield from _config_keys(new, ("data",))
    for key in SECRET_KEYS.get(str(new.get("type")), ()):
        if key not in (new.get("data") or {}):
            yield required(f"data[{key}]")


# Services


def _service(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    kind = spec.get("type", "ClusterIP")
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports") or []
    if not ports and not headless and kind != "ExternalName":
        yield required("spec.ports")
    yield from _service_ports(ports)
    yield from supported("spec.sessionAffinity", spec.get("sessionAffinity", "None"), ("ClientIP", "None"))
    yield from supported("spec.type", kind, ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    if kind == "ExternalName" and not spec.get("externalName"):
        yield required("spec.externalName")
    was = ((old or {}).get("spec") or {}).get("clusterIP")
    if was and kind != "ExternalName" and spec.get("clusterIP") != was:
        yield invalid("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set")
    elif spec.get("clusterIP") and not headless and not _is_address(spec["clusterIP"]):
        text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield invalid("spec.clusterIPs[0]", spec["clusterIP"], text)


def _service_ports(ports: Sequence[Object]) -> Iterator[Cause]:
    names: set[str] = set()
    used: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        path, name = f"spec.ports[{index}]", port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{path}.name")
        elif name in names:
            yield duplicate(f"{path}.name", name)
        names.add(name)
        number = port.get("port", 0)
        if not 1 <= number <= 65535:
            yield invalid(f"{path}.port", number, PORT_TEXT)
        protocol = port.get("protocol", "TCP")
        yield from supported(f"{path}.protocol", protocol, PROTOCOLS)
        target = port.get("targetPort")
        if isinstance(target, int) and not 1 <= target <= 65535:
            yield invalid(f"{path}.targetPort", target, PORT_TEXT)
        if (protocol, number) in used:
            yield duplicate(path, {"protocol": protocol, "port": number})
        used.add((protocol, number))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# Storage


def _claim(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    if old is not None:
        yield from _claim_update(new, old)
        return
    modes = spec.get("accessModes") or []
    if not modes:
        yield required("spec.accessModes", "at least 1 access mode is required")
    for mode in modes:
        yield from supported("spec.accessModes", mode, _ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        text = "may not use ReadWriteOncePod with other access modes"
        yield forbidden("spec.accessModes", text)
    size = _requested(spec)
    if size is None:
        yield required("spec.resources[storage]")
    elif parse(size) <= 0:
        yield invalid("spec.resources[storage]", size, "must be greater than zero")
    yield from supported("spec.volumeMode", spec.get("volumeMode", "Filesystem"), ("Block", "Filesystem"))


def _requested(spec: Object) -> str | None:
    size: str | None = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    return size


def _claim_update(new: Object, old: Object) -> Iterator[Cause]:
    spec, was = new.get("spec") or {}, old.get("spec") or {}
    bound = (old.get("status") or {}).get("phase") == "Bound"
    mutable = {"resources"} if bound else set()
    # A claim is bound by writing the volume's name.
    mutable |= {"volumeAttributesClassName", *(() if was.get("volumeName") else ("volumeName",))}
    if not was.get("storageClassName"):
        mutable.add("storageClassName")
    if {k: v for k, v in spec.items() if k not in mutable} != {k: v for k, v in was.items() if k not in mutable}:
        yield forbidden("spec", _CLAIM_TEXT)
        return
    wanted, before = _requested(spec), _requested(was)
    if wanted is None or before is None:
        return
    try:
        shrinks = parse(wanted) < parse(before)
        capacity = parse(((old.get("status") or {}).get("capacity") or {}).get("storage") or before)
        if shrinks and parse(wanted) < capacity:
            text = "field can not be less than status.capacity"
            yield forbidden("spec.resources.requests.storage", text)
    except QuantityError:
        return


def _storage_class(new: Object, old: Object | None) -> Iterator[Cause]:
    if not new.get("provisioner"):
        yield required("provisioner")
    yield from supported("reclaimPolicy", new.get("reclaimPolicy", "Delete"), ("Delete", "Retain"))
    modes = ("Immediate", "WaitForFirstConsumer")
    yield from supported("volumeBindingMode", new.get("volumeBindingMode", "Immediate"), modes)
    if old is None:
        return
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        yield forbidden("parameters", "updates to parameters are forbidden.")
    if new.get("provisioner") != old.get("provisioner"):
        yield forbidden("provisioner", "updates to provisioner are forbidden.")
    if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
        yield forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.")
    yield from unchanged("volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))


# Workloads


def _workload(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    for field in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        if (spec.get(field) or 0) < 0:
            yield invalid(f"spec.{field}", spec[field], "must be greater than or equal to 0")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield invalid("spec.selector", selector, "empty selector is invalid for deployment")
    wanted = (selector or {}).get("matchLabels") or {}
    if selector is None or any((labels or {}).get(key) != value for key, value in wanted.items()):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from pod_spec((spec.get("template") or {}).get("spec") or {}, "spec.template.spec")
    if old is not None:
        yield from unchanged("spec.selector", selector, (old.get("spec") or {}).get("selector"))


def _deployment(new: Object, old: Object | None) -> Iterator[Cause]:
    yield from _workload(new, old)
    spec = new.get("spec") or {}
    strategy = spec.get("strategy") or {}
    if strategy.get("type", "RollingUpdate") not in ("Recreate", "RollingUpdate"):
        shown = quoted({"Type": strategy["type"], "RollingUpdate": strategy.get("rollingUpdate")})
        text = f'Unsupported value: {shown}: supported values: "Recreate", "RollingUpdate"'
        yield Cause(text, "spec.strategy", "FieldValueNotSupported")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _job(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = ((new.get("spec") or {}).get("template") or {}).get("spec") or {}
    yield from pod_spec(spec, "spec.template.spec")
    if spec.get("restartPolicy", "Always") == "Always":
        yield required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _network_policy(new: Object, old: Object | None) -> Iterator[Cause]:
    for index, kind in enumerate((new.get("spec") or {}).get("policyTypes") or ()):
        yield from supported(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress"))


def _event(new: Object, old: Object | None) -> Iterator[Cause]:
    about = (new.get("involvedObject") or {}).get("namespace")
    if about and about != new["metadata"].get("namespace"):
        yield invalid("involvedObject.namespace", about, "does not match event.namespace")


def _disruption_budget(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")


# Access


def _namespaced_role(new: Object, old: Object | None) -> Iterator[Cause]:
    for index, rule in enumerate(new.get("rules") or ()):
        if paths := rule.get("nonResourceURLs"):
            text = "namespaced rules cannot apply to non-resource URLs"
            yield invalid(f"rules[{index}].nonResourceURLs", paths, text)
    yield from _role(new, old)


def _role(new: Object, old: Object | None) -> Iterator[Cause]:
    for index, rule in enumerate(new.get("rules") or ()):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def _role_binding(new: Object, old: Object | None) -> Iterator[Cause]:
    reference = new.get("roleRef") or {}
    yield from supported("roleRef.kind", reference.get("kind", ""), ("Role", "ClusterRole"))
    if not reference.get("name"):
        yield required("roleRef.name")
    yield from _bound(new, old, namespaced=True)


def _cluster_role_binding(new: Object, old: Object | None) -> Iterator[Cause]:
    reference = new.get("roleRef") or {}
    yield from supported("roleRef.kind", reference.get("kind", ""), ("ClusterRole",))
    if not reference.get("name"):
        yield required("roleRef.name")
    yield from _bound(new, old)


_ROLE_REF = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))


def _bound(new: Object, old: Object | None, *, namespaced: bool = False) -> Iterator[Cause]:
    for index, subject in enumerate(new.get("subjects") or ()):
        path = f"subjects[{index}]"
        if not subject.get("name"):
            yield required(f"{path}.name")
        yield from supported(f"{path}.kind", subject.get("kind", ""), ("ServiceAccount", "User", "Group"))
        if subject.get("kind") == "ServiceAccount" and not (namespaced or subject.get("namespace")):
            yield required(f"{path}.namespace")
    if old is not None:
        # The server's own type has no JSON names.
        now, was = (
            {title: (binding.get("roleRef") or {}).get(field, "") for title, field in _ROLE_REF}
            for binding in (new, old)
        )
        yield from unchanged("roleRef", now, was, "cannot change roleRef")


def _definition(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    names = spec.get("names") or {}
    name, wanted = new["metadata"].get("name", ""), f"{names.get('plural', '')}.{spec.get('group', '')}"
    if name != wanted:
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    for field in ("plural", "kind"):
        if not names.get(field):
            yield required(f"spec.names.{field}")
    yield from supported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced"))
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid("spec.versions", versions, text)
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")


_RULES: dict[str, Rule] = {
    "clusterrolebindings.rbac.authorization.k8s.io": _cluster_role_binding,
    "clusterroles.rbac.authorization.k8s.io": _role,
    "configmaps": _config_map,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
    "daemonsets.apps": _workload,
    "deployments.apps": _deployment,
    "events": _event,
    "jobs.batch": _job,
    "networkpolicies.networking.k8s.io": _network_policy,
    "persistentvolumeclaims": _claim,
    "poddisruptionbudgets.policy": _disruption_budget,
    "pods": pod,
    "replicasets.apps": _workload,
    "rolebindings.rbac.authorization.k8s.io": _role_binding,
    "roles.rbac.authorization.k8s.io": _namespaced_role,
    "secrets": _secret,
    "services": _service,
    "statefulsets.apps": _workload,
    "storageclasses.storage.k8s.io": _storage_class,
}
