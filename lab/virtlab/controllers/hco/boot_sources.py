"""Boot sources: which systems there are, and the import crons that HyperConverged asks SSP for. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from virtlab.controllers.hco.settings import setting
from virtlab.resource import Object

OS_IMAGES = "openshift-virtualization-os-images"


@dataclass(frozen=True)
class BootSource:
    """A system that is imported regularly; C(source) is the DataSource that VMs name."""

    source: str
    url: str
    preference: str
    instancetype: str = "u1.medium"


BOOT_SOURCES = (
    BootSource("centos-stream10", "docker://quay.io/containerdisks/centos-stream:10", "centos.stream10"),
    BootSource("centos-stream9", "docker://quay.io/containerdisks/centos-stream:9", "centos.stream9"),
    BootSource("fedora", "docker://quay.io/containerdisks/fedora:latest", "fedora"),
    BootSource("rhel10", "docker://registry.redhat.io/rhel10/rhel-guest-image", "rhel.10"),
    BootSource("rhel8", "docker://registry.redhat.io/rhel8/rhel-guest-image", "rhel.8"),
    BootSource("rhel9", "docker://registry.redhat.io/rhel9/rhel-guest-image", "rhel.9"),
)
# Shown without an image of their own: the administrator provides one.
EMPTY_SOURCES = {
    "win10": "windows.10",
    "win11": "windows.11",
    "win2k16": "windows.2k16",
    "win2k19": "windows.2k19",
    "win2k22": "windows.2k22",
    "win2k25": "windows.2k25",
}


def source_labels(instancetype: str, preference: str) -> dict[str, str]:
    return {
        "instancetype.kubevirt.io/default-instancetype": instancetype,
        "instancetype.kubevirt.io/default-preference": preference,
    }


def common_template(source: BootSource, namespace: str) -> Object:
    return {
        "metadata": {
            "name": f"{source.source}-image-cron",
            "namespace": namespace,
            "annotations": {"cdi.kubevirt.io/storage.bind.immediate.requested": "true"},
            "labels": source_labels(source.instancetype, source.preference),
        },
        "spec": {
            "schedule": "0 */12 * * *",
            "garbageCollect": "Outdated",
            "managedDataSource": source.source,
            "template": {
                "spec": {
                    "source": {"registry": {"url": source.url}},
                    "storage": {"resources": {"requests": {"storage": "30Gi"}}},
                }
            },
        },
    }


def cron_templates(hyperconverged: Object) -> list[Object]:
    """The common templates as the user changed them, and the user's own."""
    namespace = setting(hyperconverged, "boot_namespace", OS_IMAGES)
    templates: dict[str, Object] = {}
    if setting(hyperconverged, "boot_import", True):
        for source in BOOT_SOURCES:
            template = common_template(source, namespace)
            templates[template["metadata"]["name"]] = template
    for custom in setting(hyperconverged, "boot_templates", []):
        name = custom["metadata"]["name"]
        annotations = custom["metadata"].get("annotations") or {}
        if annotations.get("dataimportcrontemplate.kubevirt.io/enable", "true").lower() == "false":
            templates.pop(name, None)
        elif custom.get("spec"):
            metadata = {"namespace": namespace, **custom["metadata"]}
            templates[name] = {"metadata": metadata, "spec": custom["spec"]}
    return [templates[name] for name in sorted(templates)]


def template_statuses(hyperconverged: Object) -> list[Object]:
    """What HyperConverged shows in status.dataImportCronTemplates."""
    common = {f"{source.source}-image-cron" for source in BOOT_SOURCES}
    own = {item["metadata"]["name"] for item in setting(hyperconverged, "boot_templates", [])}
    result = []
    for template in cron_templates(hyperconverged):
        name = template["metadata"]["name"]
        status: Object = {}
        if name in common:
            status["commonTemplate"] = True
        if name in common and name in own:
            status["modified"] = True
        result.append({**template, "status": status})
    return result
