"""The playbook from bare hosts to migrated machines (docs/kvm.md), on two hosts, twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import take_away_all
from playing import REPOSITORY, Ansible
from stage import opened
from virtlab.hosts.host import Host
from virtlab.tiny.image import Tiny

PLAYBOOK = REPOSITORY / "playbooks" / "kvm.yml"


@pytest.fixture
def inventories(alpha: Host, beta: Host, tmp_path: Path) -> Iterator[list[str]]:
    """The arguments that name both: the hosts, and the machines on them."""
    hosts = {host.name: {"kvm_uri": host.uri} for host in (alpha, beta)}
    (tmp_path / "hosts.json").write_text(json.dumps({"kvm": {"hosts": hosts}}))
    uris = json.dumps([host.uri for host in (alpha, beta)])
    text = f"plugin: virtstack.core.kvm\nuris: {uris}\ngroup_by_labels: [app]\n"
    (tmp_path / "machines.kvm.yml").write_text(text)
    yield ["-i", str(tmp_path / "hosts.json"), "-i", str(tmp_path / "machines.kvm.yml")]
    for host in (alpha, beta):
        with opened(host) as connection:
            take_away_all(connection, ("db", "web"))
            for network in connection.listAllNetworks():
                if network.name() == "lan":
                    if network.isActive():
                        network.destroy()
                    network.undefine()
            for pool in connection.listAllStoragePools():
                if pool.name() == "demo":
                    if pool.isActive():
                        pool.destroy()
                    pool.undefine()


def test_what_the_page_shows_is_in_the_playbook() -> None:
    page = (REPOSITORY / "docs" / "kvm.md").read_text()
    playbook = PLAYBOOK.read_text()
    shown = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    # The inventories and the variables stand in files of their own.
    excerpts = [text for text in shown if "virtstack.core.kvm\n" not in text and not text.startswith("# group_vars")]
    assert len(excerpts) >= 5
    for excerpt in excerpts:
        for piece in excerpt.strip("\n").split("\n\n"):
            assert piece in playbook, piece


def test_from_bare_hosts_to_migrated_machines_twice(inventories: list[str], ansible: Ansible, tiny: Tiny) -> None:
    # The hosts here are namespaces of this machine: installing packages on them would change the machine itself.
    # slow/test_bare_hosts.py runs all of it.
    arguments = [*inventories, "--skip-tags", "hosts"]
    variables = {"image": str(tiny.disk), "memory": "128Mi"}
    first = ansible.play(PLAYBOOK, *arguments, **variables)
    assert first.returncode == 0, first.output
    downtime = re.search(r"[\d.]+ ms", first.output)
    assert downtime, first.output
    print(f"web stood still for {downtime[0]}")
    second = ansible.play(PLAYBOOK, *arguments, **variables)
    assert second.returncode == 0, second.output
    assert second.changed == 0, second.output
