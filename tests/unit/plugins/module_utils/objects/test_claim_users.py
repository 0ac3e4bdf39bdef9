"""Who has a claim as its disk, and when another machine may have it as well."""

from __future__ import annotations

from typing import Any, cast

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object, Resource
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_options import read_declaration
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_present import Policy, present
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

VOLUME = {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}


def machine(name: str, **metadata: Any) -> Object:
    spec = {"runStrategy": "Always", "template": {"spec": {"volumes": [VOLUME]}}}
    return {"kind": "VirtualMachine", "metadata": {"name": name, "namespace": "prod", **metadata}, "spec": spec}


class Written(Exception):
    """What was to be made was not refused."""


class Server:
    """It has machines, and takes no others."""

    def __init__(self, *machines: Object) -> None:
        self.machines = machines

    def list(self, resource: Resource, namespace: str, **_options: Any) -> Any:
        class Answer:
            items = [*self.machines] if resource.kind == "VirtualMachine" else []

        return Answer

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return {"kind": resource.kind, "metadata": {"name": name}}

    def apply(self, *_arguments: Any, **_options: Any) -> Object:
        raise Written


def declare(server: Server, **devices: Any) -> None:
    template = {"spec": {"domain": {"devices": devices}, "volumes": [VOLUME]}}
    options = {"name": "two", "namespace": "prod", "memory": "1Gi", "definition": {"spec": {"template": template}}}
    present(cast(Client, server), read_declaration({**options, "run_strategy": "Always"}), None, Policy())


@pytest.mark.parametrize("disk", [{"disk": {"bus": "virtio"}}, {"lun": {"bus": "scsi"}}, {}])
def test_a_disk_of_a_machine_that_is_about_to_start_is_refused(disk: Object) -> None:
    with pytest.raises(Failure, match="shared is the disk of VirtualMachine prod/one"):
        declare(Server(machine("one")), disks=[{"name": "data", **disk}])


@pytest.mark.parametrize(
    "devices",
    [
        {"disks": [{"name": "data", "disk": {}, "shareable": True}]},
        {"disks": [{"name": "data", "lun": {"bus": "scsi", "reservation": True}, "errorPolicy": "report"}]},
        {"disks": [{"name": "data", "cdrom": {"bus": "sata"}}]},
        {"filesystems": [{"name": "data", "virtiofs": {}}]},
    ],
)
def test_what_is_made_for_several_guests_is_theirs(devices: Object) -> None:
    with pytest.raises(Written):
        declare(Server(machine("one")), **devices)


def test_a_machine_that_is_being_deleted_starts_no_more() -> None:
    with pytest.raises(Written):
        declare(Server(machine("one", deletionTimestamp="2026-01-01T00:00:00Z")), disks=[{"name": "data", "disk": {}}])
