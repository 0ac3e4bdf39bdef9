"""A whole Debian with cloud-init: what was declared of a machine has come about inside of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playing import Ansible
from stage import opened, remove_machines
from virtlab.cloud_image.image import ImageError, make
from virtlab.hosts.host import Host

pytest.importorskip("libvirt", reason="libvirt-python is not installed")

NAME = "cloud-guest"


@pytest.fixture
def host(staged: Host) -> Iterator[Host]:
    """The host C(alpha) with the image in its pool."""
    with opened(staged) as connection:
        pool = connection.storagePoolLookupByName("default")
        place = Path(pool.XMLDesc().partition("<path>")[2].partition("</path>")[0])
        try:
            made = make(place)
        except ImageError as error:
            pytest.skip(f"the Debian image cannot be made here: {error}")
        pool.refresh()
        yield staged
        remove_machines(staged, NAME)
        made.disk.unlink()
        pool.refresh()


def test_cloud_init_does_what_was_declared(host: Host, ansible: Ansible, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is missing")
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "keeper", "-f", path], check=True)
    key = path.with_suffix(".pub").read_text().strip()
    played = ansible.play(Path(__file__).parent / "cloud_guest.yml", uri=host.uri, key=key)

    assert played.returncode == 0, played.output
