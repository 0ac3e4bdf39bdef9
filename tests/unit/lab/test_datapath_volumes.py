"""Files and objects of a cluster: which belong together, and what is done about those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from played import Played
from virtlab.datapath.volumes import Volumes, tidy

MIB = 1 << 20


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    found = Played(storage=tmp_path_factory.mktemp("lab") / "storage")
    found.create("namespaces", "prod")
    return found


def claim(played: Played, name: str, storage_class: str = "lab-block", **spec: object) -> Path:
    """The disk of a new claim of 4 MiB."""
    size = {"requests": {"storage": "4Mi"}}
    wanted = {"accessModes": ["ReadWriteOnce"], "storageClassName": storage_class, "resources": size, **spec}
    played.create("persistentvolumeclaims", name, wanted, "prod")
    assert isinstance(played.cluster.volumes, Volumes)
    return played.cluster.volumes.disk(played.get("persistentvolumeclaims", name, "prod"))


def test_a_bound_claim_has_a_disk_of_its_size_that_takes_no_room(played: Played) -> None:
    block, files = claim(played, "block", volumeMode="Block"), claim(played, "files")
    assert (block.stat().st_size, block.stat().st_blocks) == (4 * MIB, 0)
    assert files.stat().st_size == 3 * MIB  # what a file system leaves, in whole mebibytes


def test_a_claim_that_waits_has_none(played: Played) -> None:
    assert not claim(played, "waits", "lab-file").exists()


def test_what_a_crash_left_is_swept_and_what_a_lab_played_before_gets_a_disk(played: Played) -> None:
    kept, missing = claim(played, "kept", volumeMode="Block"), claim(played, "missing", volumeMode="Block")
    kept.write_bytes(b"kept")
    missing.unlink()
    root = kept.parents[3]
    strays = [
        root / "lab-block/prod/gone/disk.img",
        root / ".snapshots/snapcontent-gone.img",
        root / ".released/pvc-gone.img",
        kept.with_name(".disk.img.tag.part"),
    ]
    for stray in strays:
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_bytes(b"stray")
    tidy(played.cluster)
    assert not [stray for stray in strays if stray.exists()]
    assert kept.read_bytes() == b"kept"
    assert missing.stat().st_size == 4 * MIB


def test_files_go_with_their_namespace(played: Played) -> None:
    played.create("namespaces", "short")
    size = {"requests": {"storage": "4Mi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "lab-block", "resources": size}
    played.create("persistentvolumeclaims", "c", spec, "short")
    assert played.cluster.volumes is not None
    directory = played.cluster.volumes.disks.root / "lab-block/short"
    assert directory.exists()
    played.delete("namespaces", "short")
    assert not directory.exists()
