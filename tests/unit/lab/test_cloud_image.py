"""What of the Debian image can be told without making it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from virtlab.cloud_image import bare, debian, image
from virtlab.tiny import disk


def test_an_image_that_is_kept_is_given_once_and_again_when_it_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "codename", lambda: "bookworm")
    kept = tmp_path / "cache" / image._recipe() / "debian.qcow2"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"an image")

    made = image.make(tmp_path / "pool", tmp_path / "cache")
    first = made.disk.stat().st_mtime_ns
    assert made.disk.read_bytes() == b"an image"
    assert image.make(tmp_path / "pool", tmp_path / "cache").disk.stat().st_mtime_ns == first
    made.disk.unlink()
    assert image.make(tmp_path / "pool", tmp_path / "cache").disk.read_bytes() == b"an image"


def test_it_is_refused_where_it_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "codename", lambda: "bookworm")
    monkeypatch.setattr(debian, "sources", lambda: "deb nowhere bookworm main\n")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda *_arguments, **_options: None)

    with pytest.raises(image.ImageError, match="mmdebstrap is missing; see install_kvm_packages"):
        image.make(tmp_path / "pool", tmp_path / "cache")
    assert not (tmp_path / "pool").exists()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(image.ImageError, match="run by root"):
        image.make(tmp_path / "pool", tmp_path / "cache")


def test_partitions_lie_behind_each_other_and_inside_the_disk(tmp_path: Path) -> None:
    if not any(Path(path).exists() for path in disk.MBR):
        pytest.skip("syslinux-common is not installed")
    raw = tmp_path / "raw"
    disk.partition(raw, image.SIZE, (disk.BOOT_START, image.BOOT_SIZE), (image.ROOT_START, image.ROOT_SIZE))
    with raw.open("rb") as file:
        record = file.read(512)
    starts_sizes = [struct.unpack_from("<II", record, 446 + 16 * number + 8) for number in range(2)]

    assert starts_sizes[0][0] + starts_sizes[0][1] == starts_sizes[1][0]
    assert (starts_sizes[1][0] + starts_sizes[1][1]) * 512 == image.SIZE == raw.stat().st_size


def test_a_bare_root_is_made_once_and_each_machine_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[Path] = []

    def unpack(root: Path, _listed: Path, _packages: object) -> None:
        (root / "etc" / "ssh").mkdir(parents=True)
        (root / "etc" / "ssh" / "ssh_host_key").write_text("of all of them")
        unpacked.append(root)

    monkeypatch.setattr(debian, "codename", lambda: "bookworm")
    monkeypatch.setattr(debian, "sources", lambda: "deb nowhere bookworm main\n")
    monkeypatch.setattr(debian, "unpack", unpack)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for name in ("one", "other"):
        bare.copy(tmp_path / name, tmp_path / "cache")
    assert len(unpacked) == 1 and len(list((tmp_path / "cache").iterdir())) == 1
    (tmp_path / "one" / "etc" / "machine-id").write_text("1")
    assert (tmp_path / "other" / "etc" / "machine-id").read_text() == ""
    assert not list((tmp_path / "one" / "etc" / "ssh").iterdir())
