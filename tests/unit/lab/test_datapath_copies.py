"""Copies of real bytes: clones, snapshots, restores, growth, and what is deleted."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from volumes import CDI, MIB, Object, Volumes, digest, image
from wire import Api

SNAPSHOT = "/apis/snapshot.kubevirt.io/v1beta1/namespaces/{ns}/virtualmachinesnapshots"
RESTORE = "/apis/snapshot.kubevirt.io/v1beta1/namespaces/{ns}/virtualmachinerestores"
CLONE = "/apis/clone.kubevirt.io/v1beta1/namespaces/{ns}/virtualmachineclones"
MACHINE = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines"
FILES = {"storageClassName": "lab-file"}
NOW = {"annotations": {"cdi.kubevirt.io/storage.bind.immediate.requested": ""}}
MERGE = {"Content_Type": "application/merge-patch+json"}


def vm(name: str) -> Object:
    return {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": name}


@pytest.fixture
def filled(volumes: Volumes, tmp_path: Path) -> Volumes:
    """With a volume C(disk) of 16 MiB that has data in it."""
    volumes.data_volume("disk", {"upload": {}})
    volumes.phase("disk", "UploadReady")
    assert volumes.upload("disk", image(tmp_path / "raw", 16 * MIB)).status == 200
    volumes.phase("disk", "Succeeded")
    return volumes


def overwrite(path: Path, seed: int) -> str:
    """Other bytes in the same file, as a guest would write them; their digest."""
    other = image(path.with_name("other"), path.stat().st_size, seed)
    with open(path, "r+b") as file:
        file.write(other.read_bytes())
    other.unlink()
    return digest(path)


def test_a_clone_has_the_bytes_and_stays_sparse(filled: Volumes) -> None:
    filled.data_volume("copy", {"pvc": {"name": "disk", "namespace": filled.namespace}}, "32Mi")
    done = filled.phase("copy", "Succeeded")
    assert done["metadata"]["annotations"]["cdi.kubevirt.io/cloneType"] == "csi-clone"
    running = next(item for item in done["status"]["conditions"] if item["type"] == "Running")
    assert running["message"] == "Clone Complete"
    copy = filled.disk("copy")
    assert copy.stat().st_size == 32 * MIB
    assert digest(copy, 16 * MIB) == digest(filled.disk("disk"))
    assert copy.stat().st_blocks * 512 < MIB


def test_a_clone_into_other_storage_is_copied_and_says_why(volumes: Volumes, tmp_path: Path) -> None:
    volumes.data_volume("files", {"upload": {}}, storage=FILES, metadata=NOW)
    volumes.phase("files", "UploadReady")
    assert volumes.upload("files", image(tmp_path / "raw", 16 * MIB)).status == 200
    volumes.phase("files", "Succeeded")
    volumes.data_volume("copy", {"pvc": {"name": "files", "namespace": volumes.namespace}}, "32Mi")
    volumes.phase("copy", "Succeeded")
    annotations = volumes.get(volumes.claim_path("copy"))["metadata"]["annotations"]
    assert annotations["cdi.kubevirt.io/cloneType"] == "copy"
    assert annotations["cdi.kubevirt.io/cloneFallbackReason"] == "Provisioners are incompatible"
    assert ("IncompatibleProvisioners", "Provisioners are incompatible") in volumes.events("copy")
    assert digest(volumes.disk("copy"), 16 * MIB) == digest(volumes.disk("files", "lab-file"))


def test_a_clone_that_would_be_too_small_is_not_begun(filled: Volumes) -> None:
    filled.data_volume("copy", {"pvc": {"name": "disk", "namespace": filled.namespace}}, "8Mi")
    text = f"target resources requests storage size is smaller than the source {8 * MIB} < {16 * MIB}"
    until = time.monotonic() + 30
    while ("ErrIncompatiblePVC", text) not in filled.events("copy"):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not filled.disk("copy").exists()


def test_a_claim_may_begin_as_a_copy_of_another_one(filled: Volumes) -> None:
    filled.claim("twin", spec={"dataSource": {"kind": "PersistentVolumeClaim", "name": "disk"}})
    filled.wait(filled.claim_path("twin"), lambda claim: claim.get("status", {}).get("phase") == "Bound")
    assert digest(filled.disk("twin")) == digest(filled.disk("disk"))


def test_a_snapshot_keeps_what_was_and_a_restore_brings_it_back(filled: Volumes) -> None:
    was = digest(filled.disk("disk"))
    filled.machine("vm", "disk")
    filled.create(SNAPSHOT, "VirtualMachineSnapshot", "s", spec={"source": vm("vm")})
    filled.wait(f"{SNAPSHOT}/s", lambda item: item.get("status", {}).get("readyToUse"))
    assert overwrite(filled.disk("disk"), 2) != was
    spec = {"target": vm("vm"), "virtualMachineSnapshotName": "s"}
    filled.create(RESTORE, "VirtualMachineRestore", "r", spec=spec)
    filled.wait(f"{RESTORE}/r", lambda item: item.get("status", {}).get("complete"))
    claim = filled.get(f"{MACHINE}/vm")["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim != "disk"
    assert digest(filled.disk(claim)) == was
    assert digest(filled.disk("disk")) != was


def test_a_snapshot_that_is_deleted_takes_its_bytes_with_it(filled: Volumes) -> None:
    directory = filled.state_dir / "storage/.snapshots"
    before = set(directory.glob("*.img"))
    filled.machine("vm", "disk")
    filled.create(SNAPSHOT, "VirtualMachineSnapshot", "s", spec={"source": vm("vm")})
    filled.wait(f"{SNAPSHOT}/s", lambda item: item.get("status", {}).get("readyToUse"))
    assert len(set(directory.glob("*.img")) - before) == 1
    filled.api("DELETE", f"{SNAPSHOT}/s")
    until = time.monotonic() + 30
    while set(directory.glob("*.img")) - before and time.monotonic() < until:
        time.sleep(0.05)
    assert set(directory.glob("*.img")) <= before


def test_a_machine_is_cloned_with_its_bytes(filled: Volumes) -> None:
    filled.machine("vm", "disk")
    filled.create(CLONE, "VirtualMachineClone", "c", spec={"source": vm("vm"), "target": vm("twin")})
    filled.wait(f"{CLONE}/c", lambda item: item.get("status", {}).get("phase") == "Succeeded")
    volume = filled.get(f"{MACHINE}/twin")["spec"]["template"]["spec"]["volumes"][0]
    assert digest(filled.disk(volume["persistentVolumeClaim"]["claimName"])) == digest(filled.disk("disk"))


def test_a_data_source_leads_to_the_bytes(filled: Volumes) -> None:
    source = {"source": {"pvc": {"name": "disk", "namespace": filled.namespace}}}
    filled.create(f"{CDI}/namespaces/{{ns}}/datasources", "DataSource", "golden", spec=source)
    reference = {"kind": "DataSource", "name": "golden"}
    storage: Object = {"resources": {"requests": {"storage": "16Mi"}}}
    path = f"{CDI}/namespaces/{{ns}}/datavolumes"
    filled.create(path, "DataVolume", "copy", spec={"sourceRef": reference, "storage": storage})
    filled.phase("copy", "Succeeded")
    assert digest(filled.disk("copy")) == digest(filled.disk("disk"))


def test_a_disk_grows_with_its_claim_and_keeps_its_bytes(filled: Volumes) -> None:
    was = digest(filled.disk("disk"))
    patch = {"spec": {"resources": {"requests": {"storage": "24Mi"}}}}
    assert filled.api("PATCH", filled.claim_path("disk"), patch, **MERGE).status == 200
    filled.wait(filled.claim_path("disk"), lambda claim: claim["status"]["capacity"]["storage"] == "24Mi")
    assert filled.disk("disk").stat().st_size == 24 * MIB
    assert digest(filled.disk("disk"), 16 * MIB) == was


def test_a_claim_that_is_deleted_takes_its_disk_with_it_and_a_retained_volume_does_not(filled: Volumes) -> None:
    volume = filled.get(filled.claim_path("disk"))["spec"]["volumeName"]
    was = digest(filled.disk("disk"))
    filled.claim("blank")
    filled.wait(filled.claim_path("blank"), lambda claim: claim.get("status", {}).get("phase") == "Bound")
    assert filled.disk("blank").stat().st_blocks == 0
    keep = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    assert filled.api("PATCH", f"/api/v1/persistentvolumes/{volume}", keep, **MERGE).status == 200
    filled.api("DELETE", filled.claim_path("blank"))
    filled.api("DELETE", f"{CDI}/namespaces/{{ns}}/datavolumes/disk")
    until = time.monotonic() + 30
    while (filled.disk("disk").exists() or filled.disk("blank").exists()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not filled.disk("blank").parent.exists()
    kept = filled.state_dir / f"storage/.released/{volume}.img"
    assert digest(kept) == was
    filled.api("DELETE", f"/api/v1/persistentvolumes/{volume}")
    while kept.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not kept.exists()


def test_a_source_in_use_is_not_copied_until_it_is_free(volumes: Volumes) -> None:
    volumes.data_volume("used", {"blank": {}}, storage=FILES, metadata=NOW)
    volumes.phase("used", "Succeeded")
    volumes.machine("vm", "used", strategy="Always")
    volumes.wait(f"{MACHINE}/vm", lambda item: item.get("status", {}).get("ready"))
    source = {"pvc": {"name": "used", "namespace": volumes.namespace}}
    volumes.data_volume("copy", source, storage=FILES, metadata=NOW)
    volumes.phase("copy", "CloneScheduled")
    until = time.monotonic() + 30
    while not any(reason == "CloneSourceInUse" for reason, _ in volumes.events("copy")):
        assert time.monotonic() < until
        time.sleep(0.05)
    volumes.api("PATCH", f"{MACHINE}/vm", {"spec": {"runStrategy": "Halted"}}, **MERGE)
    volumes.phase("copy", "Succeeded")


def test_a_lab_that_was_killed_has_the_bytes_and_none_that_were_half_made(own_lab: Any, tmp_path: Path) -> None:
    lab = own_lab
    volumes = Volumes(Api(Path(lab.kubeconfig), "default"), lab.state_dir)
    raw = image(tmp_path / "raw")
    for name in ("disk", "half"):
        volumes.data_volume(name, {"upload": {}})
        volumes.phase(name, "UploadReady")
    assert volumes.upload("disk", raw).status == 200
    volumes.phase("disk", "Succeeded")
    was, proxy = digest(volumes.disk("disk")), volumes.get(f"{CDI}/cdiconfigs/config")["status"]["uploadProxyURL"]
    stray = volumes.disk("stray")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"of a claim that a crash forgot")
    connection = volumes.proxy()
    connection.putrequest("POST", "/v1beta1/upload")
    connection.putheader("Authorization", f"Bearer {volumes.token('half')}")
    connection.putheader("Content-Length", str(8 * MIB))
    connection.endheaders(raw.read_bytes()[: 4 * MIB])
    directory = volumes.disk("half").parent
    until = time.monotonic() + 30
    while not (directory.exists() and any(directory.iterdir())) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.5)  # the database is written behind
    process = os.pidfd_open(int((lab.state_dir / "server.lock").read_text()))
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)
    connection.close()
    lab.command("start", "--quiet")
    assert digest(volumes.disk("disk")) == was
    assert list(directory.iterdir()) == []
    assert not stray.exists()
    assert volumes.get(f"{CDI}/cdiconfigs/config")["status"]["uploadProxyURL"] == proxy
    assert volumes.phase("half", "UploadReady", "Succeeded")["status"]["phase"] == "UploadReady"
    assert volumes.upload("half", raw).status == 200
    volumes.phase("half", "Succeeded")
    assert digest(volumes.disk("half")) == was
    lab.command("reset")
    assert not volumes.disk("disk").exists()
