"""The printer columns of built-in kinds: kubernetes' pkg/printers/internalversion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from virtlab.api.ages import age, duration
from virtlab.clock import parse_stamp
from virtlab.resource import Object

NONE = "<none>"


@dataclass(frozen=True)
class Column:
    """C(priority) 0 is always shown, 1 with -o wide."""

    name: str
    cell: Callable[[Object], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


def wide(name: str, cell: Callable[[Object], Any]) -> Column:
    return Column(name, cell, priority=1)


def _age(obj: Object) -> str:
    stamp = obj["metadata"].get("creationTimestamp")
    return age(stamp) if stamp else "<unknown>"


def at(path: str, absent: Any = "") -> Callable[[Object], Any]:
    """The value at a dotted path, C(absent) when there is none."""
    steps = path.split(".")

    def read(obj: Object) -> Any:
        value: Any = obj
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return absent if value in (None, "", []) else value

    return read


def _joined(values: Iterable[Any], absent: str = NONE) -> str:
    return ",".join(str(value) for value in values) or absent


def _pairs(path: str) -> Callable[[Object], str]:
    read = at(path, {})
    return lambda obj: _joined(f"{key}={value}" for key, value in sorted(read(obj).items()))


def _selector(obj: Object) -> str:
    selector = obj.get("spec", {}).get("selector") or {}
    structured = "matchLabels" in selector or "matchExpressions" in selector
    labels = selector.get("matchLabels", {}) if structured else selector
    return _joined(f"{key}={value}" for key, value in sorted(labels.items()))


def _count(path: str) -> Callable[[Object], int]:
    read = at(path, ())
    return lambda obj: len(read(obj))


AGE = Column("Age", _age)


# Pods


def _container_statuses(pod: Object) -> list[Object]:
    return list(pod.get("status", {}).get("containerStatuses") or ())


def _pod_ready(pod: Object) -> str:
    ready = sum(bool(status.get("ready")) for status in _container_statuses(pod))
    return f"{ready}/{len(pod.get('spec', {}).get('containers') or ())}"


def _pod_status(pod: Object) -> str:
    status = pod.get("status", {})
    reason = status.get("reason") or status.get("phase", "Unknown")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    initializing = _initializing(pod)
    if initializing:
        reason = initializing
    else:
        for container in reversed(_container_statuses(pod)):
            state = container.get("state") or {}
            if (state.get("waiting") or {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif "terminated" in state:
                ended = state["terminated"]
                reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode', 0)}"
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(reason)


def _initializing(pod: Object) -> str:
    containers = pod.get("status", {}).get("initContainerStatuses") or []
    for index, container in enumerate(containers):
        state = container.get("state") or {}
        if "terminated" in state and state["terminated"].get("exitCode", 0) == 0:
            continue
        if container.get("started") and container.get("ready"):
            continue
        if "terminated" in state:
            return f"Init:{state['terminated'].get('reason') or 'Error'}"
        waiting = (state.get("waiting") or {}).get("reason", "")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len(pod['spec'].get('initContainers') or containers)}"
    return ""


def _restarts(pod: Object) -> str:
    return str(sum(status.get("restartCount", 0) for status in _container_statuses(pod)))


def _readiness_gates(pod: Object) -> str:
    gates = [gate["conditionType"] for gate in pod.get("spec", {}).get("readinessGates") or ()]
    if not gates:
        return NONE
    conditions = {item["type"]: item["status"] for item in pod.get("status", {}).get("conditions") or ()}
    return f"{sum(conditions.get(gate) == 'True' for gate in gates)}/{len(gates)}"


# Nodes


def _node_status(node: Object) -> str:
    conditions = {item["type"]: item["status"] for item in node.get("status", {}).get("conditions") or ()}
    ready = conditions.get("Ready")
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if node.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


ROLE = "node-role.kubernetes.io/"


def _roles(node: Object) -> str:
    labels = node["metadata"].get("labels") or {}
    return _joined(sorted(key.removeprefix(ROLE) for key in labels if key.startswith(ROLE)))


def _address(kind: str) -> Callable[[Object], str]:
    def read(node: Object) -> str:
        addresses = node.get("status", {}).get("addresses") or ()
        return next((str(item["address"]) for item in addresses if item["type"] == kind), NONE)

    return read


# Volumes

MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(path: str) -> Callable[[Object], str]:
    read = at(path, ())
    return lambda obj: ",".join(MODES.get(mode, mode) for mode in read(obj))


def _claim_status(claim: Object) -> str:
    if claim["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str(claim.get("status", {}).get("phase", ""))


def _if_bound(path: str) -> Callable[[Object], Any]:
    read = at(path)
    return lambda claim: read(claim) if claim.get("spec", {}).get("volumeName") else ""


def _claim_of(volume: Object) -> str:
    claim = volume.get("spec", {}).get("claimRef") or {}
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _storage_class_name(item: Object) -> str:
    marked = (item["metadata"].get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    return f"{item['metadata']['name']}{' (default)' if marked else ''}"


# Services and events


def _external_address(service: Object) -> str:
    spec = service.get("spec", {})
    external = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "LoadBalancer":
            ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
            external = [item.get("ip") or item.get("hostname") for item in ingress] + external
            return _joined(external, "<pending>")
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return _joined(external)


def _ports(service: Object) -> str:
    return _joined(
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in service.get("spec", {}).get("ports") or ()
    )


def _since(*paths: str) -> Callable[[Object], str]:
    readers = [at(path) for path in paths]

    def read(event: Object) -> str:
        stamp = next((value for reader in readers if (value := reader(event))), "")
        return age(stamp) if stamp else "<unknown>"

    return read


def _involved(event: Object) -> str:
    about = event.get("involvedObject") or event.get("regarding") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _event_source(event: Object) -> str:
    source = event.get("source") or {}
    return ", ".join(filter(None, (source.get("component") or event.get("reportingComponent"), source.get("host"))))


def _endpoints(obj: Object) -> str:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return _joined(found[:3]) + more


# Workloads


def _ready_of(ready: str, wanted: str) -> Callable[[Object], str]:
    have, want = at(ready, 0), at(wanted, 0)
    return lambda obj: f"{have(obj)}/{want(obj)}"


def _containers(field: str) -> Callable[[Object], str]:
    def read(obj: Object) -> str:
        spec = obj.get("spec", {}).get("template", {}).get("spec", {})
        return _joined((item.get(field, "") for item in spec.get("containers") or ()), "")

    return read


IMAGES = (wide("Containers", _containers("name")), wide("Images", _containers("image")), wide("Selector", _selector))


def _job_duration(job: Object) -> str:
    status = job.get("status", {})
    if "startTime" not in status:
        return ""
    if "completionTime" not in status:
        return age(status["startTime"])
    taken = parse_stamp(status["completionTime"]) - parse_stamp(status["startTime"])
    return duration(int(taken.total_seconds()))


def _job_status(job: Object) -> str:
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return "Terminating" if job["metadata"].get("deletionTimestamp") else "Running"


def _role_reference(binding: Object) -> str:
    role = binding.get("roleRef", {})
    return f"{role.get('kind')}/{role.get('name')}"


def _subjects(kind: str) -> Callable[[Object], str]:
    def read(binding: Object) -> str:
        found = [item for item in binding.get("subjects") or () if item.get("kind") == kind]
        named = (f"{item['namespace']}/{item['name']}" if "namespace" in item else item["name"] for item in found)
        return ", ".join(named)

    return read


def _quota_usage(prefix: str) -> Callable[[Object], str]:
    def read(quota: Object) -> str:
        status = quota.get("status", {})
        hard, used = status.get("hard") or quota.get("spec", {}).get("hard") or {}, status.get("used") or {}
        wanted = [key for key in sorted(hard) if key.startswith("limits.") == (prefix == "limits.")]
        return ", ".join(f"{key}: {used.get(key, '0')}/{hard[key]}" for key in wanted)

    return read


CREATED = Column("Created At", lambda obj: obj["metadata"].get("creationTimestamp"), "date")
BINDING = (
    Column("Role", _role_reference),
    AGE,
    wide("Users", _subjects("User")),
    wide("Groups", _subjects("Group")),
    wide("ServiceAccounts", _subjects("ServiceAccount")),
)

# Columns after the name, by qualified resource.
BUILT_IN: dict[str, tuple[Column, ...]] = {
    "pods": (
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _restarts),
        AGE,
        wide("IP", at("status.podIP", NONE)),
        wide("Node", at("spec.nodeName", NONE)),
        wide("Nominated Node", at("status.nominatedNodeName", NONE)),
        wide("Readiness Gates", _readiness_gates),
    ),
    "nodes": (
        Column("Status", _node_status),
        Column("Roles", _roles),
        AGE,
        Column("Version", at("status.nodeInfo.kubeletVersion")),
        wide("Internal-IP", _address("InternalIP")),
        wide("External-IP", _address("ExternalIP")),
        wide("OS-Image", at("status.nodeInfo.osImage", "<unknown>")),
        wide("Kernel-Version", at("status.nodeInfo.kernelVersion", "<unknown>")),
        wide("Container-Runtime", at("status.nodeInfo.containerRuntimeVersion", "<unknown>")),
    ),
    "namespaces": (Column("Status", at("status.phase")), AGE),
    "secrets": (Column("Type", at("type")), Column("Data", _count("data")), AGE),
    "configmaps": (
        Column("Data", lambda obj: len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), "string"),
        AGE,
    ),
    "serviceaccounts": (AGE,),
    "services": (
        Column("Type", at("spec.type")),
        Column("Cluster-IP", at("spec.clusterIP", NONE)),
        Column("External-IP", _external_address),
        Column("Port(s)", _ports),
        AGE,
        wide("Selector", _selector),
    ),
    "endpoints": (Column("Endpoints", _endpoints), AGE),
    "events": (
        Column("Last Seen", _since("series.lastObservedTime", "lastTimestamp", "eventTime", "firstTimestamp")),
        Column("Type", at("type")),
        Column("Reason", at("reason")),
        Column("Object", _involved),
        wide("Subobject", at("involvedObject.fieldPath")),
        wide("Source", _event_source),
        Column("Message", lambda event: str(event.get("message", "")).strip()),
        wide("First Seen", _since("firstTimestamp", "eventTime")),
        wide("Count", lambda event: event.get("count") or 1),
        wide("Name", lambda event: event["metadata"]["name"]),
    ),
    "persistentvolumeclaims": (
        Column("Status", _claim_status),
        Column("Volume", at("spec.volumeName")),
        Column("Capacity", _if_bound("status.capacity.storage")),
        Column("Access Modes", _modes("status.accessModes")),
        Column("StorageClass", at("spec.storageClassName")),
        Column("VolumeAttributesClass", at("spec.volumeAttributesClassName", "<unset>")),
        AGE,
        wide("VolumeMode", at("spec.volumeMode", "Filesystem")),
    ),
    "persistentvolumes": (
        Column("Capacity", at("spec.capacity.storage")),
        Column("Access Modes", _modes("spec.accessModes")),
        Column("Reclaim Policy", at("spec.persistentVolumeReclaimPolicy")),
        Column("Status", _claim_status),
        Column("Claim", _claim_of),
        Column("StorageClass", at("spec.storageClassName")),
        Column("VolumeAttributesClass", at("spec.volumeAttributesClassName", "<unset>")),
        Column("Reason", at("status.reason")),
        AGE,
        wide("VolumeMode", at("spec.volumeMode", "Filesystem")),
    ),
    "resourcequotas": (Column("Request", _quota_usage("")), Column("Limit", _quota_usage("limits.")), AGE),
    "deployments.apps": (
        Column("Ready", _ready_of("status.readyReplicas", "spec.replicas")),
        Column("Up-to-date", at("status.updatedReplicas", 0)),
        Column("Available", at("status.availableReplicas", 0)),
        AGE,
        *IMAGES,
    ),
    "replicasets.apps": (
        Column("Desired", at("spec.replicas", 0), "integer"),
        Column("Current", at("status.replicas", 0), "integer"),
        Column("Ready", at("status.readyReplicas", 0), "integer"),
        AGE,
        *IMAGES,
    ),
    "statefulsets.apps": (Column("Ready", _ready_of("status.readyReplicas", "spec.replicas")), AGE, *IMAGES[:2]),
    "daemonsets.apps": (
        Column("Desired", at("status.desiredNumberScheduled", 0), "integer"),
        Column("Current", at("status.currentNumberScheduled", 0), "integer"),
        Column("Ready", at("status.numberReady", 0), "integer"),
        Column("Up-to-date", at("status.updatedNumberScheduled", 0), "integer"),
        Column("Available", at("status.numberAvailable", 0), "integer"),
        Column("Node Selector", _pairs("spec.template.spec.nodeSelector")),
        AGE,
        *IMAGES,
    ),
    "jobs.batch": (
        Column("Status", _job_status),
        Column("Completions", _ready_of("status.succeeded", "spec.completions")),
        Column("Duration", _job_duration),
        AGE,
        *IMAGES,
    ),
    "storageclasses.storage.k8s.io": (
        Column("Provisioner", at("provisioner")),
        Column("ReclaimPolicy", at("reclaimPolicy", "Delete")),
        Column("VolumeBindingMode", at("volumeBindingMode", "Immediate")),
        Column("AllowVolumeExpansion", at("allowVolumeExpansion", False)),
        AGE,
    ),
    "leases.coordination.k8s.io": (Column("Holder", at("spec.holderIdentity")), AGE),
    "priorityclasses.scheduling.k8s.io": (
        Column("Value", at("value", 0), "integer"),
        Column("Global-Default", at("globalDefault", False), "boolean"),
        AGE,
        Column("PreemptionPolicy", at("preemptionPolicy", "PreemptLowerPriority")),
    ),
    "poddisruptionbudgets.policy": (
        Column("Min Available", at("spec.minAvailable", "N/A")),
        Column("Max Unavailable", at("spec.maxUnavailable", "N/A")),
        Column("Allowed Disruptions", at("status.disruptionsAllowed", 0), "integer"),
        AGE,
    ),
    "networkpolicies.networking.k8s.io": (Column("Pod-Selector", _pairs("spec.podSelector.matchLabels")), AGE),
    "roles.rbac.authorization.k8s.io": (CREATED,),
    "clusterroles.rbac.authorization.k8s.io": (CREATED,),
    "rolebindings.rbac.authorization.k8s.io": BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": BINDING,
    "customresourcedefinitions.apiextensions.k8s.io": (CREATED,),
    "apiservices.apiregistration.k8s.io": (
        Column("Service", lambda obj: _joined(at("spec.service", {"name": "Local"})(obj).values())),
        Column("Available", lambda obj: "True"),
        AGE,
    ),
}
STORAGE_CLASS_NAME = Column("Name", _storage_class_name, format="name")
