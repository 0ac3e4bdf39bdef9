"""A module runs in the controller's process as it does in one of its own."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virtstack.core.plugins.plugin_utils.direct import plain, same_interpreter


def namespace(**options: Any) -> dict[str, Any]:
    return {"virtstack.core.namespace": {"name": "a-{{ way }}", **options}}


def test_both_ways_return_the_same(both_ways: Any) -> None:
    direct, module = both_ways.run(
        namespace(labels={"tier": "db", "number": "7"}),
        namespace(labels={"tier": "db", "number": "7"}),
        namespace(labels={"tier": "web"}),
        namespace(labels={"tier": "not valid!"}),
        namespace(state="absent"),
    )
    assert [result["changed"] for result in direct] == [True, False, True, False, True]
    assert direct == module


def test_check_mode_is_the_same_both_ways(both_ways: Any) -> None:
    direct, module = both_ways.run(namespace(labels={"tier": "db"}), check=True)
    assert direct[0]["changed"]
    assert direct == module
    assert not both_ways.direct(namespace(state="absent"))[0]["changed"]


def test_wrong_arguments_are_told_the_same_both_ways(both_ways: Any) -> None:
    direct, module = both_ways.run(
        namespace(bogus=1),
        namespace(state="maybe"),
        {"virtstack.core.namespace": {"state": "present"}},
        namespace(wait_timeout="soon"),
        namespace(validate_certs=True, verify_ssl=True),
        namespace(kubeconfig="/nowhere/config"),
    )
    assert [result["failed"] for result in direct] == [True, True, True, True, False, True]
    assert [result["msg"] for result in direct if "msg" in result] == [
        result["msg"] for result in module if "msg" in result
    ]
    assert len(direct[4]["warnings"]) == len(module[4]["warnings"]) == 1


def test_the_tasks_environment_counts_both_ways(both_ways: Any, lab: Any) -> None:
    task = namespace(kubeconfig="{{ omit }}")
    task["environment"] = {"K8S_AUTH_KUBECONFIG": lab.kubeconfig}
    direct, module = both_ways.run({**task, "module_defaults": {"group/virtstack.core.cluster": {}}})
    assert direct == module
    assert direct[0]["changed"]
    assert not direct[0]["failed"]


def test_awx_needs_nothing_but_its_credential_both_ways(both_ways: Any, lab: Any, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(lab.kubeconfig).read_text())
    ca_cert = tmp_path / "ca.pem"
    ca_cert.write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    task = namespace(kubeconfig="{{ omit }}")
    task["environment"] = {
        "K8S_AUTH_HOST": config["clusters"][0]["cluster"]["server"],
        "K8S_AUTH_API_KEY": config["users"][0]["user"]["token"],
        "K8S_AUTH_VERIFY_SSL": "True",
        "K8S_AUTH_SSL_CA_CERT": str(ca_cert),
    }
    direct, module = both_ways.run({**task, "module_defaults": {"group/virtstack.core.cluster": {}}})
    assert direct == module
    assert direct[0]["changed"]


def test_secrets_are_censored_both_ways(both_ways: Any) -> None:
    secret = "s3cr3t-t0ken-of-mine"
    task = namespace(host="https://127.0.0.1:1", api_key=secret, context=secret, request_timeout=1)
    direct, module = both_ways.run(task)
    assert direct == module
    assert direct[0]["failed"]
    assert secret not in json.dumps(direct)


def test_a_loop_goes_through_one_connection(both_ways: Any) -> None:
    (result,) = both_ways.direct({**namespace(labels={"a": "{{ item }}"}), "loop": ["x", "x", "y"]})
    assert [item["changed"] for item in result["results"]] == [True, False, True]


def test_an_async_task_runs_as_a_module(both_ways: Any) -> None:
    interpreter = {"ansible_python_interpreter": sys.executable}
    (result,) = both_ways.direct({**namespace(), "async": 60, "poll": 1, "vars": interpreter})
    assert result["changed"]
    assert result["finished"]


def test_arguments_become_plain_json() -> None:
    class Tagged(str):
        pass

    value = plain({Tagged("a"): (Tagged("b"), 1, True, None, 1.5, b"c", {"d": {Tagged("e")}})})
    assert value == {"a": ["b", 1, True, None, 1.5, "c", {"d": ["e"]}]}
    assert next(iter(value)).__class__ is str
    assert value["a"][0].__class__ is str


@pytest.mark.parametrize("name", ["python", "python3"])
def test_the_links_of_one_environment_are_one_interpreter(tmp_path: Path, name: str) -> None:
    for environment in ("one", "two"):
        (tmp_path / environment).mkdir()
        for link in ("python", "python3"):
            (tmp_path / environment / link).symlink_to(sys.executable)
    assert same_interpreter(str(tmp_path / "one" / name), str(tmp_path / "one" / "python"))
    assert not same_interpreter(str(tmp_path / "one" / name), str(tmp_path / "two" / name))
