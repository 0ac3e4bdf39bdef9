"""The collection works from its own tarball, installed into an empty directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BINARIES = Path(sys.executable).parent


def ansible(*command: str, cwd: Path, collections: Path) -> str:
    """Run an Ansible command that finds collections in one place only; returns what it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHONPATH"))}
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    environment["ANSIBLE_HOME"] = str(cwd / "home")
    result = subprocess.run(
        [BINARIES / command[0], *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("built")
    ansible(
        "ansible-galaxy",
        "collection",
        "build",
        str(REPOSITORY),
        "--output-path",
        str(place),
        cwd=place,
        collections=place,
    )
    (built,) = place.glob("virtstack-core-*.tar.gz")
    return built


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("installed")
    ansible(
        "ansible-galaxy",
        "collection",
        "install",
        "--offline",
        str(tarball),
        "-p",
        str(place),
        cwd=place,
        collections=place,
    )
    return place


def test_the_tarball_holds_the_collection_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        tops = {name.split("/")[0] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.rst", "meta", "plugins", "playbooks", "docs"} <= tops
    assert tops.isdisjoint({"lab", "tests", "bin", ".ci", ".git"})


def test_modules_document_themselves_from_the_tarball(installed: Path) -> None:
    listed = json.loads(
        ansible(
            "ansible-doc", "--list", "--json", "-t", "module", "virtstack.core", cwd=installed, collections=installed
        )
    )
    wanted = {f"virtstack.core.{path.stem}" for path in (REPOSITORY / "plugins" / "modules").glob("*.py")}
    assert set(listed) == wanted - {"virtstack.core.__init__"}


def test_a_task_from_the_tarball_reports_an_unreachable_cluster(installed: Path) -> None:
    command = [
        BINARIES / "ansible",
        "localhost",
        "-m",
        "virtstack.core.vm_info",
        "-a",
        "host=https://127.0.0.1:1 api_key=none validate_certs=false namespace=prod",
    ]
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(installed))
    result = subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "127.0.0.1:1" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
