"""Every playbook below this directory runs on a lab; those that declare run twice. See README.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Ansible, Lab

PLACE = Path(__file__).resolve().parent
# These install the operator themselves, and remove it.
ON_AN_EMPTY_LAB = ("operator",)
# These would move what others have left on the nodes.
ON_A_LAB_OF_THEIR_OWN = ("node_maintenance",)


def playbooks(*, main: bool) -> list[Path]:
    return sorted(path for path in PLACE.glob("*/*.yml") if (path.name == "main.yml") is main)


def name_of(playbook: Path) -> str:
    return f"{playbook.parent.name}/{playbook.stem}"


@pytest.fixture
def lab(request: pytest.FixtureRequest, playbook: Path) -> Lab:
    """The lab that the case needs; an empty one is started for it alone."""
    case = playbook.parent.name
    kind = "own_lab" if case in ON_A_LAB_OF_THEIR_OWN else "installed_lab"
    kind = "empty_lab" if case in ON_AN_EMPTY_LAB else kind
    found: Lab = request.getfixturevalue(kind)
    return found


def namespace_of(playbook: Path) -> str:
    return f"case-{playbook.parent.name}-{playbook.stem}".replace("_", "-")


@pytest.mark.parametrize("playbook", playbooks(main=True), ids=name_of)
def test_a_second_run_changes_nothing_and_only_reads(
    playbook: Path, lab: Lab, ansible: Ansible, tmp_path: Path
) -> None:
    variables = {"test_namespace": namespace_of(playbook), "test_directory": str(tmp_path)}
    first = ansible.playbook(playbook, lab, "--diff", **variables)
    assert first.returncode == 0, first.output
    lab.forget_requests()
    second = ansible.playbook(playbook, lab, "--diff", **variables)
    assert second.returncode == 0, second.output
    assert second.changed == 0, second.output
    assert lab.writes() == {}, second.output


@pytest.mark.parametrize("playbook", playbooks(main=False), ids=name_of)
def test_a_playbook_that_asserts_for_itself(playbook: Path, lab: Lab, ansible: Ansible, tmp_path: Path) -> None:
    variables = {"test_namespace": namespace_of(playbook), "test_directory": str(tmp_path)}
    played = ansible.playbook(playbook, lab, **variables)
    assert played.returncode == 0, played.output


def test_the_quickstart_runs_from_an_empty_cluster_to_an_empty_cluster(empty_lab: Lab, ansible: Ansible) -> None:
    for _run in range(2):
        played = ansible.playbook("virtstack.core.quickstart", empty_lab)
        assert played.returncode == 0, played.output
        assert "the cluster is as it was" in played.output


def test_the_quickstart_leaves_an_operator_that_was_there_and_nodes_alone(installed_lab: Lab, ansible: Ansible) -> None:
    played = ansible.playbook("virtstack.core.quickstart", installed_lab, quickstart_node_network=False)
    assert played.returncode == 0, played.output
    assert "it is left as it is" in played.output
