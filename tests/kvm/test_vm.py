"""Machines declared on a real host, as playbooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playing import Ansible
from stage import remove_machines
from virtlab.hosts.host import Host

CASES = Path(__file__).parent / "kvm_vm"
PREFIXES = ("main-", "live-", "bad-", "gone-", "both-")


@pytest.fixture(scope="module")
def host(staged: Host) -> Iterator[Host]:
    yield staged
    remove_machines(staged, *PREFIXES)


def test_a_second_run_changes_nothing(host: Host, ansible: Ansible) -> None:
    foretold = ansible.play(CASES / "main.yml", "--check", "--diff", uri=host.uri)
    assert foretold.returncode == 0, foretold.output
    first = ansible.play(CASES / "main.yml", "--diff", uri=host.uri)
    assert first.returncode == 0, first.output
    assert first.changed == foretold.changed == 4, first.output
    second = ansible.play(CASES / "main.yml", "--diff", uri=host.uri)
    assert second.returncode == 0, second.output
    assert second.changed == 0, second.output


@pytest.mark.parametrize("case", sorted(path.stem for path in CASES.glob("*.yml") if path.stem != "main"))
def test_a_playbook_that_asserts_for_itself(case: str, host: Host, ansible: Ansible, tmp_path: Path) -> None:
    played = ansible.play(CASES / f"{case}.yml", uri=host.uri, work=str(tmp_path))
    assert played.returncode == 0, played.output
