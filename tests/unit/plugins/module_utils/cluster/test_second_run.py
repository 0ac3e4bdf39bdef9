"""A second run of what the stack is made of changes nothing and writes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.declare import declare
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource

CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICE = Resource("", "v1", "services", "Service")
BINDING = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
DATA_VOLUME = Resource("cdi.kubevirt.io", "v1beta1", "datavolumes", "DataVolume")
ATTACHMENT = Resource("k8s.cni.cncf.io", "v1", "network-attachment-definitions", "NetworkAttachmentDefinition")

DECLARED = [
    (
        CLAIM,
        {
            "spec": {
                "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                "resources": {"requests": {"storage": "1024Mi"}},
                "volumeMode": "Block",
            }
        },
    ),
    (
        SERVICE,
        {
            "spec": {
                "selector": {"app": "db"},
                "ports": [{"port": 53, "name": "t"}, {"port": 53, "protocol": "UDP", "name": "u"}],
            }
        },
    ),
    (SERVICE, {"spec": {"clusterIP": "None", "selector": {}, "ports": []}}),
    (
        BINDING,
        {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "a", "namespace": "b"}],
        },
    ),
    (
        DEPLOYMENT,
        {
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "web",
                                "image": "nginx",
                                "args": ["-v"],
                                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
                                "ports": [{"containerPort": 80}],
                                "resources": {"limits": {"cpu": "1500m", "memory": "0.5Gi"}, "requests": {"cpu": 1}},
                                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                            }
                        ],
                        "volumes": [{"name": "v", "emptyDir": {}}],
                    },
                },
            }
        },
    ),
    (
        DATA_VOLUME,
        {
            "metadata": {"annotations": {"cdi.kubevirt.io/storage.bind.immediate.requested": "true"}},
            "spec": {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "2048Mi"}}}},
        },
    ),
    (ATTACHMENT, {"spec": {"config": '{"cniVersion": "0.3.1", "type": "bridge", "bridge": "br1"}'}}),
]


@pytest.mark.parametrize(("resource", "content"), DECLARED, ids=lambda value: getattr(value, "kind", ""))
def test_a_second_run_writes_nothing(
    client: Client,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    resource: Resource,
    content: dict[str, Any],
) -> None:
    metadata = {"name": namespace, "namespace": namespace, **content.get("metadata", {})}
    body = {**content, "metadata": metadata}
    assert declare(client, resource, body).action == "created"
    send = client._transport.send
    written: list[Any] = []

    def recording(asked: Any, method: str, path: str, **options: Any) -> Any:
        if method != "GET" and (options.get("query") or {}).get("dryRun") != "All":
            written.append(asked)
        return send(asked, method, path, **options)

    monkeypatch.setattr(client._transport, "send", recording)
    assert declare(client, resource, body).action == "unchanged"
    assert written == []
