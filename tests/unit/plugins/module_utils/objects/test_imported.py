"""Manifests of exports, made fit for another place."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.objects import imported
from ansible_collections.virtstack.core.plugins.module_utils.objects.data_volumes import BIND_NOW
from ansible_collections.virtstack.core.plugins.module_utils.objects.imported import ORIGIN, Wish
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

ORIGINAL = "prod/VirtualMachine/db"


def machine() -> Object:
    template = {"metadata": {"name": "db-root"}, "spec": {"storage": {"storageClassName": "old"}, "source": {}}}
    spec = {
        "volumes": [
            {"name": "root", "dataVolume": {"name": "db-root"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}},
            {"name": "seed", "cloudInitNoCloud": {}},
        ],
        "domain": {
            "firmware": {"uuid": "1", "serial": "2", "bootloader": {"efi": {}}},
            "devices": {"interfaces": [{"name": "default", "macAddress": "02:00:00:00:00:01"}]},
        },
    }
    metadata = {"name": "db", "namespace": "prod", "uid": "1", "ownerReferences": [{}], "labels": {"app": "db"}}
    body = {"dataVolumeTemplates": [template], "template": {"spec": spec}}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, "spec": body}


def others() -> list[Object]:
    volume = {"kind": "DataVolume", "metadata": {"name": "shared"}, "spec": {"pvc": {}}}
    secret = {"kind": "Secret", "metadata": {"name": "header-secret-db"}, "stringData": {"token": "x"}}
    certificate = {"kind": "ConfigMap", "metadata": {"name": "export-ca-cm-db"}, "data": {}}
    return [volume, secret, certificate]


def adapted(**given: Any) -> dict[str, Object]:
    wanted = Wish("test", ORIGINAL, **given)
    return {item["kind"]: item for item in imported.adapted([machine(), *others()], wanted)}


def test_what_others_need_comes_first_and_all_is_in_the_namespace() -> None:
    found = adapted()
    assert list(found) == ["ConfigMap", "Secret", "VirtualMachine", "DataVolume"]
    assert {item["metadata"]["namespace"] for item in found.values()} == {"test"}
    assert found["VirtualMachine"]["metadata"].keys() == {"name", "namespace", "labels", "annotations"}


def test_a_machine_with_a_new_name_has_disks_named_after_it() -> None:
    found = adapted(name="copy")
    vm = found["VirtualMachine"]
    assert vm["metadata"]["name"] == "copy"
    assert vm["spec"]["dataVolumeTemplates"][0]["metadata"]["name"] == "copy-root"
    assert found["DataVolume"]["metadata"]["name"] == "copy-shared"
    volumes = vm["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["dataVolume"] == {"name": "copy-root"}
    assert volumes[1]["persistentVolumeClaim"] == {"claimName": "copy-shared"}
    assert imported.volumes_of(found.values()) == ["copy-root", "copy-shared"]


def test_its_own_name_is_kept_where_none_is_given() -> None:
    assert imported.volumes_of(adapted().values()) == ["db-root", "shared"]


def test_machine_and_disks_tell_where_they_are_from_and_are_bound_at_once() -> None:
    found = adapted()
    template = found["VirtualMachine"]["spec"]["dataVolumeTemplates"][0]
    for item in (template, found["DataVolume"]):
        assert item["metadata"]["annotations"] == {ORIGIN: ORIGINAL, BIND_NOW: "true"}
    assert found["VirtualMachine"]["metadata"]["annotations"] == {ORIGIN: ORIGINAL}


def test_identity_is_given_up_unless_it_is_to_be_kept() -> None:
    spec = adapted()["VirtualMachine"]["spec"]["template"]["spec"]
    assert spec["domain"]["devices"]["interfaces"] == [{"name": "default"}]
    assert spec["domain"]["firmware"] == {"bootloader": {"efi": {}}}
    kept = adapted(keep_identity=True)["VirtualMachine"]["spec"]["template"]["spec"]
    assert kept["domain"] == machine()["spec"]["template"]["spec"]["domain"]


def test_a_storage_class_is_for_all_disks() -> None:
    found = adapted(storage_class="new")
    template = found["VirtualMachine"]["spec"]["dataVolumeTemplates"][0]
    assert template["spec"]["storage"]["storageClassName"] == "new"
    assert found["DataVolume"]["spec"]["pvc"]["storageClassName"] == "new"


def test_what_no_export_should_have_is_not_imported() -> None:
    with pytest.raises(Failure, match="ClusterRoleBinding, which is not imported"):
        imported.adapted([{"kind": "ClusterRoleBinding", "metadata": {"name": "x"}}], Wish("test", ORIGINAL))


def test_the_manifests_are_not_changed_themselves() -> None:
    given = [machine(), *others()]
    before = copy.deepcopy(given)
    imported.adapted(given, Wish("test", ORIGINAL, "copy"))
    assert given == before


def test_a_clone_that_told_no_size_is_given_that_of_the_claim_it_is_imported_from() -> None:
    link = "https://export.example.com/api/export.kubevirt.io/v1/namespaces/prod/virtualmachineexports/db/volumes/"
    sized = {"metadata": {"name": "a"}, "spec": {"source": {"http": {"url": f"{link}a/disk.img"}}}}
    sized["spec"]["storage"] = {"resources": {"requests": {"storage": "1Gi"}}}
    clone = {"metadata": {"name": "b"}, "spec": {"source": {"http": {"url": f"{link}db-root/disk.img.gz"}}}}
    vm = {"kind": "VirtualMachine", "spec": {"dataVolumeTemplates": [sized, clone]}}
    (found,) = imported.unsized([vm])
    assert imported.exported_claim(found) == "db-root"
    imported.give_size(found, "2Gi")
    assert clone["spec"]["storage"] == {"resources": {"requests": {"storage": "2Gi"}}}
    assert imported.unsized([vm]) == []
