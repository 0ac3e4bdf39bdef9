"""Virtual machines to try admission on."""

from __future__ import annotations

import copy
from typing import Any

SPEC: dict[str, Any] = {
    "runStrategy": "Halted",
    "template": {
        "metadata": {"labels": {"kubevirt.io/domain": "x"}},
        "spec": {
            "domain": {
                "devices": {
                    "disks": [{"disk": {"bus": "virtio"}, "name": "root"}],
                    "interfaces": [{"masquerade": {}, "name": "default"}],
                },
                "memory": {"guest": "1Gi"},
            },
            "networks": [{"name": "default", "pod": {}}],
            "volumes": [{"containerDisk": {"image": "registry.example/disk:1"}, "name": "root"}],
        },
    },
}
GONE = object()


def machine(name: str = "x", /, **spec: Any) -> dict[str, Any]:
    body = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name}}
    return {**body, "spec": {**copy.deepcopy(SPEC), **spec}}


def instance_spec(changes: dict[str, Any]) -> dict[str, Any]:
    """The template's spec with values put at dotted paths; numbers index lists, GONE takes a value out."""
    spec: dict[str, Any] = copy.deepcopy(SPEC["template"]["spec"])
    for path, value in changes.items():
        target: Any = spec
        *steps, last = path.split(".")
        for step in steps:
            target = target[int(step)] if step.isdigit() else target.setdefault(step, {})
        if value is GONE:
            del target[last]
        elif last.isdigit():
            target[int(last)] = value
        else:
            target[last] = value
    return spec
