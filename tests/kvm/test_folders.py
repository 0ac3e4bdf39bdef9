"""Directories of a host as files, and the bytes of files from host to host."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm import relay
from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import Host as Connected
from ansible_collections.virtstack.core.plugins.module_utils.kvm.errors import KvmError, NotThere
from ansible_collections.virtstack.core.plugins.module_utils.kvm.folder import Folder, delete_file, volume_xml
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure
from virtlab.hosts.host import Host

pytest.importorskip("libvirt", reason="libvirt-python is not installed")

IMAGES = "/var/lib/libvirt/images"


def test_many_tasks_have_one_directory_open_and_leave_no_pool(alpha: Host) -> None:
    with Connected(alpha.uri) as host, ExitStack() as opened:
        before = {pool.name() for pool in host.connection.listAllStoragePools()}
        folders = [opened.enter_context(Folder(host, IMAGES)) for _number in range(40)]
        folders[0].make("folder-file", volume_xml("folder-file", 5))
        relay.write(host, folders[0].there("folder-file"), b"hello")
        assert "folder-file" in folders[1].names()
        assert relay.read(host, folders[1].there("folder-file"), 10) == b"hello"
        opened.close()
        assert {pool.name() for pool in host.connection.listAllStoragePools()} == before
        assert delete_file(host, f"{IMAGES}/folder-file") and not delete_file(host, f"{IMAGES}/folder-file")


def test_holes_stay_holes_from_host_to_host(alpha: Host, beta: Host) -> None:
    size = 64 * 1024**2
    source, copied = alpha.images / "holes", beta.images / "holes"
    with source.open("wb") as file:
        file.write(b"begin")
        file.seek(size - 3)
        file.write(b"end")
    try:
        with (
            Connected(alpha.uri) as here,
            Connected(beta.uri) as there,
            Folder(here, IMAGES) as from_,
            Folder(there, IMAGES) as to,
        ):
            volume = to.make("holes", volume_xml("holes", size))
            assert relay.copy(here, from_.there("holes"), there, volume) == size
            digest = hashlib.sha256(source.read_bytes()).hexdigest()
            assert relay.sha256(here, from_.there("holes")) == relay.sha256(there, volume) == (digest, size)
        assert copied.read_bytes() == source.read_bytes()
        assert copied.stat().st_blocks * 512 < size // 8
    finally:
        source.unlink()
        copied.unlink(missing_ok=True)


def test_what_is_no_directory_or_no_file_is_told(alpha: Host) -> None:
    with Connected(alpha.uri) as host:
        with pytest.raises(Failure, match="no absolute path"):
            Folder(host, "images")
        with pytest.raises(KvmError, match="Cannot open the directory /nowhere"), Folder(host, "/nowhere"):
            pass
        with Folder(host, IMAGES) as folder, pytest.raises(NotThere, match=f"no file {IMAGES}/none"):
            folder.there("none")
