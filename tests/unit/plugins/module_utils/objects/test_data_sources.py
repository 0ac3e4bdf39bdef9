"""What a data source stands for, and when it can be used."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects import data_sources
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

ONE, TWO = ({"pvc": {"name": name, "namespace": "prod"}} for name in ("one", "two"))


def params(**given: Any) -> dict[str, Any]:
    names = ("pvc", "snapshot", "data_source", "default_instancetype", "default_preference", "labels", "annotations")
    return {"name": "golden", "namespace": "prod", **dict.fromkeys(names), **given}


def found(wanted: Object, told: Object | None, status: str, reason: str = "") -> Object:
    ready = {"type": "Ready", "status": status, "reason": reason, "message": f"because {reason}"}
    return {
        "metadata": {"name": "golden"},
        "spec": {"source": wanted},
        "status": {"source": told, "conditions": [ready]},
    }


def test_one_source_takes_the_place_of_another() -> None:
    live = {"metadata": {}, "spec": {"source": ONE}}
    manifest = data_sources.manifest(params(snapshot={"name": "s", "namespace": None}), live)
    assert manifest["spec"]["source"] == {"snapshot": {"name": "s", "namespace": "prod"}, "pvc": None}


def test_defaults_for_machines_are_labels_beside_the_users() -> None:
    given = params(pvc={"name": "one"}, default_preference="rhel.9", labels={"a": "b"})
    labels = data_sources.manifest(given, None)["metadata"]["labels"]
    assert labels == {"a": "b", "instancetype.kubevirt.io/default-preference": "rhel.9"}


def test_nothing_to_stand_for_is_refused() -> None:
    with pytest.raises(Failure, match="one of pvc, snapshot, data_source"):
        data_sources.manifest(params(), None)


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        (found(ONE, ONE, "True", "Ready"), Ready),
        (found(ONE, ONE, "False", "NotFound"), Failed),
        (found(ONE, ONE, "False", "ImportInProgress"), Progress),
        # Said of what it stood for before.
        (found(ONE, TWO, "False", "NotFound"), Progress),
        (found(ONE, TWO, "True", "Ready"), Progress),
        (found(ONE, None, "False"), Progress),
    ],
)
def test_only_what_is_said_of_the_present_source_counts(source: Object, verdict: type) -> None:
    assert isinstance(data_sources.check(source), verdict)
