"""Names of resources that no schema carries: plurals, short names, categories, subresources."""

from __future__ import annotations

# Where English and the CRD's author disagree with the rule of plural().
PLURALS: dict[tuple[str, str], str] = {
    ("", "Endpoints"): "endpoints",
    ("ceph.rook.io", "CephNFS"): "cephnfses",
    ("config.openshift.io", "DNS"): "dnses",
    ("k8s.cni.cncf.io", "NetworkAttachmentDefinition"): "network-attachment-definitions",
    ("metrics.k8s.io", "NodeMetrics"): "nodes",
    ("metrics.k8s.io", "PodMetrics"): "pods",
    ("operator.openshift.io", "DNS"): "dnses",
    ("security.openshift.io", "SecurityContextConstraints"): "securitycontextconstraints",
}

SHORT_NAMES: dict[str, tuple[str, ...]] = {
    "aaqs.aaq.kubevirt.io": ("aaq", "aaqs"),
    "alertmanagers.monitoring.coreos.com": ("am",),
    "catalogsources.operators.coreos.com": ("catsrc",),
    "cdis.cdi.kubevirt.io": ("cdi", "cdis"),
    "certificatesigningrequests.certificates.k8s.io": ("csr",),
    "clusteroperators.config.openshift.io": ("co",),
    "clusterserviceversions.operators.coreos.com": ("csv", "csvs"),
    "componentstatuses": ("cs",),
    "configmaps": ("cm",),
    "cronjobs.batch": ("cj",),
    "customresourcedefinitions.apiextensions.k8s.io": ("crd", "crds"),
    "daemonsets.apps": ("ds",),
    "dataimportcrons.cdi.kubevirt.io": ("dic", "dics"),
    "dataprotectionapplications.oadp.openshift.io": ("dpa",),
    "datasources.cdi.kubevirt.io": ("das",),
    "datavolumes.cdi.kubevirt.io": ("dv", "dvs"),
    "deploymentconfigs.apps.openshift.io": ("dc",),
    "deployments.apps": ("deploy",),
    "endpoints": ("ep",),
    "events": ("ev",),
    "events.events.k8s.io": ("ev",),
    "horizontalpodautoscalers.autoscaling": ("hpa",),
    "hostpathprovisioners.hostpathprovisioner.kubevirt.io": ("hpp", "hpps"),
    "hyperconvergeds.hco.kubevirt.io": ("hco", "hcos"),
    "imagestreams.image.openshift.io": ("is",),
    "imagestreamtags.image.openshift.io": ("istag",),
    "ingresses.networking.k8s.io": ("ing",),
    "installplans.operators.coreos.com": ("ip",),
    "ipaddresses.networking.k8s.io": ("ip",),
    "kubevirts.kubevirt.io": ("kv", "kvs"),
    "limitranges": ("limits",),
    "machineconfigpools.machineconfiguration.openshift.io": ("mcp",),
    "machineconfigs.machineconfiguration.openshift.io": ("mc",),
    "namespaces": ("ns",),
    "network-attachment-definitions.k8s.cni.cncf.io": ("net-attach-def",),
    "networkpolicies.networking.k8s.io": ("netpol",),
    "nodenetworkconfigurationenactments.nmstate.io": ("nnce",),
    "nodenetworkconfigurationpolicies.nmstate.io": ("nncp",),
    "nodenetworkstates.nmstate.io": ("nns",),
    "nodes": ("no",),
    "nodemaintenances.nodemaintenance.medik8s.io": ("nm",),
    "operatorconditions.operators.coreos.com": ("condition",),
    "operatorgroups.operators.coreos.com": ("og",),
    "persistentvolumeclaims": ("pvc",),
    "persistentvolumes": ("pv",),
    "poddisruptionbudgets.policy": ("pdb",),
    "podmonitors.monitoring.coreos.com": ("pmon",),
    "pods": ("po",),
    "priorityclasses.scheduling.k8s.io": ("pc",),
    "prometheuses.monitoring.coreos.com": ("prom",),
    "prometheusrules.monitoring.coreos.com": ("promrule",),
    "replicasets.apps": ("rs",),
    "replicationcontrollers": ("rc",),
    "resourcequotas": ("quota",),
    "securitycontextconstraints.security.openshift.io": ("scc",),
    "serviceaccounts": ("sa",),
    "servicemonitors.monitoring.coreos.com": ("smon",),
    "services": ("svc",),
    "statefulsets.apps": ("sts",),
    "storageclasses.storage.k8s.io": ("sc",),
    "subscriptions.operators.coreos.com": ("sub", "subs"),
    "virtualmachinebackups.backup.kubevirt.io": ("vmbackup", "vmbackups"),
    "virtualmachinebackuptrackers.backup.kubevirt.io": ("vmbackuptracker", "vmbackuptrackers"),
    "virtualmachineclones.clone.kubevirt.io": ("vmclone", "vmclones"),
    "virtualmachineclusterinstancetypes.instancetype.kubevirt.io": (
        "vmclusterinstancetype",
        "vmclusterinstancetypes",
        "vmcf",
        "vmcfs",
    ),
    "virtualmachineclusterpreferences.instancetype.kubevirt.io": ("vmcp", "vmcps"),
    "virtualmachineexports.export.kubevirt.io": ("vmexport", "vmexports"),
    "virtualmachineinstancemigrations.kubevirt.io": ("vmim", "vmims"),
    "virtualmachineinstancepresets.kubevirt.io": ("vmipreset", "vmipresets"),
    "virtualmachineinstancereplicasets.kubevirt.io": ("vmirs", "vmirss"),
    "virtualmachineinstances.kubevirt.io": ("vmi", "vmis"),
    "virtualmachineinstancetypes.instancetype.kubevirt.io": (
        "vminstancetype",
        "vminstancetypes",
        "vmf",
        "vmfs",
    ),
    "virtualmachinepools.pool.kubevirt.io": ("vmpool", "vmpools"),
    "virtualmachinepreferences.instancetype.kubevirt.io": ("vmpref", "vmprefs", "vmp", "vmps"),
    "virtualmachinerestores.snapshot.kubevirt.io": ("vmrestore", "vmrestores"),
    "virtualmachines.kubevirt.io": ("vm", "vms"),
    "virtualmachinesnapshotcontents.snapshot.kubevirt.io": ("vmsnapshotcontent", "vmsnapshotcontents"),
    "virtualmachinesnapshots.snapshot.kubevirt.io": ("vmsnapshot", "vmsnapshots"),
    "volumesnapshotclasses.snapshot.storage.k8s.io": ("vsclass", "vsclasses"),
    "volumesnapshotcontents.snapshot.storage.k8s.io": ("vsc", "vscs"),
    "volumesnapshots.snapshot.storage.k8s.io": ("vs",),
}

