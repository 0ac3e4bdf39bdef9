"""Credentials that the agent of a running guest sets."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from played import VMIS, VMS, Played, machine_spec

Object = dict[str, Any]

KIND = "AccessCredentialsSynchronized"


def by_agent(kind: str, secret: str, users: list[str] | None = None) -> Object:
    method: Object = {"users": users} if users else {}
    return {kind: {"source": {"secret": {"secretName": secret}}, "propagationMethod": {"qemuGuestAgent": method}}}


@pytest.fixture
def played() -> Played:
    played = Played()
    played.install()
    return played


def machine(played: Played, name: str, credentials: list[Object], volumes: list[Object] | None = None) -> None:
    if played.find("namespaces", "prod") is None:
        played.create("namespaces", "prod")
    spec = machine_spec(volumes=volumes)
    spec["template"]["spec"]["accessCredentials"] = credentials
    played.create(VMS, name, spec, "prod")


def condition(played: Played, name: str) -> Object:
    found = played.get(VMIS, name, "prod")["status"]["conditions"]
    return next((item for item in found if item["type"] == KIND), {})


def secret(played: Played, name: str, **texts: str) -> None:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    played.create("secrets", name, namespace="prod", data=data)


def test_what_lacks_its_secret_says_so_until_that_is_there(played: Played) -> None:
    machine(played, "db", [by_agent("sshPublicKey", "keys", ["root"])])
    assert condition(played, "db")["status"] == "False"
    assert condition(played, "db")["message"] == "secret keys not found"
    secret(played, "keys", k="ssh-ed25519 AAAA me")
    assert condition(played, "db")["status"] == "True"
    reasons = {reason for reason, _message in played.events("prod", "db")}
    assert {"AccessCredentialsSyncFailed", "AccessCredentialsSyncSuccess"} <= reasons


def test_keys_and_passwords_are_gathered_by_user(played: Played) -> None:
    asked: list[Any] = []
    guests = played.cluster.guests
    played.create("namespaces", "prod")
    secret(played, "more", b="ssh-rsa BBBB\n\n", a="ssh-rsa AAAA")
    secret(played, "words", root="s3cret\n")
    setting = guests.set_credentials
    guests.set_credentials = lambda vmi, wanted: (asked.append(wanted), setting(vmi, wanted))[1]  # type: ignore[method-assign]
    credentials = [by_agent("sshPublicKey", "more", ["root", "me"]), by_agent("userPassword", "words")]
    machine(played, "other", credentials)
    assert asked[-1].keys["me"] == asked[-1].keys["root"]
    assert set(asked[-1].keys["me"]) == {"ssh-rsa AAAA", "ssh-rsa BBBB"}
    assert asked[-1].passwords == {"root": "s3cret"}


def test_what_cloud_init_sets_is_not_the_agents(played: Played) -> None:
    credential = {"sshPublicKey": {"source": {"secret": {"secretName": "k"}}, "propagationMethod": {"noCloud": {}}}}
    seed = [
        {"name": "root", "containerDisk": {"image": "i"}},
        {"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\n"}},
    ]
    machine(played, "db", [credential], seed)
    assert condition(played, "db") == {}
