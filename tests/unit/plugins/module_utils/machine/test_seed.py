"""The image that cloud-init reads: an ISO 9660 file system with Joliet names, read here by another's rules."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.machine.cloud_init import CloudInit
from ansible_collections.virtstack.core.plugins.module_utils.machine.iso9660 import SECTOR, image
from ansible_collections.virtstack.core.plugins.module_utils.machine.seed import seed_image
from hypothesis import given, settings
from hypothesis import strategies as st

PRIMARY, JOLIET = 16, 17


def descriptor(data: bytes, sector: int) -> bytes:
    found = data[sector * SECTOR : (sector + 1) * SECTOR]
    assert found[1:6] == b"CD001"
    return found


def label(data: bytes) -> str:
    return descriptor(data, PRIMARY)[40:72].decode().strip()


def entries(data: bytes, place: int, encoding: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Files below a directory that begins in a sector, by their paths (ECMA-119 9.1)."""
    position = place * SECTOR
    while data[position]:
        record = data[position : position + data[position]]
        extent, size = struct.unpack("<I", record[2:6])[0], struct.unpack("<I", record[10:14])[0]
        assert struct.unpack(">I", record[6:10])[0] == extent and struct.unpack(">I", record[14:18])[0] == size
        name = record[33 : 33 + record[32]]
        if name not in (b"\0", b"\1"):
            path = f"{prefix}{name.decode(encoding)}"
            if record[25] & 2:
                yield from entries(data, extent, encoding, f"{path}/")
            else:
                yield path, data[extent * SECTOR : extent * SECTOR + size]
        position += len(record)


def files(data: bytes, sector: int = JOLIET) -> dict[str, bytes]:
    root = descriptor(data, sector)[156:190]
    encoding = "utf-16-be" if sector == JOLIET else "ascii"
    return dict(entries(data, struct.unpack("<I", root[2:6])[0], encoding))


SEED = CloudInit("#cloud-config\nhostname: ü\n", "version: 2\n")


def test_a_seed_holds_what_cloud_init_looks_for() -> None:
    data = seed_image(SEED, "1234", "db")
    assert label(data) == "cidata"
    assert {name: content.decode() for name, content in files(data).items()} == {
        "user-data": "#cloud-config\nhostname: ü\n",
        "network-config": "version: 2\n",
        "meta-data": "instance-id: 1234\nlocal-hostname: db\n",
    }


def test_a_seed_without_user_data_has_some_that_does_nothing() -> None:
    assert files(seed_image(CloudInit(), "1", "db"))["user-data"].startswith(b"#cloud-config")


def test_a_config_drive_has_its_directories() -> None:
    data = seed_image(CloudInit("#!/bin/sh\n", datasource="config_drive"), "1234", "db")
    assert label(data) == "config-2"
    assert set(files(data)) == {"openstack/latest/meta_data.json", "openstack/latest/user_data"}
    assert b'"uuid": "1234"' in files(data)["openstack/latest/meta_data.json"]


def test_the_same_seed_is_the_same_bytes() -> None:
    assert seed_image(SEED, "1", "db") == seed_image(SEED, "1", "db")
    assert seed_image(SEED, "1", "db") != seed_image(SEED, "2", "db")


def test_systems_without_joliet_find_the_files_by_their_short_names() -> None:
    assert set(files(seed_image(SEED, "1", "db"), PRIMARY)) == {"META-DATA.;1", "NETWORK-CONFIG.;1", "USER-DATA.;1"}


PARTS = st.from_regex(r"[a-z][a-z0-9_-]{0,7}", fullmatch=True)
TREES = st.dictionaries(
    st.lists(PARTS, min_size=1, max_size=3).map("/".join), st.binary(max_size=5000), min_size=1, max_size=5
).filter(lambda tree: not any(other.startswith(f"{path}/") for path in tree for other in tree))


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_files_of_any_size_come_back(tree: dict[str, bytes]) -> None:
    data = image("label", tree)
    assert len(data) % SECTOR == 0
    assert files(data) == tree


@pytest.mark.skipif(shutil.which("isoinfo") is None, reason="isoinfo is not installed")
def test_another_reader_reads_it(tmp_path: Path) -> None:
    (tmp_path / "seed.iso").write_bytes(seed_image(SEED, "1234", "db"))
    command = ["isoinfo", "-J", "-i", str(tmp_path / "seed.iso"), "-x", "/meta-data"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "instance-id: 1234\nlocal-hostname: db\n"
