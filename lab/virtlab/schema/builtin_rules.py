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
from virtlab.schema.quantity import QuantityError, parse
from virtlab.status import Cause

Rule = Callable[[Object, Object | None], Iterator[Cause]]

_CONFIG_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_PORT_TEXT = "must be between 1 and 65535, inclusive"
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_IMMUTABLE = "field is immutable"
_MARKED_IMMUTABLE = "field is immutable when `immutable` is set"
_CLAIM_TEXT = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_POD_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def problems(qualified: str, new: Object, old: Object | None) -> list[Cause]:
    """The causes for which the built-in resource C(qualified) is refused; C(old) on update."""
    rule = _RULES.get(qualified)
    return [] if rule is None else list(rule(new, old))


def _required(path: str, text: str = "") -> Cause:
    return Cause(f"Required value: {text}" if text else "Required value", path, "FieldValueRequired")


def _invalid(path: str, value: Any, text: str) -> Cause:
    return Cause(f"Invalid value: {quoted(value)}: {text}", path, "FieldValueInvalid")


def _forbidden(path: str, text: str) -> Cause:
    return Cause(f"Forbidden: {text}", path, "FieldValueForbidden")


def _duplicate(path: str, value: Any) -> Cause:
    return Cause(f"Duplicate value: {quoted(value)}", path, "FieldValueDuplicate")


def _supported(path: str, value: Any, known: Sequence[str]) -> Iterator[Cause]:
    if value not in known:
        listed = ", ".join(quoted(item) for item in known)
        yield Cause(f"Unsupported value: {quoted(value)}: supported values: {listed}", path, "FieldValueNotSupported")


def _unchanged(path: str, new: Any, old: Any, text: str = _IMMUTABLE) -> Iterator[Cause]:
    if new != old:
        yield _invalid(path, new, text)


# Configuration


def _config_keys(new: Object, fields: Iterable[str]) -> Iterator[Cause]:
    for field in fields:
        for key in sorted(new.get(field) or {}):
            if not _CONFIG_KEY.match(key) or key in (".", ".."):
                yield _invalid(f"{field}[{key}]", key, _CONFIG_KEY_TEXT)


def _marked_immutable(new: Object, old: Object | None, fields: Iterable[str]) -> Iterator[Cause]:
    if old is None or not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield _forbidden("immutable", _MARKED_IMMUTABLE)
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            yield _forbidden(field, _MARKED_IMMUTABLE)


def _config_map(new: Object, old: Object | None) -> Iterator[Cause]:
    fields = ("data", "binaryData")
    yield from _marked_immutable(new, old, fields)
    yield from _config_keys(new, fields)


def _secret(new: Object, old: Object | None) -> Iterator[Cause]:
    if old is not None:
        yield from _unchanged("type", new.get("type", ""), old.get("type", ""))
    yield from _marked_immutable(new, old, ("data",))
    yield from _config_keys(new, ("data",))
    needed = {"kubernetes.io/tls": ("tls.crt", "tls.key"), "kubernetes.io/dockerconfigjson": (".dockerconfigjson",)}
    for key in needed.get(str(new.get("type")), ()):
        if key not in (new.get("data") or {}):
            yield _required(f"data[{key}]")


# Services


