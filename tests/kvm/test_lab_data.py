"""Bytes of real guests: an image that is uploaded boots, a snapshot of it while it runs is whole and restores it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from labs import Lab
from playing import Ansible
from test_lab_guests import MERGE, connected, in_guest, until
from virtlab.tiny import image

Object = dict[str, Any]

NAMESPACE = "guests"
MACHINES = f"/apis/kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachines"
SNAPSHOTS = f"/apis/snapshot.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/virtualmachinesnapshots"
RESTORES = f"/apis/snapshot.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/virtualmachinerestores"
WRITE = "yes {word} | head -c 3000000 | dd of=/dev/vdb conv=fsync 2>/dev/null; sha256sum /dev/vdb"


def seen(lab: Lab, path: str) -> Object:
    try:
        return dict(json.loads(lab.ask("GET", path)))
    except HTTPError as error:
        if error.code == 404:
            return {}
        raise


def created(lab: Lab, path: str, kind: str, name: str, spec: Object) -> None:
    version = path.removeprefix("/apis/").partition("/namespaces/")[0]
    lab.ask("POST", path, {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})


def halted(lab: Lab, name: str) -> None:
    lab.ask("PATCH", f"{MACHINES}/{name}", {"spec": {"runStrategy": "Halted"}}, MERGE)
    until(lambda: seen(lab, f"{MACHINES}/{name}").get("status", {}).get("printableStatus") == "Stopped", "it is off")


@pytest.fixture(scope="module")
def playbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("play") / "data.yml"
    found.write_text(
        """
- hosts: localhost
  gather_facts: false
  tasks:
    - virtstack.core.namespace: {name: guests}
    - virtstack.core.image_upload: {path: "{{ image }}", name: root, namespace: guests, size: "{{ size }}"}
    - virtstack.core.data_volume: {name: data, namespace: guests, blank: true, size: 4Mi}
    - virtstack.core.vm:
        name: kept
        namespace: guests
        memory: 256Mi
        disks: [{name: root, data_volume: root}, {name: data, data_volume: data}]
        interfaces: [{name: default, network: pod}]
        run_strategy: Always
        definition: {spec: {template: {spec: {terminationGracePeriodSeconds: 20}}}}
        wait: true
"""
    )
    return found


def test_a_snapshot_of_a_running_guest_brings_its_bytes_back_after_its_disk_grew(
    lab: Lab, ansible: Ansible, playbook: Path, tmp_path: Path
) -> None:
    tiny = image.make(tmp_path)
    played = ansible.playbook(playbook, lab, image=str(tiny.disk), size="256Mi")
    assert played.returncode == 0, played.output
    connected(lab, "kept")
    was = in_guest(lab, "kept", WRITE.format(word="before")).split()[0]
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "kept"}
    created(lab, SNAPSHOTS, "VirtualMachineSnapshot", "s", {"source": source})
    taken = until(
        lambda: (found := seen(lab, f"{SNAPSHOTS}/s")).get("status", {}).get("readyToUse") and found, "a snapshot"
    )
    assert taken["status"]["indications"] == ["GuestAgent", "Online"]
    assert in_guest(lab, "kept", WRITE.format(word="after")).split()[0] != was  # it goes on, and writes
    claim = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/data"
    lab.ask("PATCH", claim, {"spec": {"resources": {"requests": {"storage": "8Mi"}}}}, MERGE)
    until(lambda: in_guest(lab, "kept", "cat /sys/block/vdb/size").strip() == str((8 << 20) // 512), "a larger disk")
    halted(lab, "kept")
    created(lab, RESTORES, "VirtualMachineRestore", "r", {"target": source, "virtualMachineSnapshotName": "s"})
    until(lambda: seen(lab, f"{RESTORES}/r").get("status", {}).get("complete"), "a restore")
    volumes = seen(lab, f"{MACHINES}/kept")["spec"]["template"]["spec"]["volumes"]
    claims = {item["name"]: item["persistentVolumeClaim"]["claimName"] for item in volumes}
    disk = lab.directory / f"storage/lab-block/{NAMESPACE}/{claims['data']}/disk.img"
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == was
    lab.ask("PATCH", f"{MACHINES}/kept", {"spec": {"runStrategy": "Always"}}, MERGE)
    until(lambda: seen(lab, f"{MACHINES}/kept").get("status", {}).get("ready"), "it runs again")
    connected(lab, "kept")
    assert in_guest(lab, "kept", "sha256sum /dev/vdb").split()[0] == was
