"""Exports of the lab: their manifests with and without what lets in, and imports that were cut off."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, deleted
from ansible_collections.virtstack.core.plugins.module_utils.cluster.wait import wait
from ansible_collections.virtstack.core.plugins.module_utils.objects import cdi, exports
from ansible_collections.virtstack.core.plugins.module_utils.objects.cdi import DATA_VOLUME
from ansible_collections.virtstack.core.plugins.module_utils.objects.core import NAMESPACE, PVC
from ansible_collections.virtstack.core.plugins.module_utils.objects.data_volume_tasks import declare_volumes
from ansible_collections.virtstack.core.plugins.module_utils.objects.export_task import export_source
from ansible_collections.virtstack.core.plugins.module_utils.objects.import_task import refusal
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt import VIRTUAL_MACHINE, at
from ansible_collections.virtstack.core.plugins.module_utils.task import (
    Failure,
    Result,
    Task,
    attempt,
    secret_values,
)
from ansible_collections.virtstack.core.plugins.modules import data_volume, vm_export


def options(module: Any, **given: Any) -> dict[str, Any]:
    defaults = {name: spec.get("default") for name, spec in module.SPEC.options.items()}
    return {**defaults, "wait": True, "wait_timeout": 60, **given}


@pytest.fixture
def disk(client: Client, namespace: str) -> str:
    given = options(data_volume, name="disk", namespace=namespace, blank=True, size="16Mi")
    declare_volumes(client, Task(given))
    return namespace


@pytest.fixture
def machine(client: Client, disk: str) -> str:
    """A halted machine on the disk; the namespace of both."""
    volume = {"name": "root", "dataVolume": {"name": "disk"}}
    domain = {"devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]}, "memory": {"guest": "64Mi"}}
    spec = {"runStrategy": "Halted", "template": {"spec": {"domain": domain, "volumes": [volume]}}}
    metadata = {"name": "db", "namespace": disk}
    client.create(
        VIRTUAL_MACHINE, {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, "spec": spec}
    )
    return disk


def run(client: Client, namespace: str, **given: Any) -> Result:
    return export_source(client, Task(options(vm_export, namespace=namespace, **given)))


def token(client: Client, namespace: str, name: str) -> str:
    secret = client.get(exports.SECRET, f"export-token-{name}", namespace)
    return base64.b64decode(at(secret, "data.token")).decode()


def test_the_credentials_of_another_cluster_are_secrets() -> None:
    there = {"namespace": "a", "kubeconfig": {"users": [{"user": {"token": "hush-hush"}}]}}
    assert secret_values(vm_export.SPEC, {"import_to": there}) == {"hush-hush"}
    assert secret_values(vm_export.SPEC, {"import_to": None}) == set()


def test_manifests_let_in_only_where_they_are_told_to(client: Client, machine: str, tmp_path: Path) -> None:
    plain, full = tmp_path / "plain.yml", tmp_path / "full.yml"
    results = [
        run(client, machine, vm="db", manifest_dest=str(plain)),
        run(client, machine, vm="db", manifest_dest=str(full), include_secret=True),
    ]
    secret = token(client, machine, "db")
    kinds = [item["kind"] for item in yaml.safe_load_all(plain.read_text())]
    assert "Secret" not in kinds
    assert "VirtualMachine" in kinds
    assert secret not in plain.read_text()
    assert secret in full.read_text()
    assert stat.S_IMODE(full.stat().st_mode) == 0o600
    assert secret not in str(results)


def test_manifests_that_are_the_same_are_not_written_again(client: Client, machine: str, tmp_path: Path) -> None:
    path = tmp_path / "db.yml"
    assert run(client, machine, vm="db", manifest_dest=str(path))["changed"]
    before = path.stat()
    assert not run(client, machine, vm="db", manifest_dest=str(path))["changed"]
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_manifests_on_a_full_disk_are_told_and_not_half_written(client: Client, machine: str, tiny: Path) -> None:
    (tiny / "much").write_bytes(b"x" * (tiny.stat().st_blksize * 256))
    with pytest.raises(Failure, match=r"db.yml cannot be written: No space left on device. Nothing was kept"):
        run(client, machine, vm="db", manifest_dest=str(tiny / "db.yml"))
    assert [path.name for path in tiny.iterdir()] == ["much"]


def test_an_import_that_was_cut_off_is_finished_by_the_next_run(client: Client, disk: str, lab: Any) -> None:
    there = {"namespace": disk, "name": "copy", "storage_class": None, "keep_identity": False}
    lab.fault("import", path=f"{disk}/copy", message="expected status code 200, got 503. Status: 503")
    run(client, disk, pvc="disk")
    given = options(vm_export, namespace=disk, pvc="disk", import_to=there, wait_timeout=4)
    failed = attempt(lambda task: export_source(client, task), Task(given))
    # Though the export was there before, objects were made.
    assert failed["failed"] and failed["changed"] and failed["exports"][0]["changed"]
    assert "The next run goes on with it" in failed["msg"]
    assert f"created DataVolume {disk}/copy" in failed["msg"]
    volume = client.get(DATA_VOLUME, "copy", disk)
    assert at(volume, "status.phase") != "Succeeded"
    lab.behave()
    assert run(client, disk, pvc="disk", import_to=there)["changed"]
    assert at(client.get(DATA_VOLUME, "copy", disk), "status.phase") == "Succeeded"
    assert not run(client, disk, pvc="disk", import_to=there)["changed"]
    # What let it in is not left behind.
    assert client.get(exports.SECRET, "header-secret-disk", disk) is None


def test_a_machine_is_imported_into_another_cluster(
    client: Client, machine: str, new_lab: Callable[[], Iterator[Any]]
) -> None:
    others = new_lab()
    other = next(others)
    try:
        elsewhere = connect({"kubeconfig": other.kubeconfig})
        elsewhere.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "moved"}})
        there = {"namespace": "moved", "name": None, "storage_class": None, "kubeconfig": other.kubeconfig}
        # The other fixtures go on with the first cluster.
        assert run(client, machine, vm="db", import_to=there)["exports"][0]["imported"]["namespace"] == "moved"
        vm = elsewhere.get(VIRTUAL_MACHINE, "db", "moved")
        assert at(vm, "spec.runStrategy") == "Halted"
        assert at(elsewhere.get(DATA_VOLUME, "disk", "moved"), "status.phase") == "Succeeded"
        assert client.get(VIRTUAL_MACHINE, "db", "moved") is None
        assert not run(client, machine, vm="db", import_to=there)["changed"]
    finally:
        next(others, None)


def test_a_secret_that_is_not_there_is_told(client: Client, disk: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"mine|secret"):
        run(client, disk, pvc="disk", token_secret="mine", download_dest=str(tmp_path), wait_timeout=5)


def test_nothing_is_fetched_over_files_that_are_there(client: Client, disk: str, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_text("dear")
    with pytest.raises(Failure, match=r"disk\.img exists"):
        run(client, disk, pvc="disk", download_dest=str(tmp_path))
    assert (tmp_path / "disk.img").read_text() == "dear"


def test_a_file_has_the_checksum_that_is_wanted(client: Client, disk: str, tmp_path: Path) -> None:
    def fetch(**given: Any) -> Result:
        return run(client, disk, pvc="disk", download_dest=str(tmp_path), **given)

    for checksums, told in (
        ({"disk": "nonsense"}, r"checksums: 'nonsense' is none"),
        ({"other": f"sha256:{'0' * 64}"}, "the export has no volume other; it has disk. Nothing was fetched"),
        ({"disk": f"sha256:{'0' * 64}"}, "not 0000.* It was removed"),
    ):
        with pytest.raises(Failure, match=told):
            fetch(checksums=checksums)
        assert not list(tmp_path.iterdir())
    with pytest.raises(Failure, match="give that as well"):
        run(client, disk, pvc="disk", checksums={"disk": f"sha256:{'0' * 64}"})
    digest = fetch()["exports"][0]["files"][0]["sha256"]
    # What is there with its checksum is no hindrance.
    assert not fetch(checksums={"disk": f"sha256:{digest}"})["changed"]


def test_an_import_does_not_take_a_claim_that_has_the_name_of_its_volume(client: Client, namespace: str) -> None:
    template = {
        "metadata": {"name": "db-root"},
        "spec": {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "16Mi"}}}},
    }
    volume = {"name": "root", "dataVolume": {"name": "db-root"}}
    domain = {"devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]}, "memory": {"guest": "64Mi"}}
    machine: Any = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "db", "namespace": namespace},
        "spec": {
            "runStrategy": "Halted",
            "dataVolumeTemplates": [template],
            "template": {"spec": {"domain": domain, "volumes": [volume]}},
        },
    }
    client.create(VIRTUAL_MACHINE, machine)
    assert wait_for_volume(client, "db-root", namespace)
    claim: Any = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "copy-root", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}},
    }
    client.create(PVC, claim)
    there = {"namespace": namespace, "name": "copy", "storage_class": None, "keep_identity": False}
    with pytest.raises(Failure, match=r"PersistentVolumeClaim test-\d+/copy-root exists already"):
        run(client, namespace, vm="db", import_to=there, wait_timeout=60)
    assert client.get(VIRTUAL_MACHINE, "copy", namespace) is None
    client.delete(PVC, "copy-root", namespace)
    wait(client, PVC, "copy-root", namespace, deleted, timeout=60)
    assert run(client, namespace, vm="db", import_to=there)["changed"]


def test_volumes_that_a_machine_cannot_make_are_not_waited_for() -> None:
    failure = {"type": "Failure", "status": "True", "reason": "FailedCreate", "message": "no quota"}
    assert refusal({"status": {"conditions": [failure]}}) == Failed("FailedCreate: no quota")
    assert isinstance(refusal({"status": {"conditions": [{**failure, "reason": "FailedDelete"}]}}), Progress)
    assert isinstance(refusal({"status": {"conditions": [{**failure, "status": "False"}]}}), Progress)
    assert isinstance(refusal(None), Progress)


def wait_for_volume(client: Client, name: str, namespace: str) -> bool:
    found = wait(client, DATA_VOLUME, name, namespace, cdi.check, timeout=60)
    return at(found, "status.phase") == "Succeeded"
