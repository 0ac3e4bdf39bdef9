"""What the connection C(vm) tells ssh: under which names it keeps a machine's key and its connections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.virtstack.core.plugins.module_utils import task

COLLECTIONS = Path(task.__file__).parents[5]
MACHINE = {"inventory_hostname": "web", "virtstack_name": "db", "virtstack_namespace": "prod"}
# Ansible's loader would change how everything else in this process is imported.
SCRIPT = """
import json, sys
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader

init_plugin_loader()
for line in sys.stdin:
    asked = json.loads(line)
    connection = connection_loader.get("virtstack.core.vm", PlayContext(), None)
    try:
        connection.set_options(var_options=asked["variables"])
        arguments = connection.get_option("ssh_common_args").split()
        key = next(item.partition("=")[2] for item in arguments if item.startswith("HostKeyAlias="))
        told = {"key": key, "connection": connection.get_option("host")}
        with connection._explained():
            raise AnsibleConnectionFailure(asked.get("failure", ""))
    except AnsibleConnectionFailure as failure:
        told = {**locals().get("told", {}), "failure": failure.message}
    print(json.dumps({**told, "modules": sorted(sys.modules)}))
"""


def told(*asked: dict[str, Any], failure: str = "", **environment: str) -> list[dict[str, Any]]:
    """For each set of variables, the names of the key and of the kept connection, and what is said of a failure."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("K8S_AUTH_", "KUBE"))}
    lines = [json.dumps({"variables": {**MACHINE, **variables}, "failure": failure}) for variables in asked]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**kept, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), **environment},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_machines_of_two_clusters_share_neither_key_nor_connection() -> None:
    one, other = told({"virtstack_api_host": "https://a"}, {"virtstack_api_host": "https://b"})
    assert one["key"] != other["key"]
    assert one["connection"] != other["connection"]


def test_the_cluster_that_the_environment_names_counts_as_well(tmp_path: Path) -> None:
    found = set()
    for name in ("a", "b"):
        context = {"name": "c", "context": {"cluster": "k"}}
        cluster = {"name": "k", "cluster": {"server": f"https://{name}"}}
        (tmp_path / name).write_text(json.dumps({"current-context": "c", "contexts": [context], "clusters": [cluster]}))
        one = told({}, KUBECONFIG=str(tmp_path / name))[0]
        found |= {one["key"], one["connection"]}
    assert len(found) == 4


def test_a_machine_keeps_its_key_whoever_asks_and_gets_another_when_it_is_made_anew() -> None:
    there = {"virtstack_api_host": "https://a"}
    one, again, anew = told(
        {**there, "virtstack_uid": "1"},
        {**there, "virtstack_uid": "1", "virtstack_api_key": "t"},
        {**there, "virtstack_uid": "2"},
    )
    assert one["key"] == again["key"] != anew["key"]
    assert len({one["connection"], again["connection"], anew["connection"]}) == 3


def test_another_host_key_is_told_with_what_to_do() -> None:
    said = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nAdd correct host key in /home/me/known to get rid of"
    found = told({"virtstack_uid": "1"}, failure=said)[0]["failure"]
    assert "prod/db has another host key" in found
    assert "ssh-keygen -R db.prod.1.vm -f /home/me/known" in found


def test_without_a_namespace_it_asks_for_one() -> None:
    assert "Set virtstack_namespace" in told({"virtstack_namespace": None})[0]["failure"]


def test_the_client_is_not_loaded_for_every_task() -> None:
    modules = told({"virtstack_api_host": "https://a"})[0]["modules"]
    assert not [name for name in modules if name.partition(".")[0] in ("kubernetes", "urllib3")]
