"""A copy of the collection at the path that Ansible's own tools want, without what is not part of the collection."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_OF_THE_COLLECTION = (
    "lab/",
    "bin/",
    ".ci/",
    "tests/bench/",
    "tests/checks/",
    "tests/clients/",
    "tests/install/",
    "tests/unit/lab/",
)


def files() -> list[str]:
    """The files of the checkout that git tracks or would track."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]


def copy(target: Path) -> Path:
    """Lay the collection out anew below C(target) and return its directory."""
    place = target / "ansible_collections" / "virtstack" / "core"
    shutil.rmtree(place, ignore_errors=True)
    for name in files():
        if not name.startswith(NOT_OF_THE_COLLECTION):
            destination = place / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, destination)
    return place
