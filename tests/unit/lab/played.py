"""A cluster played in the test's own process, without a server: its controllers run until nothing is left to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from virtlab import bootstrap
from virtlab.assembly import controllers, load_parts
from virtlab.auth.authentication import Authenticator
from virtlab.auth.rbac import Authorizer
from virtlab.auth.tokens import TokenAuthority, generate_key
from virtlab.catalog import Catalog
from virtlab.clock import Clock
from virtlab.cluster import Cluster
from virtlab.controllers.runtime import Manager
from virtlab.datapath.volumes import Volumes
from virtlab.schema.source import open_schemas
from virtlab.store import Event, Store

Object = dict[str, Any]

VMS = "virtualmachines.kubevirt.io"
VMIS = "virtualmachineinstances.kubevirt.io"
HYPERCONVERGED = "hyperconvergeds.hco.kubevirt.io"
SUBSCRIPTIONS = "subscriptions.operators.coreos.com"
CSVS = "clusterserviceversions.operators.coreos.com"
OPERATOR = "openshift-cnv"


class Played:
    """Every write goes through the whole pipeline, so that what controllers write is held against the schemas."""

    def __init__(self, store: Store | None = None, *, storage: Path | None = None) -> None:
        load_parts()
        schemas = open_schemas()
        catalog = Catalog(resource for resource in schemas.resources if not resource.custom)
        self.cluster = Cluster(store or Store(), catalog, schemas=schemas, clock=Clock(0.0), seed=1)
        self.cluster.authorizer = Authorizer(self.cluster.store)
        keys = TokenAuthority(generate_key(), clock=self.cluster.clock)
        self.cluster.authenticator = Authenticator(self.cluster, keys, {})
        if storage is not None:
            self.cluster.volumes = Volumes(storage)
        bootstrap.fill(self.cluster)
        self.manager = Manager(self.cluster, controllers(), thorough=True)
        self.manager.subscribe()
        self.settle()

    def settle(self) -> None:
        self.manager.settle(10)

    def resource(self, qualified: str) -> Any:
        found = self.cluster.resource(qualified)
        assert found is not None, f"{qualified} is not served"
        return found

    def create(
        self, qualified: str, name: str, spec: Object | None = None, namespace: str | None = None, **more: Any
    ) -> Object:
        """Create, and let the controllers do what follows."""
        metadata = {"name": name, **more.pop("metadata", {})}
        obj: Object = {"metadata": metadata, **more}
        if spec is not None:
            obj["spec"] = spec
        made = self.cluster.create(self.resource(qualified), obj, namespace=namespace, manager="test")
        self.settle()
        return made

    def find(self, qualified: str, name: str, namespace: str | None = None) -> Object | None:
        return self.cluster.find(self.resource(qualified), name, namespace)

    def get(self, qualified: str, name: str, namespace: str | None = None) -> Object:
        return self.cluster.get(self.resource(qualified), name, namespace)

    def list(self, qualified: str, namespace: str | None = None) -> list[Object]:
        return self.cluster.list(self.resource(qualified), namespace)

    def patch(self, qualified: str, name: str, namespace: str | None, patch: Object) -> Object:
        changed = self.cluster.patch(self.resource(qualified), name, namespace, patch, manager="test")
        self.settle()
        return changed

    def delete(self, qualified: str, name: str, namespace: str | None = None, **options: Any) -> None:
        self.cluster.delete(self.resource(qualified), name, namespace, options=options)
        self.settle()

    def edit_status(self, qualified: str, name: str, namespace: str, **fields: Any) -> None:
        """What virt-handler would say of a guest."""
        resource = self.resource(qualified)
        self.cluster.update_status(resource, name, namespace, lambda obj: obj["status"].update(fields))
        self.settle()

    def edit(self, qualified: str, name: str, namespace: str, change: Callable[[Object], Any]) -> None:
        """What only a controller may write."""
        obj = copy.deepcopy(self.get(qualified, name, namespace))
        change(obj)
        self.cluster.update(self.resource(qualified), obj, manager="test")
        self.settle()

    def phases(self, plural: str, field: str = "phase") -> list[str | None]:
        """A list that grows with every status that objects of the kind go through from now on."""
        seen: list[str | None] = []

        def note(event: Event) -> None:
            if event.key[1] == plural and event.type != "DELETED":
                now = (event.object.get("status") or {}).get(field)
                if not seen or seen[-1] != now:
                    seen.append(now)

        self.cluster.store.subscribe(note)
        return seen

    def events(self, namespace: str, name: str) -> set[tuple[str, str]]:
        """(reason, message) of the events about an object."""
        return {
            (event["reason"], event["message"])
            for event in self.list("events", namespace)
            if event["involvedObject"]["name"] == name
        }

    def subscribe(self, channel: str = "stable", **spec: Any) -> None:
        """Ask OLM for the operator, in its namespace with an operator group."""
        if self.find("namespaces", OPERATOR) is None:
            self.create("namespaces", OPERATOR)
        groups = "operatorgroups.operators.coreos.com"
        if not self.list(groups, OPERATOR):
            self.create(groups, "group", {"targetNamespaces": [OPERATOR]}, OPERATOR)
        self.create(SUBSCRIPTIONS, "hco", subscription(channel=channel, **spec), OPERATOR)

    def install(self, **settings: Any) -> None:
        self.subscribe()
        self.create(HYPERCONVERGED, "kubevirt-hyperconverged", settings, OPERATOR)

    def machine(self, name: str, namespace: str = "prod", **spec: Any) -> None:
        if self.find("namespaces", namespace) is None:
            self.create("namespaces", namespace)
        self.create(VMS, name, machine_spec(**spec), namespace)

    def printable(self, name: str, namespace: str = "prod") -> str:
        status: str = self.get(VMS, name, namespace)["status"]["printableStatus"]
        return status


def subscription(**spec: Any) -> Object:
    wanted = {
        "name": "kubevirt-hyperconverged",
        "channel": "stable",
        "source": "redhat-operators",
        "sourceNamespace": "openshift-marketplace",
    }
    return {**wanted, **spec}


def machine_spec(strategy: str = "Always", volumes: list[Object] | None = None, **spec: Any) -> Object:
    """A small machine that boots an image, or the volumes given."""
    image = {"name": "root", "containerDisk": {"image": "quay.io/containerdisks/fedora:latest"}}
    template = {
        "domain": {
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": volumes or [image],
        **spec.pop("template", {}),
    }
    if "instancetype" not in spec:
        template["domain"]["memory"] = {"guest": "256Mi"}
        template["domain"]["cpu"] = {"cores": 1}
    return {"runStrategy": strategy, "template": {"spec": template}, **spec}


def conditions(obj: Object) -> dict[str, Object]:
    return {item["type"]: item for item in obj["status"]["conditions"]}
