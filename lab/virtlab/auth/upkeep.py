"""The controllers behind authentication and authorization."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import ClassVar

from virtlab.auth.rbac import aggregated_rules
from virtlab.auth.roles import cdi_roles, kubevirt_roles
from virtlab.controllers.runtime import Controller, Key, key_of
from virtlab.store import Event

SERVICE_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"


class ClusterRoleAggregation(Controller):
    """Writes the rules that a ClusterRole with an aggregationRule collects."""

    manager_name: ClassVar[str] = "clusterrole-aggregation-controller"
    watches: ClassVar[tuple[str, ...]] = ("clusterroles.rbac.authorization.k8s.io",)

    def keys(self, event: Event) -> Iterable[Key]:
        roles = self.list(self.watches[0])
        return [key_of(role) for role in roles if role.get("aggregationRule")]

    def reconcile(self, key: Key) -> None:
        role = self.find(self.watches[0], None, key[1])
        if role is None:
            return
        rules = aggregated_rules(role, self.list(self.watches[0]))
        if rules is not None and rules != role.get("rules"):
            self.update(self.watches[0], {**role, "rules": rules})


class OperatorRoles(Controller):
    """The roles that virt-operator and cdi-operator make with what they deploy, and take away with it."""

    manager_name: ClassVar[str] = "virt-operator"
    watches: ClassVar[tuple[str, ...]] = ("kubevirts.kubevirt.io", "cdis.cdi.kubevirt.io")

    def keys(self, event: Event) -> Iterable[Key]:
        return [("", event.key[1])]

    def reconcile(self, key: Key) -> None:
        plural = key[1]
        roles = {"kubevirts": kubevirt_roles, "cdis": cdi_roles}[plural]()
        qualified = next(name for name in self.watches if name.startswith(f"{plural}."))
        deployed = bool(self.list(qualified))
        for role in roles:
            kind, name = f"{role['kind'].lower()}s.rbac.authorization.k8s.io", role["metadata"]["name"]
            present = self.find(kind, None, name) is not None
            if deployed and not present:
                self.create(kind, role)
            elif present and not deployed:
                self.delete(kind, None, name)


class TokenSecrets(Controller):
    """Fills Secrets of type kubernetes.io/service-account-token; removes them when their account is gone."""

    manager_name: ClassVar[str] = "kube-controller-manager"
    watches: ClassVar[tuple[str, ...]] = ("secrets", "serviceaccounts")

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "secrets":
            return [key_of(event.object)] if event.object.get("type") == SERVICE_ACCOUNT_TOKEN else []
        metadata = event.object["metadata"]
        return [
            key_of(secret)
            for secret in self.list("secrets", metadata["namespace"])
            if secret.get("type") == SERVICE_ACCOUNT_TOKEN
            and (secret["metadata"].get("annotations") or {}).get(ACCOUNT_NAME) == metadata["name"]
        ]

    def reconcile(self, key: Key) -> None:
        namespace, name = key
        secret = self.find("secrets", namespace, name)
        if secret is None or secret["metadata"].get("deletionTimestamp"):
            return
        annotations = secret["metadata"].get("annotations") or {}
        account = self.find("serviceaccounts", namespace, annotations.get(ACCOUNT_NAME, ""))
        uid = account["metadata"]["uid"] if account else None
        if account is None or annotations.get(ACCOUNT_UID, uid) != uid:
            self.delete("secrets", namespace, name)
            return
        data = secret.get("data") or {}
        if data.get("token"):
            return
        values = {
            "token": self.cluster.authenticator.tokens.issue_legacy(secret, account),
            "namespace": namespace,
            "ca.crt": self._certificate_authority(namespace),
        }
        encoded = {item: base64.b64encode(value.encode()).decode() for item, value in values.items()}
        metadata = {**secret["metadata"], "annotations": {**annotations, ACCOUNT_UID: uid}}
        self.update("secrets", {**secret, "metadata": metadata, "data": {**data, **encoded}})

    def _certificate_authority(self, namespace: str) -> str:
        config = self.find("configmaps", namespace, "kube-root-ca.crt")
        return str(((config or {}).get("data") or {}).get("ca.crt", ""))