def _service(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    kind = spec.get("type", "ClusterIP")
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports") or []
    if not ports and not headless and kind != "ExternalName":
        yield _required("spec.ports")
    yield from _service_ports(ports)
    yield from _supported("spec.sessionAffinity", spec.get("sessionAffinity", "None"), ("ClientIP", "None"))
    yield from _supported("spec.type", kind, ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    if kind == "ExternalName" and not spec.get("externalName"):
        yield _required("spec.externalName")
    was = ((old or {}).get("spec") or {}).get("clusterIP")
    if was and kind != "ExternalName" and spec.get("clusterIP") != was:
        yield _invalid("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set")
    elif spec.get("clusterIP") and not headless and not _is_address(spec["clusterIP"]):
        text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield _invalid("spec.clusterIPs[0]", spec["clusterIP"], text)


def _service_ports(ports: Sequence[Object]) -> Iterator[Cause]:
    names: set[str] = set()
    used: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        path, name = f"spec.ports[{index}]", port.get("name") or ""
        if not name and len(ports) > 1:
            yield _required(f"{path}.name")
        elif name in names:
            yield _duplicate(f"{path}.name", name)
        names.add(name)
        number = port.get("port", 0)
        if not 1 <= number <= 65535:
            yield _invalid(f"{path}.port", number, _PORT_TEXT)
        protocol = port.get("protocol", "TCP")
        yield from _supported(f"{path}.protocol", protocol, _PROTOCOLS)
        target = port.get("targetPort")
        if isinstance(target, int) and not 1 <= target <= 65535:
            yield _invalid(f"{path}.targetPort", target, _PORT_TEXT)
        if (protocol, number) in used:
            yield _duplicate(path, {"protocol": protocol, "port": number})
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
        yield _required("spec.accessModes", "at least 1 access mode is required")
    for mode in modes:
        yield from _supported("spec.accessModes", mode, _ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        text = "may not use ReadWriteOncePod with other access modes"
        yield _forbidden("spec.accessModes", text)
    size = _requested(spec)
    if size is None:
        yield _required("spec.resources[storage]")
    elif parse(size) <= 0:
        yield _invalid("spec.resources[storage]", size, "must be greater than zero")
    yield from _supported("spec.volumeMode", spec.get("volumeMode", "Filesystem"), ("Block", "Filesystem"))


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
        yield _forbidden("spec", _CLAIM_TEXT)
        return
    wanted, before = _requested(spec), _requested(was)
    if wanted is None or before is None:
        return
    try:
        shrinks = parse(wanted) < parse(before)
        capacity = parse(((old.get("status") or {}).get("capacity") or {}).get("storage") or before)
        if shrinks and parse(wanted) < capacity:
            text = "field can not be less than status.capacity"
            yield _forbidden("spec.resources.requests.storage", text)
    except QuantityError:
        return


def _storage_class(new: Object, old: Object | None) -> Iterator[Cause]:
    if not new.get("provisioner"):
        yield _required("provisioner")
    yield from _supported("reclaimPolicy", new.get("reclaimPolicy", "Delete"), ("Delete", "Retain"))
    modes = ("Immediate", "WaitForFirstConsumer")
    yield from _supported("volumeBindingMode", new.get("volumeBindingMode", "Immediate"), modes)
    if old is None:
        return
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        yield _forbidden("parameters", "updates to parameters are forbidden.")
    if new.get("provisioner") != old.get("provisioner"):
        yield _forbidden("provisioner", "updates to provisioner are forbidden.")
    if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
        yield _forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.")
    yield from _unchanged("volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))


# Workloads


def _pod(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    yield from _pod_spec(spec, "spec")
    if old is not None and _fixed(spec) != _fixed(old.get("spec") or {}):
        yield _forbidden("spec", _POD_TEXT)


def _fixed(spec: Object) -> Object:
    """A pod's spec without what may change."""
    fixed = {
        key: value
        for key, value in spec.items()
        if key not in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName")
        and key != "schedulingGates"
    }
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [{**container, "image": None} for container in fixed[field]]
    return fixed


def _pod_spec(spec: Object, path: str) -> Iterator[Cause]:
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    if not spec.get("containers"):
        yield _required(f"{path}.containers")
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield from _container(container, f"{path}.{field}[{index}]", seen, volumes)
    policies = ("Always", "OnFailure", "Never")
    yield from _supported(f"{path}.restartPolicy", spec.get("restartPolicy", "Always"), policies)


def _container(container: Object, path: str, seen: set[str], volumes: set[Any]) -> Iterator[Cause]:
    name = container.get("name") or ""
    if not name:
        yield _required(f"{path}.name")
    elif name in seen:
        yield _duplicate(f"{path}.name", name)
    seen.add(name)
    if not container.get("image"):
        yield _required(f"{path}.image")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        below = f"{path}.volumeMounts[{index}]"
        if not mount.get("mountPath"):
            yield _required(f"{below}.mountPath")
        if mount.get("name") not in volumes:
            yield Cause(f"Not found: {quoted(mount.get('name', ''))}", f"{below}.name", "FieldValueNotFound")
    for index, port in enumerate(container.get("ports") or ()):
        if not 1 <= port.get("containerPort", 0) <= 65535:
            yield _invalid(f"{path}.ports[{index}].containerPort", port.get("containerPort", 0), _PORT_TEXT)


def _workload(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    if spec.get("replicas", 0) < 0:
        yield _invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    selector = spec.get("selector")
    if selector is None:
        yield _required("spec.selector")
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield _invalid("spec.selector", selector, "empty selector is invalid for deployment")
    elif any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        yield _invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from _pod_spec((spec.get("template") or {}).get("spec") or {}, "spec.template.spec")
    if old is not None:
        yield from _unchanged("spec.selector", selector, (old.get("spec") or {}).get("selector"))


def _disruption_budget(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield _invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")


# Access


def _role(new: Object, old: Object | None) -> Iterator[Cause]:
    for index, rule in enumerate(new.get("rules") or ()):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            yield _required(f"{path}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            yield _required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield _required(f"{path}.resources", "resource rules must supply at least one resource")


def _role_binding(new: Object, old: Object | None) -> Iterator[Cause]:
    reference = new.get("roleRef") or {}
    yield from _supported("roleRef.kind", reference.get("kind", ""), ("Role", "ClusterRole"))
    if not reference.get("name"):
        yield _required("roleRef.name")
    yield from _bound(new, old)


def _cluster_role_binding(new: Object, old: Object | None) -> Iterator[Cause]:
    reference = new.get("roleRef") or {}
    yield from _supported("roleRef.kind", reference.get("kind", ""), ("ClusterRole",))
    if not reference.get("name"):
        yield _required("roleRef.name")
    yield from _bound(new, old)


def _bound(new: Object, old: Object | None) -> Iterator[Cause]:
    for index, subject in enumerate(new.get("subjects") or ()):
        path = f"subjects[{index}]"
        if not subject.get("name"):
            yield _required(f"{path}.name")
        yield from _supported(f"{path}.kind", subject.get("kind", ""), ("ServiceAccount", "User", "Group"))
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            yield _required(f"{path}.namespace")
    if old is not None:
        yield from _unchanged("roleRef", new.get("roleRef"), old.get("roleRef"), "cannot change roleRef")


def _definition(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    names = spec.get("names") or {}
    name, wanted = new["metadata"].get("name", ""), f"{names.get('plural', '')}.{spec.get('group', '')}"
    if name != wanted:
        yield _invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    for field in ("plural", "kind"):
        if not names.get(field):
            yield _required(f"spec.names.{field}")
    yield from _supported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced"))
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield _invalid("spec.versions", versions, text)
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            yield _required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")


_RULES: dict[str, Rule] = {
    "clusterrolebindings.rbac.authorization.k8s.io": _cluster_role_binding,
    "clusterroles.rbac.authorization.k8s.io": _role,
    "configmaps": _config_map,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
    "daemonsets.apps": _workload,
    "deployments.apps": _workload,
    "persistentvolumeclaims": _claim,
    "poddisruptionbudgets.policy": _disruption_budget,
    "pods": _pod,
    "replicasets.apps": _workload,
    "rolebindings.rbac.authorization.k8s.io": _role_binding,
    "roles.rbac.authorization.k8s.io": _role,
    "secrets": _secret,
    "services": _service,
    "statefulsets.apps": _workload,
    "storageclasses.storage.k8s.io": _storage_class,
}
