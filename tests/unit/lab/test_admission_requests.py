"""Refusals over the wire: which webhook, which code, which causes."""

from __future__ import annotations

from typing import Any

from awaited import awaited
from machines import machine

Api = Any  # the raw HTTP of conftest.py

VMS = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines"
VMIS = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachineinstances"
SNAPSHOTS = "/apis/snapshot.kubevirt.io/v1beta1/namespaces/{ns}/virtualmachinesnapshots"
MERGE = {"Content_Type": "application/merge-patch+json"}
HCO = "/apis/hco.kubevirt.io/v1beta1/namespaces/openshift-cnv/hyperconvergeds"


def running(api: Api) -> dict[str, Any]:
    assert api("POST", VMS, machine("db", runStrategy="Always")).status == 201
    return awaited(api, VMIS, "db", lambda vmi: vmi.get("status", {}).get("phase") == "Running")


def test_a_new_machine_gets_its_defaults(api: Api) -> None:
    body = api("POST", VMS, machine("db")).body
    template = body["spec"]["template"]
    assert template["metadata"]["annotations"] == {"kubevirt.io/pci-topology-version": "v3"}
    assert template["spec"]["architecture"] == "amd64"
    assert set(template["spec"]["domain"]["firmware"]) == {"uuid", "serial"}
    again = api("PATCH", f"{VMS}/db", {"metadata": {"labels": {"a": "b"}}}, **MERGE).body
    assert again["spec"] == body["spec"]


def test_a_machine_s_mistakes_come_as_causes(api: Api) -> None:
    reply = api("POST", VMS, machine("db", running=True))
    assert (reply.status, reply.body["reason"]) == (422, "Invalid")
    assert reply.message.startswith(
        'admission webhook "virtualmachine-validator.kubevirt.io" denied the request: Running'
    )
    assert reply.body["details"]["causes"][0]["field"] == "spec.running"


def test_nobody_but_kubevirt_changes_an_instance(api: Api) -> None:
    running(api)
    reply = api("PATCH", f"{VMIS}/db", {"spec": {"domain": {"cpu": {"cores": 3}}}}, **MERGE)
    assert (reply.status, reply.body["details"]["causes"][0]["message"]) == (422, "update of VMI object is restricted")
    untouched = api("PATCH", f"{VMIS}/db", {"status": {"phase": "Failed"}}, **MERGE)
    assert untouched.body["status"]["phase"] == "Running"


def test_evicting_a_launcher_starts_an_evacuation_instead(api: Api) -> None:
    running(api)
    pods = api("GET", "/api/v1/namespaces/{ns}/pods?labelSelector=kubevirt.io%3Dvirt-launcher").body["items"]
    name = pods[0]["metadata"]["name"]
    reply = api("POST", f"/api/v1/namespaces/{{ns}}/pods/{name}/eviction", {"metadata": {"name": name}})
    assert reply.status == 429
    assert reply.message.endswith(f'Eviction triggered evacuation of VMI "{api.namespace}/db"')
    moved = awaited(api, VMIS, "db", lambda vmi: (vmi["status"].get("migrationState") or {}).get("completed"))
    assert moved["status"]["nodeName"] != pods[0]["spec"]["nodeName"]


def test_a_snapshot_names_a_machine_and_never_another(api: Api) -> None:
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "db"}
    body = {"metadata": {"name": "s"}, "spec": {"source": source}}
    head = {"apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot"}
    bad = api("POST", SNAPSHOTS, {**head, **body, "spec": {"source": {**source, "kind": "Banana"}}})
    assert (bad.status, bad.body["details"]["causes"][0]["field"]) == (422, "spec.source.kind")
    assert api("POST", SNAPSHOTS, {**head, **body}).status == 201
    changed = api("PATCH", f"{SNAPSHOTS}/s", {"spec": {"source": {"name": "other"}}}, **MERGE)
    assert changed.body["details"]["causes"][0]["message"] == "spec in immutable after creation"


def test_a_data_volume_s_spec_stays(api: Api) -> None:
    path = "/apis/cdi.kubevirt.io/v1beta1/namespaces/{ns}/datavolumes"
    spec = {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "1Gi"}}}}
    body = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": {"name": "d"}, "spec": spec}
    assert api("POST", path, body).status == 201
    reply = api("PATCH", f"{path}/d", {"spec": {"storage": {"resources": {"requests": {"storage": "2Gi"}}}}}, **MERGE)
    assert (reply.status, reply.body.get("reason")) == (422, None)
    assert reply.body["details"]["causes"] == [
        {"reason": "FieldValueDuplicate", "message": "Cannot update DataVolume Spec", "field": "DataVolume.Spec"}
    ]


def test_hyperconverged_stays_while_machines_run(api: Api) -> None:
    running(api)
    reply = api("DELETE", f"{HCO}/kubevirt-hyperconverged?dryRun=All")
    assert reply.status == 400
    assert "there are still Virtual Machine Instances present" in reply.message
    namespace = api("DELETE", "/api/v1/namespaces/openshift-cnv?dryRun=All")
    assert (namespace.status, "HyperConverged CR is still present" in namespace.message) == (403, True)


def test_hyperconverged_says_what_is_wrong_with_it(api: Api) -> None:
    path = f"{HCO}/kubevirt-hyperconverged?dryRun=All"
    reply = api("PATCH", path, {"spec": {"tlsSecurityProfile": {"type": "Custom"}}}, **MERGE)
    assert reply.status == 403
    assert reply.message.endswith("missing required field spec.tlsSecurityProfile.custom when type is Custom")


def test_default_may_not_go_and_nothing_comes_into_a_missing_namespace(api: Api) -> None:
    assert api("DELETE", "/api/v1/namespaces/default?dryRun=All").status == 403
    reply = api("POST", VMS.replace("{ns}", "nowhere"), machine("db"))
    assert (reply.status, reply.message) == (404, 'namespaces "nowhere" not found')
