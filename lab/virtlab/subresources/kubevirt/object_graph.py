"""objectgraph: what a machine depends on. pkg/virt-api/rest/objectgraph.go; behind the ObjectGraph feature gate."""

from __future__ import annotations

from collections.abc import Iterator

from virtlab.admission.webhook import at, items
from virtlab.resource import Object
from virtlab.status import bad_request
from virtlab.subresources.kubevirt.request import config, instance, machine, on_instance, on_machine
from virtlab.subresources.registry import Answer, Call

DISABLED = "ObjectGraph feature gate not enabled: Unable to return object graph."
DEPENDENCY = "kubevirt.io/dependency-type"

# Kind: (API group, type of dependency).
KINDS = {
    "VirtualMachine": ("kubevirt.io", "compute"),
    "VirtualMachineInstance": ("kubevirt.io", "compute"),
    "Pod": ("", "compute"),
    "DataVolume": ("cdi.kubevirt.io", "storage"),
    "PersistentVolumeClaim": ("", "storage"),
    "ConfigMap": ("", "config"),
    "Secret": ("", "config"),
    "ServiceAccount": ("", "config"),
    "ControllerRevision": ("apps", "config"),
    "VirtualMachineInstancetype": ("instancetype.kubevirt.io", "config"),
    "VirtualMachineClusterInstancetype": ("instancetype.kubevirt.io", "config"),
    "VirtualMachinePreference": ("instancetype.kubevirt.io", "config"),
    "VirtualMachineClusterPreference": ("instancetype.kubevirt.io", "config"),
    "NetworkAttachmentDefinition": ("k8s.cni.cncf.io", "network"),
}
MATCHERS = {
    "instancetype": ("instancetypeRef", "VirtualMachineClusterInstancetype"),
    "preference": ("preferenceRef", "VirtualMachineClusterPreference"),
}
VOLUME_REFERENCES = (
    ("Secret", ("cloudInitNoCloud", "secretRef", "name")),
    ("Secret", ("cloudInitNoCloud", "networkDataSecretRef", "name")),
    ("Secret", ("cloudInitConfigDrive", "secretRef", "name")),
    ("Secret", ("cloudInitConfigDrive", "networkDataSecretRef", "name")),
    ("PersistentVolumeClaim", ("persistentVolumeClaim", "claimName")),
    ("ConfigMap", ("configMap", "name")),
    ("Secret", ("secret", "secretName")),
    ("ServiceAccount", ("serviceAccount", "serviceAccountName")),
)


def node(
    kind: str, name: str, namespace: str, children: list[Object] | None = None, *, optional: bool = False
) -> Object:
    group, dependency = KINDS[kind]
    found: Object = {
        "objectReference": {"apiGroup": group, "kind": kind, "name": name, "namespace": namespace},
        "labels": {DEPENDENCY: dependency},
    }
    if optional:
        found["optional"] = True
    if children:
        found["children"] = children
    return found


def _of_spec(spec: Object, namespace: str) -> Iterator[Object]:
    for credential in items(spec, "accessCredentials"):
        for kind in ("sshPublicKey", "userPassword"):
            secret = at(credential, kind, "source", "secret", "secretName")
            if secret:
                yield node("Secret", secret, namespace)
    for volume in items(spec, "volumes"):
        name = at(volume, "dataVolume", "name")
        if name:
            yield node("DataVolume", name, namespace, [node("PersistentVolumeClaim", name, namespace)])
        for kind, path in VOLUME_REFERENCES:
            reference = at(volume, *path)
            if reference:
                yield node(kind, reference, namespace)
    for network in items(spec, "networks"):
        home, _, name = str(at(network, "multus", "networkName") or "").rpartition("/")
        if name:
            yield node("NetworkAttachmentDefinition", name, home or namespace, optional=True)


def _of_matchers(vm: Object, namespace: str) -> Iterator[Object]:
    for field, (reference, default) in MATCHERS.items():
        matcher, status = vm["spec"].get(field), at(vm, "status", reference)
        if not matcher:
            continue
        wanted = str(matcher.get("kind") or default).lower()
        kind = next((name for name in KINDS if name.lower() == wanted), default)
        home = "" if "Cluster" in kind else namespace
        yield node(kind, matcher.get("name") or "", home, optional=True)
        revision = at(status, "controllerRevisionRef", "name") or (not status and matcher.get("revisionName"))
        if revision:
            yield node("ControllerRevision", revision, namespace)


def _launcher(call: Call) -> list[Object]:
    for entry in call.cluster.store.entries(("", "pods"), call.namespace):
        metadata = entry.object["metadata"]
        if (metadata.get("labels") or {}).get("kubevirt.io") != "virt-launcher":
            continue
        if (metadata.get("annotations") or {}).get("kubevirt.io/domain") == call.name:
            return [node("Pod", metadata["name"], call.namespace or "")]
    return []


def _answer(call: Call, root: str, children: list[Object]) -> Answer:
    return Answer(200, node(root, call.name, call.namespace or "", children))


@on_machine("objectgraph", "GET")
def of_machine(call: Call) -> Answer:
    if not config(call).gate("ObjectGraph"):
        raise bad_request(DISABLED)
    vm, namespace = machine(call), call.namespace or ""
    running = []
    if at(vm, "status", "created"):
        running = [node("VirtualMachineInstance", call.name, namespace, _launcher(call))]
    template = vm["spec"]["template"].get("spec") or {}
    return _answer(call, "VirtualMachine", [*running, *_of_matchers(vm, namespace), *_of_spec(template, namespace)])


@on_instance("objectgraph", "GET")
def of_instance(call: Call) -> Answer:
    if not config(call).gate("ObjectGraph"):
        raise bad_request(DISABLED)
    vmi = instance(call)
    return _answer(call, "VirtualMachineInstance", [*_launcher(call), *_of_spec(vmi["spec"], call.namespace or "")])
