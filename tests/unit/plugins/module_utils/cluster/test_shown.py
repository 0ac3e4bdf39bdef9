"""What is shown of an object."""

from __future__ import annotations

from typing import Any

from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource
from ansible_collections.virtstack.core.plugins.module_utils.cluster.shown import HIDDEN, difference, essence, shown

SECRET = Resource("", "v1", "secrets", "Secret", secrets=("data.*", "stringData.*"))
MACHINE = Resource(
    "kubevirt.io", "v1", "virtualmachines", "VirtualMachine", secrets=("spec.volumes.*.cloudInit.networkData",)
)


def obj(**content: Any) -> dict[str, Any]:
    return {
        "kind": "X",
        "metadata": {
            "name": "a",
            "uid": "u",
            "resourceVersion": "5",
            "generation": 3,
            "creationTimestamp": "t",
            "managedFields": [{"manager": "x"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "x"},
        },
        "status": {"phase": "Ready"},
        **content,
    }


def test_the_essence_is_what_a_user_declares() -> None:
    assert essence(obj(spec={"a": 1})) == {
        "kind": "X",
        "metadata": {"name": "a", "annotations": {"kept": "x"}},
        "spec": {"a": 1},
    }
    assert essence(None) is None


def test_a_diff_leaves_out_what_the_server_alone_writes() -> None:
    diff = difference(MACHINE, None, obj(spec={"a": 1}))
    assert diff["before"] == {}
    assert diff["after"]["metadata"] == {"name": "a", "annotations": {"kept": "x"}}
    assert "status" not in diff["after"]


def test_the_data_of_a_secret_is_never_shown() -> None:
    found = shown(SECRET, obj(data={"key": "c2VjcmV0"}, stringData={"other": "plain"}))
    assert found is not None
    assert found["data"] == {"key": "********"}
    assert found["stringData"] == {"other": "********"}
    assert found["status"] == {"phase": "Ready"}
    assert "managedFields" not in found["metadata"]


def test_a_secret_that_changes_is_told_from_one_that_stays() -> None:
    diff = difference(SECRET, obj(data={"a": "1", "b": "2", "gone": "3"}), obj(data={"a": "1", "b": "4"}))
    assert diff["before"]["data"] == {"a": "********", "b": "********", "gone": "********"}
    assert diff["after"]["data"] == {"a": "********", "b": "******** (2)"}


def test_fields_that_hold_secrets_anywhere_are_hidden() -> None:
    volumes = [{"name": "init", "cloudInit": {"userData": "#cloud-config", "networkData": {"wifi": "pw"}}}]
    found = shown(MACHINE, obj(spec={"volumes": volumes, "token": {"secretRef": "s"}}))
    assert found is not None
    assert found["spec"]["volumes"] == [
        {"name": "init", "cloudInit": {"userData": "********", "networkData": "********"}}
    ]
    assert found["spec"]["token"] == {"secretRef": "s"}


def test_the_token_of_a_clone_is_hidden_though_it_is_an_annotation() -> None:
    token = "cdi.kubevirt.io/storage.clone.token"
    volume = {"metadata": {"name": "data", "annotations": {token: "eyJhbGci", "why": "test"}}, "spec": {}}
    found = shown(Resource("cdi.kubevirt.io", "v1beta1", "datavolumes", "DataVolume"), volume)
    assert found is not None
    assert found["metadata"]["annotations"] == {token: HIDDEN, "why": "test"}
