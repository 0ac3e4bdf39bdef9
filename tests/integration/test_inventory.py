"""The inventory of a cluster with more machines than fit on a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TIME_FACTOR, Ansible, Lab

PAGE = 500
MACHINES, RUNNING = 1_100, 550


@pytest.fixture
def full_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("full"))
    lab.command("start", "--installed", "--time-factor", TIME_FACTOR, "--quiet")
    lab.command("load", "--vms", str(MACHINES), "--running", str(RUNNING), "--namespaces", "30")
    yield lab
    lab.command("stop")


def test_a_list_a_page_and_kind_reads_the_whole_cluster(full_lab: Lab, ansible: Ansible, tmp_path: Path) -> None:
    file = tmp_path / "lab.virtstack.yml"
    file.write_text("plugin: virtstack.core.cluster\n")
    written = tmp_path / "inventory.json"
    full_lab.forget_requests()
    played = ansible.run(
        "ansible-inventory", "-i", file, "--list", "--output", written, K8S_AUTH_KUBECONFIG=str(full_lab.kubeconfig)
    )
    assert played.returncode == 0, played.output
    assert len(json.loads(written.read_text())["_meta"]["hostvars"]) == MACHINES
    requests = full_lab.requests()
    assert requests["list virtualmachines.kubevirt.io"] <= math.ceil(MACHINES / PAGE) + 1
    assert requests["list virtualmachineinstances.kubevirt.io"] <= math.ceil(RUNNING / PAGE) + 1
    assert not [line for line in requests if line.startswith("get ")]
