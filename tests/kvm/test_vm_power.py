"""Power states of machines and what is told of them, as playbooks on a real host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playing import Ansible
from stage import remove_machines
from virtlab.hosts.host import Host

CASES = Path(__file__).parent


@pytest.fixture(scope="module")
def host(staged: Host) -> Iterator[Host]:
    yield staged
    remove_machines(staged, "power-", "told-")


def test_a_second_run_changes_nothing(host: Host, ansible: Ansible) -> None:
    playbook = CASES / "kvm_vm_power" / "main.yml"
    first = ansible.play(playbook, "--diff", uri=host.uri)
    assert first.returncode == 0, first.output
    assert first.changed == 4, first.output
    # A machine that was saved is started again by the first task.
    second = ansible.play(playbook, "--diff", uri=host.uri, first_run=False)
    assert second.returncode == 0, second.output
    third = ansible.play(playbook, "--diff", uri=host.uri, first_run=False)
    assert third.changed == 0, third.output


@pytest.mark.parametrize("case", ["kvm_vm_power/states", "kvm_vm_info/main"])
def test_a_playbook_that_asserts_for_itself(case: str, host: Host, ansible: Ansible) -> None:
    played = ansible.play(CASES / f"{case}.yml", uri=host.uri, place=str(host.shared))
    assert played.returncode == 0, played.output
