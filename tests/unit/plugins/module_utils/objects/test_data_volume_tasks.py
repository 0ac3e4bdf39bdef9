"""Clones from other namespaces, by users who may not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource
from ansible_collections.virtstack.core.plugins.module_utils.objects.cdi import DATA_VOLUME
from ansible_collections.virtstack.core.plugins.module_utils.objects.core import NAMESPACE
from ansible_collections.virtstack.core.plugins.module_utils.objects.data_volume_tasks import declare_volumes
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Result, Task
from ansible_collections.virtstack.core.plugins.modules.data_volume import SPEC

RBAC = "rbac.authorization.k8s.io"


def declared(client: Client, namespace: str, name: str, **given: Any) -> Result:
    options = {option: spec.get("default") for option, spec in SPEC.options.items()}
    return declare_volumes(client, Task({**options, "name": name, "namespace": namespace, **given}))


def grant(client: Client, namespace: str, user: str, group: str, resource: str, *verbs: str) -> None:
    metadata = {"name": f"{user}-{resource.replace('/', '-')}", "namespace": namespace}
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}]
    api = {"apiVersion": f"{RBAC}/v1", "metadata": metadata}
    client.create(Resource(RBAC, "v1", "roles", "Role"), {**api, "kind": "Role", "rules": rules})
    reference = {"apiGroup": RBAC, "kind": "Role", "name": metadata["name"]}
    subjects = [{"apiGroup": RBAC, "kind": "User", "name": user}]
    binding = {**api, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects}
    client.create(Resource(RBAC, "v1", "rolebindings", "RoleBinding"), binding)


def test_a_clone_across_namespaces_tells_which_right_is_missing(client: Client, namespace: str, lab: Any) -> None:
    images = f"{namespace}-images"
    client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": images}})
    blank = {"blank": True, "size": "16Mi", "bind_immediately": True, "wait": True, "wait_timeout": 60}
    declared(client, images, "golden", **blank)
    grant(client, namespace, "jane", DATA_VOLUME.group, "datavolumes", "get", "list", "watch", "create", "patch")
    grant(client, namespace, "jane", "", "persistentvolumeclaims", "get", "list", "watch")
    jane = connect({"kubeconfig": lab.kubeconfig, "impersonate_user": "jane"})
    clone = {"clone_pvc": {"name": "golden", "namespace": images}}
    told = (
        rf"Not allowed to clone PersistentVolumeClaim {images}/golden into namespace {namespace}\. Missing right: verb"
        rf" create on datavolumes/source.cdi.kubevirt.io, granted by a Role and a RoleBinding in namespace {images}"
    )
    with pytest.raises(Failure, match=told):
        declared(jane, namespace, "copy", **clone)
    assert client.get(DATA_VOLUME, "copy", namespace) is None
    grant(client, images, "jane", DATA_VOLUME.group, "datavolumes/source", "create")
    assert declared(jane, namespace, "copy", **clone)["changed"]
