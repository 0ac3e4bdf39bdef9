"""A VM that changes between being read and being written."""

from __future__ import annotations

import copy
from typing import Any, cast

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.errors import Conflict
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object, Resource
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_options import read_declaration
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_present import Policy, present

OWNED = {
    "f:spec": {
        "f:runStrategy": {},
        "f:template": {"f:spec": {"f:domain": {"f:memory": {"f:guest": {}}}}},
    }
}
LIVE: Object = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {
        "name": "db",
        "namespace": "prod",
        "uid": "u",
        "resourceVersion": "1",
        "managedFields": [
            {"manager": "virtstack", "operation": "Apply", "apiVersion": "kubevirt.io/v1", "fieldsV1": OWNED}
        ],
    },
    "spec": {"runStrategy": "Always", "template": {"spec": {"domain": {"memory": {"guest": "1Gi"}}}}},
}


class StoppedMeanwhile:
    """A server on which somebody stops the VM after the task has read it."""

    def __init__(self) -> None:
        self.held = copy.deepcopy(LIVE)
        self.held["metadata"].update(resourceVersion="2", managedFields=[])
        self.held["spec"]["runStrategy"] = "Halted"
        self.applied: list[Object] = []

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return copy.deepcopy(self.held)

    def apply(self, resource: Resource, body: Object, *, force: bool = False, dry_run: bool = False) -> Object:
        if body["metadata"].get("resourceVersion") != self.held["metadata"]["resourceVersion"]:
            words = "the object has been modified; please apply your changes to the latest version and try again"
            raise Conflict(words, code=409, server_message=words)
        self.applied.append(body)
        answer = copy.deepcopy(self.held)
        answer["metadata"]["labels"] = body["metadata"]["labels"]
        answer["spec"].update({key: value for key, value in body["spec"].items() if key == "runStrategy"})
        return answer


def test_a_label_edit_does_not_start_what_was_stopped_meanwhile() -> None:
    server = StoppedMeanwhile()
    options: dict[str, Any] = {"name": "db", "namespace": "prod", "memory": "1Gi", "labels": {"tier": "gold"}}
    result, vm = present(cast(Client, server), read_declaration(options), copy.deepcopy(LIVE), Policy())
    assert result["changed"]
    assert vm["spec"]["runStrategy"] == "Halted"
    assert all("runStrategy" not in body["spec"] for body in server.applied)
