"""Which credentials a machine names, what is in their Secrets, and when a guest has them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects import kubevirt_credentials as credentials
from ansible_collections.virtstack.core.plugins.module_utils.task import secret_values
from ansible_collections.virtstack.core.plugins.modules.vm_credentials import SPEC

KEYS = credentials.credential("ssh", "keys", "agent", ["root"])
PASSWORDS = credentials.credential("password", "words", "agent", [])


def test_an_item_names_its_secret_and_how_it_comes_into_the_guest() -> None:
    source = {"secret": {"secretName": "keys"}}
    method = {"qemuGuestAgent": {"users": ["root"]}}
    assert {"sshPublicKey": {"source": source, "propagationMethod": method}} == KEYS
    assert PASSWORDS["userPassword"]["propagationMethod"] == {"qemuGuestAgent": {}}
    seeded = credentials.credential("ssh", "keys", "no_cloud", [])
    assert seeded["sshPublicKey"]["propagationMethod"] == {"noCloud": {}}


def test_items_of_others_stay_where_they_are() -> None:
    other = credentials.credential("ssh", "theirs", "agent", ["admin"])
    assert credentials.merged([other], {("ssh", "keys"): KEYS}) == [other, KEYS]
    renewed = credentials.credential("ssh", "keys", "agent", ["root", "me"])
    assert credentials.merged([KEYS, other], {("ssh", "keys"): renewed}) == [renewed, other]
    assert credentials.merged([KEYS, other], {("ssh", "keys"): None}) == [other]
    # A Secret of that name that holds passwords is another item.
    same_name = credentials.credential("password", "keys", "agent", [])
    assert credentials.merged([same_name], {("ssh", "keys"): None}) == [same_name]


def test_keys_that_others_put_into_the_secret_stay_unless_told() -> None:
    live = {"data": {"key": "dGhlaXJz", "virtstack": "b2xk"}}
    data = credentials.ssh_data(["ssh-ed25519 AAAA me"], live, False)
    assert base64.b64decode(data["virtstack"]) == b"ssh-ed25519 AAAA me\n"
    assert data.keys() == {"virtstack"}
    assert credentials.ssh_data([], live, True) == {"key": None, "virtstack": ""}
    assert credentials.password_data({"root": "x"}, {"data": {"old": "eA=="}}, True) == {"old": None, "root": "eA=="}


def test_passwords_are_hidden_and_users_are_not() -> None:
    assert secret_values(SPEC, {"passwords": {"root": "correct horse"}}) == {"correct horse"}


def instance(status: str | None = None, *held: str) -> Object:
    found = [{"type": name, "status": "True"} for name in held]
    if status:
        found.append({"type": credentials.CONDITION, "status": status, "message": "no such user"})
    return {"metadata": {"uid": "u"}, "status": {"conditions": found}}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (instance("True"), Ready()),
        (instance("False"), Failed("the guest has not taken its credentials: no such user")),
        (instance(), Progress("its guest agent is not connected yet")),
        (instance(None, "AgentConnected"), Progress("its guest agent has not taken the credentials yet")),
        (None, Failed("its guest was stopped meanwhile")),
    ],
)
def test_when_a_guest_has_its_credentials(found: Object | None, verdict: Any) -> None:
    assert credentials.synchronized("u")(found) == verdict
