"""Machines on a lab that misbehaves, or that has no KubeVirt; and what is never shown of a machine."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Ansible, Lab, Played

NAMESPACE = "machines"
HEADER = {"hosts": "localhost", "gather_facts": False}
MACHINE: dict[str, Any] = {"namespace": NAMESPACE, "memory": "1Gi", "wait": True, "wait_timeout": 60}
DISK = {"name": "root", "container_disk": "quay.io/containerdisks/fedora:latest"}

Play = Callable[..., Played]


@pytest.fixture
def play(tmp_path: Path, ansible: Ansible) -> Play:
    """Run a task of C(vm) on a lab."""

    def run(lab: Lab, *arguments: str, keywords: dict[str, Any] | None = None, **options: Any) -> Played:
        tasks = [
            {"virtstack.core.namespace": {"name": NAMESPACE}},
            {"virtstack.core.vm": {**MACHINE, **options}, **(keywords or {})},
        ]
        playbook = tmp_path / "playbook.yml"
        playbook.write_text(yaml.safe_dump([{**HEADER, "tasks": tasks}]))
        return ansible.playbook(playbook, lab, *arguments)

    return run


@pytest.fixture
def lab(installed_lab: Lab) -> Iterator[Lab]:
    """The shared lab, behaving again afterwards."""
    yield installed_lab
    installed_lab.command("fault", "clear")


def test_an_import_that_answers_404_ends_the_wait_with_the_words_of_cdi(lab: Lab, play: Play) -> None:
    message = "Unable to process data: expected status code 200, got 404. Status: 404 Not Found"
    lab.command("fault", "add", "import", "--path", f"{NAMESPACE}/missing-root", "--message", message)
    disk = {"name": "root", "http": "https://images.example.com/missing.qcow2", "size": "1Gi"}
    played = play(lab, name="missing", disks=[disk])
    assert played.returncode == 2
    assert "VirtualMachine machines/missing cannot become ready" in played.output
    assert f"DataVolume missing-root: {message}" in played.output


@pytest.fixture
def empty_server() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that has nothing: its URL, and what it was asked for."""
    asked: list[str] = []

    class Nothing(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_error(404)

        do_GET = do_HEAD = _answer

        def log_message(self, *arguments: Any) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_an_import_url_that_a_real_server_answers_404_fails_fast(
    lab: Lab, play: Play, empty_server: tuple[str, list[str]]
) -> None:
    url, asked = empty_server
    disk = {"name": "root", "http": f"{url}/missing.qcow2", "size": "1Gi"}
    played = play(lab, name="lost", disks=[disk], wait_timeout=300)
    assert played.returncode == 2
    assert "VirtualMachine machines/lost cannot become ready" in played.output
    assert "expected status code 200, got 404. Status: 404 Not Found" in played.output
    assert "GET /missing.qcow2" in asked


def test_a_wait_shows_its_progress_unless_the_task_is_not_to_be_logged(lab: Lab, play: Play) -> None:
    line = re.compile(r"^  machines/(loud|quiet): \w+", re.MULTILINE)
    assert line.search(play(lab, name="loud", disks=[DISK]).output)
    quiet = play(lab, name="quiet", disks=[DISK], keywords={"no_log": True})
    assert quiet.returncode == 0, quiet.output
    assert not line.search(quiet.output)


def test_a_pod_that_fits_no_node_ends_the_wait_with_the_words_of_the_scheduler(lab: Lab, play: Play) -> None:
    message = "0/3 nodes are available: 3 Insufficient memory."
    lab.command("fault", "add", "schedule", "--path", f"{NAMESPACE}/crowded", "--message", message)
    played = play(lab, name="crowded", disks=[DISK])
    assert played.returncode == 2
    assert "ErrorUnschedulable" in played.output
    assert message.rstrip(".") in played.output


def test_many_machines_name_the_one_whose_import_failed(lab: Lab, play: Play) -> None:
    lab.command("fault", "add", "import", "--path", f"{NAMESPACE}/second-root", "--message", "got 404 Not Found")
    disk = {"name": "root", "http": "https://images.example.com/image.qcow2", "size": "1Gi"}
    items = [{"name": "first"}, {"name": "second"}]
    played = play(lab, vms=items, disks=[disk], run_strategy="Halted", wait_timeout=15)
    assert played.returncode == 2
    assert "1 of 2 virtual machines failed" in played.output
    assert "machines/second" in played.output
    assert "got 404 Not Found" in played.output


def test_user_data_is_shown_nowhere(lab: Lab, play: Play) -> None:
    secret = "hunter2-in-the-seed"
    seed = {"user_data": f"#cloud-config\npassword: {secret}\n"}
    for options in ({"name": "alone"}, {"vms": [{"name": "one", "cloud_init": seed}]}):
        played = play(lab, "-vvv", "--diff", disks=[DISK], cloud_init=seed, **options)
        assert played.returncode == 0, played.output
        assert secret not in played.output


def test_a_cluster_without_kubevirt_says_what_to_install(empty_lab: Lab, play: Play) -> None:
    played = play(empty_lab, name="early", disks=[DISK])
    assert played.returncode == 2
    assert "install it with virtstack.core.operator" in played.output
