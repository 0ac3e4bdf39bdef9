"""Credentials that the guest agent sets while the guest runs: public keys and passwords, out of secrets.

pkg/virt-launcher/virtwrap/access-credentials, as far as it shows in the instance's conditions.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from virtlab.controllers.conditions import find_condition, is_true, with_condition, without_condition
from virtlab.controllers.kubevirt.names import VMIS
from virtlab.controllers.kubevirt.volumes import phase
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.guests.interface import Credentials, Step
from virtlab.resource import Object
from virtlab.store import Event

SYNCHRONIZED = "AccessCredentialsSynchronized"
KINDS = ("sshPublicKey", "userPassword")
AGENT = "qemuGuestAgent"


def secret_names(vmi: Object) -> list[str]:
    """The secrets whose content the agent is to set, as C(namespace/name)."""
    namespace = vmi["metadata"].get("namespace")
    return [f"{namespace}/{secret_of(item)}" for item in by_agent(vmi)]


def by_agent(vmi: Object) -> list[Object]:
    """sshPublicKey and userPassword of the instance's credentials that go through the agent."""
    found = (item.get(kind) for item in vmi["spec"].get("accessCredentials") or () for kind in KINDS)
    return [item for item in found if item and AGENT in (item.get("propagationMethod") or {})]


def secret_of(credential: Object) -> str:
    return str(((credential.get("source") or {}).get("secret") or {}).get("secretName") or "")


class CredentialsController(Controller):
    manager_name = "virt-handler"
    watches = (VMIS, "secrets")

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._by_secret = manager.index(VMIS, secret_names)
        self.cluster.guests.follow(self._guest_changed)

    def _guest_changed(self, namespace: str, name: str) -> None:
        self.manager.enqueue(self, (namespace, name))

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "secrets":
            return self._by_secret.keys(f"{metadata.get('namespace')}/{metadata['name']}")
        return super().keys(event) if event.type != "DELETED" else ()

    def reconcile(self, key: Key) -> float | None:
        vmi = self.find(VMIS, *key)
        if vmi is None or phase(vmi) != "Running" or being_deleted(vmi) or not by_agent(vmi):
            return None
        conditions = list(vmi["status"].get("conditions") or ())
        if not is_true(vmi, "AgentConnected"):
            return None
        wanted, missing = self._wanted(vmi)
        step = self.cluster.guests.set_credentials(vmi, wanted) if not missing else Step(problem=missing)
        if step.over:
            self._tell(vmi, conditions, step.problem)
        return step.wait

    def _wanted(self, vmi: Object) -> tuple[Credentials, str]:
        """What is to be set, and which secret is missing for it."""
        keys: dict[str, tuple[str, ...]] = {}
        passwords: dict[str, str] = {}
        for item in vmi["spec"].get("accessCredentials") or ():
            for kind in KINDS:
                credential = item.get(kind) or {}
                method = credential.get("propagationMethod") or {}
                if AGENT not in method:
                    continue
                secret = self.find("secrets", vmi["metadata"]["namespace"], secret_of(credential))
                if secret is None:
                    return Credentials(), f"secret {secret_of(credential)} not found"
                data = {name: base64.b64decode(value).decode() for name, value in (secret.get("data") or {}).items()}
                if kind == "userPassword":
                    passwords.update({user: text.strip() for user, text in data.items()})
                    continue
                lines = tuple(line.strip() for text in data.values() for line in text.splitlines() if line.strip())
                for user in (method[AGENT] or {}).get("users") or ():
                    keys[user] = (*keys.get(user, ()), *lines)
        return Credentials(keys, passwords), ""

    def _tell(self, vmi: Object, conditions: list[Object], problem: str) -> None:
        old = find_condition(vmi, SYNCHRONIZED) or {}
        status = "False" if problem else "True"
        if (old.get("status"), old.get("message", "")) == (status, problem):
            return
        wanted: Object = {"type": SYNCHRONIZED, "status": status, "lastProbeTime": None}
        if problem:
            wanted["message"] = problem
            text = f"Access credentials sync failed: {problem}"
            self.event(vmi, "AccessCredentialsSyncFailed", text, warning=True)
        else:
            text = "Access credentials sync successful."
            self.event(vmi, "AccessCredentialsSyncSuccess", text)
        stamp = self.cluster.clock.stamp()
        kept = without_condition(conditions, SYNCHRONIZED)
        self.write_status(VMIS, vmi, {**vmi["status"], "conditions": with_condition(kept, wanted, stamp)})