_ALL = ("all",)
CATEGORIES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "cronjobs.batch",
            "daemonsets.apps",
            "deployments.apps",
            "horizontalpodautoscalers.autoscaling",
            "jobs.batch",
            "pods",
            "replicasets.apps",
            "replicationcontrollers",
            "services",
            "statefulsets.apps",
            # CRDs
            "cdis.cdi.kubevirt.io",
            "datavolumes.cdi.kubevirt.io",
            "dataimportcrons.cdi.kubevirt.io",
            "datasources.cdi.kubevirt.io",
            "kubevirts.kubevirt.io",
            "virtualmachinebackups.backup.kubevirt.io",
            "virtualmachineclones.clone.kubevirt.io",
            "virtualmachineexports.export.kubevirt.io",
            "virtualmachineinstancemigrations.kubevirt.io",
            "virtualmachineinstancepresets.kubevirt.io",
            "virtualmachineinstancereplicasets.kubevirt.io",
            "virtualmachineinstances.kubevirt.io",
            "virtualmachineinstancetypes.instancetype.kubevirt.io",
            "virtualmachinepools.pool.kubevirt.io",
            "virtualmachinepreferences.instancetype.kubevirt.io",
            "virtualmachinerestores.snapshot.kubevirt.io",
            "virtualmachines.kubevirt.io",
            "virtualmachinesnapshotcontents.snapshot.kubevirt.io",
            "virtualmachinesnapshots.snapshot.kubevirt.io",
        ),
        _ALL,
    ),
    **dict.fromkeys(
        (
            "catalogsources.operators.coreos.com",
            "clusterserviceversions.operators.coreos.com",
            "installplans.operators.coreos.com",
            "operatorconditions.operators.coreos.com",
            "operatorgroups.operators.coreos.com",
            "subscriptions.operators.coreos.com",
        ),
        ("olm",),
    ),
    **dict.fromkeys(
        (
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            "validatingadmissionpolicies.admissionregistration.k8s.io",
            "validatingadmissionpolicybindings.admissionregistration.k8s.io",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            "customresourcedefinitions.apiextensions.k8s.io",
            "apiservices.apiregistration.k8s.io",
        ),
        ("api-extensions",),
    ),
}

