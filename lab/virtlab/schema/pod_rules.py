"""What kube-apiserver's validation of pods refuses, and of the templates that pods are made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from virtlab.goformat import quoted
from virtlab.names import label_key_problems, label_problems
from virtlab.resource import Object
from virtlab.schema.causes import duplicate, forbidden, invalid, required, supported
from virtlab.schema.quantity import parse
from virtlab.status import Cause

PORT_TEXT = "must be between 1 and 65535, inclusive"
PROTOCOLS = ("SCTP", "TCP", "UDP")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_POD_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod(new: Object, old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    yield from pod_spec(spec, "spec")
    if old is not None and _fixed(spec) != _fixed(old.get("spec") or {}):
        yield forbidden("spec", _POD_TEXT)


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


def pod_spec(spec: Object, path: str) -> Iterator[Cause]:
    volumes: set[Any] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        if not volume.get("name"):
            yield required(f"{path}.volumes[{index}].name")
        elif volume["name"] in volumes:
            yield duplicate(f"{path}.volumes[{index}].name", volume["name"])
        volumes.add(volume.get("name"))
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield from _container(container, f"{path}.{field}[{index}]", seen, volumes)
    policies = ("Always", "OnFailure", "Never")
    yield from supported(f"{path}.restartPolicy", spec.get("restartPolicy", "Always"), policies)
    yield from supported(f"{path}.dnsPolicy", spec.get("dnsPolicy", "ClusterFirst"), DNS_POLICIES)
    for key in sorted(spec.get("nodeSelector") or ()):
        for problem in label_key_problems(key):
            yield invalid(f"{path}.nodeSelector", key, problem)


def _container(container: Object, path: str, seen: set[str], volumes: set[Any]) -> Iterator[Cause]:
    name = container.get("name") or ""
    if not name:
        yield required(f"{path}.name")
    elif name in seen:
        yield duplicate(f"{path}.name", name)
    else:
        for problem in label_problems(name):
            yield invalid(f"{path}.name", name, problem)
    seen.add(name)
    if not container.get("image"):
        yield required(f"{path}.image")
    for index, port in enumerate(container.get("ports") or ()):
        if not 1 <= port.get("containerPort", 0) <= 65535:
            yield invalid(f"{path}.ports[{index}].containerPort", port.get("containerPort", 0), PORT_TEXT)
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield required(f"{path}.env[{index}].name")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        below = f"{path}.volumeMounts[{index}]"
        if mount.get("name") not in volumes:
            yield Cause(f"Not found: {quoted(mount.get('name', ''))}", f"{below}.name", "FieldValueNotFound")
        if not mount.get("mountPath"):
            yield required(f"{below}.mountPath")
    policies = ("Always", "IfNotPresent", "Never")
    yield from supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy", "Always"), policies)
    yield from _amounts(container.get("resources") or {}, f"{path}.resources")


def _amounts(resources: Object, path: str) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for name, amount in sorted((resources.get("requests") or {}).items()):
        limit = limits.get(name)
        if limit is not None and parse(amount) > parse(limit):
            yield invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {limit}")
