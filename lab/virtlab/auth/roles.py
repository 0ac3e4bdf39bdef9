"""The roles that every cluster has (kubernetes' bootstrap policy), and those that KubeVirt and CDI bring.

A table row is (API group, resources, verbs), each a blank-separated list; the objects are built from them.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.resource import Object

Row = tuple[str, str, str]

API_VERSION = "rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
KUBEVIRT = {"kubevirt.io": ""}
CDI = {"cdi.kubevirt.io": "", "operator.cdi.kubevirt.io": ""}

READ = "get list watch"
WRITE = "create delete deletecollection patch update"
ALL_VERBS = "get delete create update patch list watch deletecollection"
EDIT_VERBS = "get delete create update patch list watch"


def rules(rows: Iterable[Row]) -> list[Object]:
    return [
        {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
        for group, resources, verbs in rows
    ]


def paths(*urls: str) -> Object:
    return {"nonResourceURLs": list(urls), "verbs": ["get"]}


def cluster_role(name: str, content: list[Object], labels: dict[str, str], *, aggregates: str = "") -> Object:
    """C(aggregates): collects the roles whose labels aggregate to that name."""
    metadata: Object = {"name": name, "labels": labels}
    if labels.items() >= BOOTSTRAPPING.items():
        metadata["annotations"] = AUTOUPDATE
    role: Object = {"apiVersion": API_VERSION, "kind": "ClusterRole", "metadata": metadata, "rules": content}
    if aggregates:
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {AGGREGATE + aggregates: "true"}}]}
    return role


def cluster_role_binding(name: str, labels: dict[str, str], *groups: str, role: str = "") -> Object:
    subjects = [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups]
    return {
        "apiVersion": API_VERSION,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": labels, "annotations": AUTOUPDATE},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role or name},
        "subjects": subjects,
    }


# Kubernetes

WORKLOADS: list[tuple[str, str, str]] = [
    (
        "apps",
        "daemonsets deployments replicasets statefulsets",
        "deployments/scale replicasets/scale statefulsets/scale",
    ),
    ("autoscaling", "horizontalpodautoscalers", ""),
    ("batch", "cronjobs jobs", ""),
    ("networking.k8s.io", "ingresses networkpolicies", ""),
    ("policy", "poddisruptionbudgets", ""),
]
CORE_OBJECTS = "configmaps endpoints events persistentvolumeclaims pods replicationcontrollers serviceaccounts services"

VIEW: list[Row] = [
    ("", f"{CORE_OBJECTS} services/status pods/log pods/status persistentvolumeclaims/status", READ),
    ("", "bindings limitranges namespaces namespaces/status resourcequotas resourcequotas/status", READ),
    ("discovery.k8s.io", "endpointslices", READ),
    *((group, f"{resources} {scales}".strip(), READ) for group, resources, scales in WORKLOADS),
]
EDIT: list[Row] = [
    ("", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", READ),
    ("", "serviceaccounts", "impersonate"),
    ("", "pods pods/attach pods/exec pods/portforward pods/proxy", WRITE),
    ("", "pods/eviction", "create"),
    ("", f"{CORE_OBJECTS.replace(' pods', '')} secrets services/proxy", WRITE),
    ("", "serviceaccounts/token", "create"),
    *((group, f"{resources} {scales}".strip(), WRITE) for group, resources, scales in WORKLOADS),
    ("coordination.k8s.io", "leases", f"{WRITE} {READ}"),
]
ADMIN: list[Row] = [
    ("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    ("rbac.authorization.k8s.io", "rolebindings roles", f"{WRITE} {READ}"),
]
BASIC_USER: list[Row] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
    ("authentication.k8s.io", "selfsubjectreviews", "create"),
]
HEALTH = ("/healthz", "/livez", "/readyz", "/version", "/version/")
DISCOVERY = (
    "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version",
    "/version/",
)  # fmt: skip


def kubernetes_roles() -> list[Object]:
    """The ClusterRoles and ClusterRoleBindings of a new cluster."""
    everything = [*rules([("*", "*", "*")]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    aggregated = {"admin": ADMIN, "edit": EDIT, "view": VIEW}
    levels: dict[str, dict[str, str]] = {
        "admin": {},
        "edit": {AGGREGATE + "admin": "true"},
        "view": {AGGREGATE + "edit": "true"},
    }
    roles = [
        cluster_role("cluster-admin", everything, BOOTSTRAPPING),
        *(cluster_role(level, [], {**BOOTSTRAPPING, **labels}, aggregates=level) for level, labels in levels.items()),
        *(
            cluster_role(f"system:aggregate-to-{level}", rules(rows), {**BOOTSTRAPPING, AGGREGATE + level: "true"})
            for level, rows in aggregated.items()
        ),
        cluster_role("system:basic-user", rules(BASIC_USER), BOOTSTRAPPING),
        cluster_role("system:discovery", [paths(*DISCOVERY)], BOOTSTRAPPING),
        cluster_role("system:public-info-viewer", [paths(*HEALTH)], BOOTSTRAPPING),
        cluster_role(
            "system:service-account-issuer-discovery",
            [paths("/.well-known/openid-configuration", "/openid/v1/jwks")],
            BOOTSTRAPPING,
        ),
        cluster_role(
            "system:auth-delegator",
            rules(
                [
                    ("authentication.k8s.io", "tokenreviews", "create"),
                    ("authorization.k8s.io", "subjectaccessreviews", "create"),
                ]
            ),
            BOOTSTRAPPING,
        ),
    ]
    bindings = [
        cluster_role_binding("cluster-admin", BOOTSTRAPPING, "system:masters"),
        cluster_role_binding("system:basic-user", BOOTSTRAPPING, "system:authenticated"),
        cluster_role_binding("system:discovery", BOOTSTRAPPING, "system:authenticated"),
        cluster_role_binding(
            "system:public-info-viewer", BOOTSTRAPPING, "system:authenticated", "system:unauthenticated"
        ),
        cluster_role_binding("system:service-account-issuer-discovery", BOOTSTRAPPING, "system:serviceaccounts"),
    ]
    return roles + bindings


# KubeVirt: pkg/virt-operator/resource/generate/rbac/cluster.go

SUBRESOURCES = "subresources.kubevirt.io"


def _below(resource: str, names: str) -> str:
    return " ".join(f"{resource}/{name}" for name in names.split())


VM_READ = _below("virtualmachines", "expand-spec objectgraph")
VM_CONNECT = _below("virtualmachines", "portforward")
VM_ACT = _below(
    "virtualmachines", "start stop restart addvolume removevolume memorydump removememorydump evacuate/cancel"
)
VMI_READ = _below(
    "virtualmachineinstances",
    "guestosinfo filesystemlist userlist sev/fetchcertchain sev/querylaunchmeasurement objectgraph",
)
VMI_CONNECT = _below("virtualmachineinstances", "console vnc vnc/screenshot portforward usbredir")
VMI_ACT = _below(
    "virtualmachineinstances",
    "pause unpause addvolume removevolume freeze unfreeze softreboot reset sev/setupsession sev/injectlaunchsecret "
    "evacuate/cancel",
)
INSTANCETYPES = "virtualmachineinstancetypes virtualmachineclusterinstancetypes"
PREFERENCES = "virtualmachinepreferences virtualmachineclusterpreferences"
CLUSTER_WIDE_TYPES = "virtualmachineclusterinstancetypes virtualmachineclusterpreferences"

KUBEVIRT_OBJECTS: list[tuple[str, str]] = [
    ("kubevirt.io", "virtualmachines virtualmachineinstances virtualmachineinstancepresets"
                    " virtualmachineinstancereplicasets"),
    ("snapshot.kubevirt.io", "virtualmachinesnapshots virtualmachinesnapshotcontents virtualmachinerestores"),
    ("backup.kubevirt.io", "virtualmachinebackups virtualmachinebackuptrackers"),
    ("export.kubevirt.io", "virtualmachineexports"),
    ("clone.kubevirt.io", "virtualmachineclones"),
    ("instancetype.kubevirt.io", f"{INSTANCETYPES} {PREFERENCES}"),
    ("pool.kubevirt.io", "virtualmachinepools"),
]  # fmt: skip
READ_ONLY_OBJECTS: list[Row] = [
    ("kubevirt.io", "virtualmachineinstancemigrations", READ),
    ("migrations.kubevirt.io", "migrationpolicies", READ),
]
EXPAND: Row = (SUBRESOURCES, "expand-vm-spec", "update")


def _kubevirt_changing(verbs: str) -> list[Row]:
    return [
        (SUBRESOURCES, f"{VMI_READ} {VMI_CONNECT} {VM_READ} {VM_CONNECT}", "get"),
        (SUBRESOURCES, f"{VMI_ACT} {VM_ACT}", "update"),
        EXPAND,
        *((group, resources, verbs) for group, resources in KUBEVIRT_OBJECTS),
        *READ_ONLY_OBJECTS,
    ]


def kubevirt_roles() -> list[Object]:
    """What virt-operator makes when it deploys KubeVirt."""
    view: list[Row] = [
        ("kubevirt.io", "kubevirts", "get list"),
        (SUBRESOURCES, f"{VMI_READ} {VM_READ}", "get"),
        EXPAND,
        *((group, resources, READ) for group, resources in KUBEVIRT_OBJECTS),
        *READ_ONLY_OBJECTS,
    ]
    edit = [*_kubevirt_changing(EDIT_VERBS), ("kubevirt.io", "kubevirts", "get list")]
    default: list[Row] = [
        ("kubevirt.io", "kubevirts", "get list"),
        (SUBRESOURCES, "version guestfs", "get list"),
    ]
    migrate: list[Row] = [
        (SUBRESOURCES, "virtualmachines/migrate", "update"),
        ("kubevirt.io", "virtualmachineinstancemigrations", ALL_VERBS),
    ]
    types: list[Row] = [("instancetype.kubevirt.io", CLUSTER_WIDE_TYPES, READ)]
    return [
        cluster_role("kubevirt.io:default", rules(default), {**KUBEVIRT, **BOOTSTRAPPING}),
        cluster_role_binding("kubevirt.io:default", KUBEVIRT, "system:authenticated"),
        cluster_role(
            "kubevirt.io:admin", rules(_kubevirt_changing(ALL_VERBS)), {**KUBEVIRT, AGGREGATE + "admin": "true"}
        ),
        cluster_role("kubevirt.io:edit", rules(edit), {**KUBEVIRT, AGGREGATE + "edit": "true"}),
        cluster_role("kubevirt.io:view", rules(view), {**KUBEVIRT, AGGREGATE + "view": "true"}),
        cluster_role("instancetype.kubevirt.io:view", rules(types), KUBEVIRT),
        cluster_role_binding("instancetype.kubevirt.io:view", KUBEVIRT, "system:authenticated"),
        cluster_role("kubevirt.io:migrate", rules(migrate), KUBEVIRT),
    ]


# CDI: pkg/operator/resources/cluster/rbac.go

CDI_CLONE_SOURCE: Row = ("cdi.kubevirt.io", "datavolumes/source", "create")
CDI_CHANGING: list[Row] = [
    (
        "cdi.kubevirt.io",
        "datavolumes dataimportcrons datasources volumeimportsources volumeuploadsources volumeclonesources",
        "*",
    ),
    CDI_CLONE_SOURCE,
    ("upload.cdi.kubevirt.io", "uploadtokenrequests", "*"),
]
CDI_VIEW: list[Row] = [
    (
        "cdi.kubevirt.io",
        "cdiconfigs dataimportcrons datasources datavolumes objecttransfers storageprofiles volumeimportsources "
        "volumeuploadsources volumeclonesources",
        READ,
    ),
]
CDI_CONFIG: list[Row] = [("cdi.kubevirt.io", "cdiconfigs storageprofiles", READ)]


def cdi_roles() -> list[Object]:
    """What cdi-operator makes when it deploys CDI."""
    return [
        cluster_role("cdi.kubevirt.io:admin", rules(CDI_CHANGING), {**CDI, AGGREGATE + "admin": "true"}),
        cluster_role("cdi.kubevirt.io:edit", rules(CDI_CHANGING), {**CDI, AGGREGATE + "edit": "true"}),
        cluster_role("cdi.kubevirt.io:view", rules(CDI_VIEW), {**CDI, AGGREGATE + "view": "true"}),
        cluster_role("cdi.kubevirt.io:clone-sourcer", rules([CDI_CLONE_SOURCE]), CDI),
        cluster_role("cdi.kubevirt.io:config-reader", rules(CDI_CONFIG), CDI),
        cluster_role_binding("cdi.kubevirt.io:config-reader", CDI, "system:authenticated"),
    ]
