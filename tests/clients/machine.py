"""The virtual machine of these tests."""

from __future__ import annotations

from typing import Any

MACHINE: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "db"},
    "spec": {
        "runStrategy": "Halted",
        "template": {
            "metadata": {"labels": {"app": "db"}},
            "spec": {
                "domain": {
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                    "memory": {"guest": "1Gi"},
                },
                "volumes": [{"name": "root", "containerDisk": {"image": "registry.example/disk:1"}}],
            },
        },
    },
}