_STATUS = frozenset({"status"})
_STATUS_SCALE = frozenset({"status", "scale"})

# Built-in kinds; of the rest see CRDS_WITHOUT_STATUS and CRDS_WITH_SCALE.
SUBRESOURCES: dict[str, frozenset[str]] = {
    "namespaces": frozenset({"status", "finalize"}),
    "nodes": frozenset({"status", "proxy"}),
    "persistentvolumeclaims": _STATUS,
    "persistentvolumes": _STATUS,
    "pods": frozenset(
        {
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
            "status",
        }
    ),
    "replicationcontrollers": _STATUS_SCALE,
    "resourcequotas": _STATUS,
    "serviceaccounts": frozenset({"token"}),
    "services": frozenset({"status", "proxy"}),
    "apiservices.apiregistration.k8s.io": _STATUS,
    "certificatesigningrequests.certificates.k8s.io": frozenset({"status", "approval"}),
    "cronjobs.batch": _STATUS,
    "customresourcedefinitions.apiextensions.k8s.io": _STATUS,
    "daemonsets.apps": _STATUS,
    "deployments.apps": _STATUS_SCALE,
    "flowschemas.flowcontrol.apiserver.k8s.io": _STATUS,
    "horizontalpodautoscalers.autoscaling": _STATUS,
    "ingresses.networking.k8s.io": _STATUS,
    "jobs.batch": _STATUS,
    "poddisruptionbudgets.policy": _STATUS,
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": _STATUS,
    "replicasets.apps": _STATUS_SCALE,
    "resourceclaims.resource.k8s.io": _STATUS,
    "servicecidrs.networking.k8s.io": _STATUS,
    "statefulsets.apps": _STATUS_SCALE,
    "validatingadmissionpolicies.admissionregistration.k8s.io": _STATUS,
    "volumeattachments.storage.k8s.io": _STATUS,
    "routes.route.openshift.io": _STATUS,
}

# CRDs whose objects have a status but whose status is no subresource.
CRDS_WITHOUT_STATUS = frozenset(
    {
        "cdiconfigs.cdi.kubevirt.io",
        "datavolumes.cdi.kubevirt.io",
        "virtualmachineinstances.kubevirt.io",
        "volumesnapshotclasses.snapshot.storage.k8s.io",
    }
)
CRDS_WITH_SCALE = frozenset(
    {
        "alertmanagers.monitoring.coreos.com",
        "prometheuses.monitoring.coreos.com",
        "virtualmachineinstancereplicasets.kubevirt.io",
        "virtualmachinepools.pool.kubevirt.io",
    }
)


def plural(group: str, kind: str) -> str:
    """The resource name of a kind: C(Ingress) is C(ingresses), C(NetworkPolicy) C(networkpolicies)."""
    known = PLURALS.get((group, kind))
    if known is not None:
        return known
    name = kind.lower()
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"
