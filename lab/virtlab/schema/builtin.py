"""Defaults of built-in kinds, written whenever an object is decoded: kubernetes' pkg/apis/*/v1/defaults.go.

What the server allocates or fills in on creation only is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from virtlab.resource import Object

Default = Callable[[Object], None]

_RBAC = "rbac.authorization.k8s.io"
_MODE = 0o644
_POD_SPEC: Object = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
}
_CONTAINER: Object = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_PROBE: Object = {"failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1}
_WEBHOOK: Object = {
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "namespaceSelector": {},
    "objectSelector": {},
    "timeoutSeconds": 10,
}

# Fields below spec (or at the top where a kind has no spec), filled in where they are missing.
_SPEC: dict[str, Object] = {
    "cronjobs.batch": {
        "concurrencyPolicy": "Allow",
        "failedJobsHistoryLimit": 1,
        "successfulJobsHistoryLimit": 3,
        "suspend": False,
    },
    "csidrivers.storage.k8s.io": {
        "attachRequired": True,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "podInfoOnMount": False,
        "requiresRepublish": False,
        "seLinuxMount": False,
        "storageCapacity": False,
        "volumeLifecycleModes": ["Persistent"],
    },
    "customresourcedefinitions.apiextensions.k8s.io": {"conversion": {"strategy": "None"}},
    "daemonsets.apps": {
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    },
    "deployments.apps": {
        "progressDeadlineSeconds": 600,
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
    },
    "horizontalpodautoscalers.autoscaling": {"minReplicas": 1},
    "jobs.batch": {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "TerminatingOrFailed",
        "suspend": False,
    },
    "persistentvolumeclaims": {"volumeMode": "Filesystem"},
    "persistentvolumes": {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"},
    "replicasets.apps": {"replicas": 1},
    "replicationcontrollers": {"replicas": 1},
    "services": {"sessionAffinity": "None", "type": "ClusterIP"},
    "statefulsets.apps": {
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "podManagementPolicy": "OrderedReady",
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
    },
}
_TOP: dict[str, Object] = {
    "priorityclasses.scheduling.k8s.io": {"preemptionPolicy": "PreemptLowerPriority"},
    "secrets": {"type": "Opaque"},
    "storageclasses.storage.k8s.io": {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
}


def default(qualified: str, obj: Object) -> None:
    """Fill in what kube-apiserver does for the built-in resource C(qualified), in place."""
    _fill(obj, _TOP.get(qualified, {}))
    if qualified in _SPEC:
        _fill(_part(obj, "spec"), _SPEC[qualified])
    further = _FURTHER.get(qualified)
    if further is not None:
        further(obj)


def _fill(part: Object, defaults: Object) -> None:
    for key, value in defaults.items():
        if part.get(key) is None:
            part[key] = {**value} if isinstance(value, dict) else value


def _part(obj: Object, *path: str) -> Object:
    """The object below C(path), made where it is missing; an empty one that nobody sees where something else is."""
    for step in path:
        below = obj.get(step)
        if below is None:
            below = obj[step] = {}
        obj = below if isinstance(below, dict) else {}
    return obj


def _objects(value: Any) -> Iterator[Object]:
    return (item for item in value or () if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _pod_spec(spec: Object) -> None:
    _fill(spec, _POD_SPEC)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in _objects(spec.get(field)):
            _container(container)
    for volume in _objects(spec.get("volumes")):
        _volume(volume)
    if spec.get("serviceAccountName") and not spec.get("serviceAccount"):
        spec["serviceAccount"] = spec["serviceAccountName"]


def _container(container: Object) -> None:
    _fill(container, _CONTAINER)
    image = str(container.get("image") or "")
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    _fill(container, {"imagePullPolicy": "Always" if latest else "IfNotPresent"})
    for port in _objects(container.get("ports")):
        _fill(port, {"protocol": "TCP"})
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if isinstance(probe, dict):
            _fill(probe, _PROBE)
            if isinstance(probe.get("httpGet"), dict):
                _fill(probe["httpGet"], {"path": "/", "scheme": "HTTP"})
    for variable in _objects(container.get("env")):
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if isinstance(reference, dict):
            _fill(reference, {"apiVersion": "v1"})


def _volume(volume: Object) -> None:
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if isinstance(volume.get(source), dict):
            _fill(volume[source], {"defaultMode": _MODE})
    if isinstance(volume.get("hostPath"), dict):
        _fill(volume["hostPath"], {"type": ""})
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}


def _pod(obj: Object) -> None:
    spec = _part(obj, "spec")
    _pod_spec(spec)
    _fill(spec, {"enableServiceLinks": True})
    for container in _objects(spec.get("containers")):
        resources = container.get("resources") or {}
        for name, amount in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, amount)


def _template(obj: Object) -> None:
    template = _part(obj, "spec").get("template")
    if isinstance(template, dict):
        _pod_spec(_part(template, "spec"))


def _stateful_set(obj: Object) -> None:
    _template(obj)
    for claim in _objects(_part(obj, "spec").get("volumeClaimTemplates")):
        _fill(claim, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}})
        _fill(_part(claim, "spec"), {"volumeMode": "Filesystem"})


def _cron_job(obj: Object) -> None:
    template = _part(obj, "spec").get("jobTemplate")
    if isinstance(template, dict):
        _template(template)


def _service(obj: Object) -> None:
    spec = _part(obj, "spec")
    for port in _objects(spec.get("ports")):
        _fill(port, {"protocol": "TCP"})
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port", 0)
    if spec.get("sessionAffinity") == "ClientIP":
        _fill(_part(spec, "sessionAffinityConfig", "clientIP"), {"timeoutSeconds": 10800})
    if spec["type"] != "ExternalName":
        _fill(spec, {"internalTrafficPolicy": "Cluster"})
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _fill(spec, {"externalTrafficPolicy": "Cluster"})
    if spec["type"] == "LoadBalancer":
        _fill(spec, {"allocateLoadBalancerNodePorts": True})


def _binding(obj: Object) -> None:
    _fill(_part(obj, "roleRef"), {"apiGroup": _RBAC})
    for subject in _objects(obj.get("subjects")):
        if subject.get("kind") in ("User", "Group"):
            _fill(subject, {"apiGroup": _RBAC})


def _network_policy(obj: Object) -> None:
    spec = _part(obj, "spec")
    _fill(spec, {"policyTypes": ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]})
    for field in ("ingress", "egress"):
        for rule in _objects(spec.get(field)):
            for port in _objects(rule.get("ports")):
                _fill(port, {"protocol": "TCP"})


def _webhooks(obj: Object) -> None:
    mutating = obj.get("kind") == "MutatingWebhookConfiguration"
    for webhook in _objects(obj.get("webhooks")):
        _fill(webhook, {**_WEBHOOK, **({"reinvocationPolicy": "Never"} if mutating else {})})
        for rule in _objects(webhook.get("rules")):
            _fill(rule, {"scope": "*"})
        service = (webhook.get("clientConfig") or {}).get("service")
        if isinstance(service, dict):
            _fill(service, {"port": 443})


def _definition(obj: Object) -> None:
    names = _part(obj, "spec", "names")
    kind = names.get("kind")
    if isinstance(kind, str) and kind:
        _fill(names, {"listKind": f"{kind}List", "singular": kind.lower()})


def _endpoints(obj: Object) -> None:
    for subset in _objects(obj.get("subsets")):
        for port in _objects(subset.get("ports")):
            _fill(port, {"protocol": "TCP"})


def _endpoint_slice(obj: Object) -> None:
    for port in _objects(obj.get("ports")):
        _fill(port, {"name": "", "protocol": "TCP"})


_FURTHER: dict[str, Default] = {
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "cronjobs.batch": _cron_job,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
    "daemonsets.apps": _template,
    "deployments.apps": _template,
    "endpoints": _endpoints,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "jobs.batch": _template,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "networkpolicies.networking.k8s.io": _network_policy,
    "pods": _pod,
    "replicasets.apps": _template,
    "replicationcontrollers": _template,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "services": _service,
    "statefulsets.apps": _stateful_set,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
}
