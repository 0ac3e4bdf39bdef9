"""Labs for the playbooks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labs import Lab
from playing import REPOSITORY, Ansible, Played, ansible, executable

__all__ = ["REPOSITORY", "TIME_FACTOR", "Ansible", "Lab", "Played", "ansible", "executable"]
TIME_FACTOR = "0.02"


@pytest.fixture(scope="session")
def installed_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with the operator installed and ready, shared by all tests; each uses namespaces of its own."""
    lab = Lab(tmp_path_factory.mktemp("installed"))
    lab.command("start", "--installed", "--time-factor", TIME_FACTOR, "--quiet")
    yield lab
    lab.command("stop")


@pytest.fixture
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with the operator installed, for a test that would disturb others."""
    lab = Lab(tmp_path_factory.mktemp("own"))
    lab.command("start", "--installed", "--time-factor", TIME_FACTOR, "--quiet")
    yield lab
    lab.command("stop")


@pytest.fixture
def empty_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab as it comes, for a test that installs the operator itself."""
    lab = Lab(tmp_path_factory.mktemp("empty"))
    lab.command("start", "--time-factor", TIME_FACTOR, "--quiet")
    yield lab
    lab.command("stop")
