"""What a data volume is made from, how large it may become, when it is as far as it gets, and who may clone what."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.module_utils.objects import claim_users, data_volumes
from ansible_collections.virtstack.core.plugins.module_utils.objects.core import PVC
from ansible_collections.virtstack.core.plugins.module_utils.objects.data_volume_options import SOURCE_SPEC, VOLUME_SPEC
from ansible_collections.virtstack.core.plugins.module_utils.objects.data_volume_tasks import declare_volumes
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task

GIBIBYTE = 1024**3


def params(**given: Any) -> dict[str, Any]:
    options = {name: spec.get("default") for name, spec in {**SOURCE_SPEC, **VOLUME_SPEC}.items()}
    return {**options, "namespace": "prod", **given}


def spec(**given: Any) -> Object:
    found: Object = data_volumes.manifest("data", params(**given), None, None)["spec"]
    return found


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({"blank": True}, {"blank": {}}),
        ({"upload": True}, {"upload": {}}),
        (
            {"http": {"url": "https://x/y", "secret": "s", "cert_config_map": "ca", "extra_headers": [], "a": None}},
            {"http": {"url": "https://x/y", "secretRef": "s", "certConfigMap": "ca"}},
        ),
        (
            {"registry": {"image_stream": "rhel9", "pull_method": "node", "architecture": "arm64"}},
            {"registry": {"imageStream": "rhel9", "pullMethod": "node", "platform": {"architecture": "arm64"}}},
        ),
        ({"s3": {"url": "s3://b/x", "secret": "s"}}, {"s3": {"url": "s3://b/x", "secretRef": "s"}}),
        ({"gcs": {"url": "gs://b/x"}}, {"gcs": {"url": "gs://b/x"}}),
        (
            {"imageio": {"url": "https://engine", "disk_id": "1", "insecure_skip_verify": True}},
            {"imageio": {"url": "https://engine", "diskId": "1", "insecureSkipVerify": True}},
        ),
        (
            {
                "vddk": {
                    "url": "https://vc",
                    "secret": "s",
                    "uuid": "u",
                    "backing_file": "[a] b.vmdk",
                    "thumbprint": "t",
                }
            },
            {
                "vddk": {
                    "url": "https://vc",
                    "secretRef": "s",
                    "uuid": "u",
                    "backingFile": "[a] b.vmdk",
                    "thumbprint": "t",
                }
            },
        ),
        ({"clone_pvc": {"name": "a", "namespace": None}}, {"pvc": {"name": "a", "namespace": "prod"}}),
        ({"clone_snapshot": {"name": "a", "namespace": "b"}}, {"snapshot": {"name": "a", "namespace": "b"}}),
    ],
)
def test_every_source_is_written_as_cdi_has_it(given: Any, source: Object) -> None:
    assert spec(size="1Gi", **given)["source"] == source


def test_a_boot_source_is_of_the_platforms_namespace() -> None:
    reference = spec(boot_source={"name": "rhel9", "namespace": None})["sourceRef"]
    home = "openshift-virtualization-os-images"
    assert reference == {"kind": "DataSource", "name": "rhel9", "namespace": home}


def test_options_are_laid_over_a_definition() -> None:
    found = spec(size="1Gi", access_modes=["ReadWriteOnce"], definition={"spec": {"pvc": {}, "source": {"blank": {}}}})
    resources = {"requests": {"storage": "1Gi"}}
    assert found == {"source": {"blank": {}}, "pvc": {"accessModes": ["ReadWriteOnce"], "resources": resources}}


def test_preallocation_is_asked_for_as_cdi_has_it() -> None:
    assert spec(blank=True, size="1Gi", preallocation=True)["preallocation"] is True
    assert "preallocation" not in spec(blank=True, size="1Gi")


def test_no_source_is_refused_unless_a_claim_is_adopted() -> None:
    with pytest.raises(Failure, match="needs a source"):
        spec(size="1Gi")
    claim = {"metadata": {}, "spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    found = data_volumes.manifest("data", params(adopt=True), None, claim)
    assert found["spec"] == {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "3Gi"}}}}
    assert found["metadata"]["annotations"] == {data_volumes.ADOPT: "true"}


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="30GB"):
        spec(blank=True, size="30GB")


def claim(size: str, **annotations: str) -> Object:
    metadata = {"name": "data", "namespace": "prod", "annotations": annotations}
    return {"metadata": metadata, "spec": {"resources": {"requests": {"storage": size}}}}


def test_a_disk_fits_a_claim_that_was_made_for_it() -> None:
    for size in (GIBIBYTE, 10 * GIBIBYTE, 3 * 1024**2):
        needed = data_volumes.claim_size(Decimal(size), 0.055)
        assert data_volumes.disk_size(Decimal(needed), 0.055) == size


@pytest.mark.parametrize(
    ("wanted", "declared", "present", "share", "needed"),
    [
        ("2Gi", "1Gi", "1Gi", 0.0, 2 * GIBIBYTE),
        ("1Gi", "1Gi", "1Gi", 0.0, None),
        # It grew before, and is declared as it was made.
        ("1Gi", "1Gi", "2Gi", 0.0, None),
        ("2Gi", "1Gi", "2Gi", 0.0, None),
        ("1024Mi", "1Gi", "1136234735", 0.055, None),
        ("2Gi", "1Gi", "1136234735", 0.055, 2272469469),
        # What a file system needs is there already.
        ("2Gi", "1Gi", "2272469469", 0.055, None),
    ],
)
def test_a_claim_grows_by_what_its_file_system_takes(
    wanted: str, declared: str, present: str, share: float, needed: int | None
) -> None:
    assert data_volumes.growth("data", wanted, declared, claim(present), share) == needed


@pytest.mark.parametrize("share", [0.0, 0.055])
def test_a_claim_never_shrinks(share: float) -> None:
    with pytest.raises(Failure, match=r"cannot shrink to 1536Mi"):
        data_volumes.growth("data", "1536Mi", "1Gi", claim("2Gi"), share)


def test_the_overhead_of_a_class_beats_that_of_the_cluster() -> None:
    config = {"status": {"filesystemOverhead": {"global": "0.06", "storageClass": {"nfs": "0.1"}}}}
    assert data_volumes.overhead(config, "nfs") == 0.1
    assert data_volumes.overhead(config, "other") == 0.06
    assert data_volumes.overhead(None, "nfs") == 0


def volume(phase: str, source: str = "blank") -> Object:
    return {"metadata": {"name": "data"}, "spec": {"source": {source: {}}}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("found", "bind_now", "verdict"),
    [
        (volume("Succeeded"), False, Ready),
        (volume("WaitForFirstConsumer"), False, Ready),
        (volume("PendingPopulation"), False, Ready),
        (volume("PendingPopulation"), True, Progress),
        (volume("UploadReady", "upload"), False, Ready),
        (volume("UploadScheduled", "upload"), False, Progress),
        (volume("Failed"), False, Failed),
        (None, False, Failed),
    ],
)
def test_a_volume_is_as_far_as_it_gets(found: Any, bind_now: bool, verdict: type) -> None:
    assert isinstance(data_volumes.check(bind_now=bind_now)(found), verdict)


def failing(restarts: int, message: str = "x509: certificate signed by unknown authority") -> Object:
    running = {"type": "Running", "status": "False", "reason": "Error", "message": message}
    status = {"phase": "ImportInProgress", "restartCount": restarts, "conditions": [running]}
    return {"metadata": {"name": "data"}, "spec": {"source": {"http": {}}}, "status": status}


@pytest.mark.parametrize(
    ("found", "counted", "verdict"),
    [
        (failing(1), 0, Failed),
        (failing(4), 4, Progress),
        (failing(5), 4, Failed),
        (failing(2, "unexpected EOF"), 0, Progress),
        (failing(3, "unexpected EOF"), 0, Failed),
        (failing(5, "unexpected EOF"), 4, Progress),
        (failing(7, "unexpected EOF"), 4, Failed),
    ],
)
def test_only_what_fails_since_then_ends_a_wait_that_is_begun_again(found: Object, counted: int, verdict: type) -> None:
    assert isinstance(data_volumes.check(bind_now=True, counted={"data": counted})(found), verdict)


def test_a_claim_has_grown_when_only_its_file_system_waits_for_a_pod() -> None:
    check = data_volumes.resized(2 * GIBIBYTE)
    waiting = {"type": "FileSystemResizePending", "status": "True"}
    assert isinstance(check({"status": {"capacity": {"storage": "1Gi"}}}), Progress)
    assert isinstance(check({"status": {"capacity": {"storage": "1Gi"}, "conditions": [waiting]}}), Ready)
    assert isinstance(check({"status": {"capacity": {"storage": "2Gi"}}}), Ready)
    states = {"storage": "ControllerResizeInfeasible"}
    assert isinstance(check({"status": {"allocatedResourceStatuses": states}}), Failed)


def test_how_it_was_cloned_is_read_from_the_claim() -> None:
    found = claim("1Gi", **{data_volumes.CLONE_TYPE: "copy", data_volumes.FALLBACK: "IncompatibleVolumeModes"})
    told = data_volumes.tell(volume("Succeeded"), found)
    assert (told["clone_type"], told["clone_fallback_reason"]) == ("copy", "IncompatibleVolumeModes")


def test_headers_that_differ_are_not_told(client: Client, namespace: str) -> None:
    given = {"url": "http://127.0.0.1:9/x", "extra_headers": ["Authorization: old-secret"]}
    task = Task(_task(namespace, http=given))
    declare_volumes(client, task)
    given["extra_headers"] = ["Authorization: new-secret"]
    with pytest.raises(Failure) as caught:
        declare_volumes(client, Task(_task(namespace, http=given)))
    assert "extraHeaders is another" in caught.value.message
    assert "old-secret" not in str(caught.value.result) + caught.value.message


def _task(namespace: str, **given: Any) -> dict[str, Any]:
    rest = {"name": "data", "names": None, "state": "present", "keep_claim": False, "force": False, "wait": False}
    return {**params(size="1Gi"), **rest, "wait_timeout": 60, "namespace": namespace, **given}


COLLECTED = {data_volumes.COLLECTED: "true"}


def left_over(client: Client, namespace: str, annotations: dict[str, str]) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace, "annotations": annotations},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    client.create(PVC, body)


def test_a_volume_that_older_cdi_has_cleared_away_is_there_all_the_same(client: Client, namespace: str) -> None:
    left_over(client, namespace, COLLECTED)
    result = declare_volumes(client, Task(_task(namespace, blank=True, wait=True)))
    assert not result["changed"]
    assert result["data_volumes"][0]["phase"] == "Succeeded"
    removed = declare_volumes(client, Task(_task(namespace, state="absent", wait=True)))
    assert removed["changed"]
    assert client.get(PVC, "data", namespace) is None


def test_a_claim_that_no_data_volume_made_is_not_deleted_with_one_that_is_not_there(
    client: Client, namespace: str
) -> None:
    left_over(client, namespace, {})
    warned: list[str] = []
    result = declare_volumes(client, Task(_task(namespace, state="absent"), warn=warned.append))
    assert not result["changed"]
    assert "belongs to no data volume" in warned[0]
    assert client.get(PVC, "data", namespace) is not None


def test_what_may_not_be_cloned_is_said_before_anything_is_made(client: Client, namespace: str, lab: Any) -> None:
    source = {"name": "data", "namespace": "default"}
    assert claim_users.may_clone(client, "default")
    nobody = connect({"kubeconfig": lab.kubeconfig, "impersonate_user": "nobody"})
    assert not claim_users.may_clone(nobody, "default")
    rights = Role(client, namespace)
    rights.grant("nobody")
    with pytest.raises(
        Failure, match=r"create on datavolumes/source\.cdi\.kubevirt\.io, granted by .* namespace default"
    ):
        declare_volumes(nobody, Task(_task(namespace, clone_pvc=source)))


class Role:
    """Rights on data volumes and claims in one namespace."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client, self._namespace = client, namespace

    def grant(self, user: str) -> None:
        base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self._namespace}"
        metadata = {"name": "volumes", "namespace": self._namespace}
        rules = [{"apiGroups": ["", "cdi.kubevirt.io"], "resources": ["*"], "verbs": ["*"]}]
        self._client.request("POST", f"{base}/roles", body={"metadata": metadata, "rules": rules})
        subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
        role = {"kind": "Role", "name": "volumes", "apiGroup": "rbac.authorization.k8s.io"}
        self._client.request(
            "POST", f"{base}/rolebindings", body={"metadata": metadata, "subjects": [subject], "roleRef": role}
        )
