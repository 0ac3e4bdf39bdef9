"""How large the claim of a memory dump is, and when the dump is done."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects import kubevirt_memory_dump as dump


def vm(**request: Any) -> Object:
    status = {"memoryDumpRequest": {"claimName": "c", **request}} if request else {}
    return {"metadata": {"name": "db", "namespace": "prod"}, "status": status}


def test_a_claim_has_room_for_memory_and_its_file_system() -> None:
    guest = {"spec": {"domain": {"memory": {"guest": "1Gi"}}}}
    assert dump.needed(guest) == "1237Mi"
    asked = {"spec": {"domain": {"resources": {"requests": {"memory": "256Mi"}}}}}
    assert dump.needed(asked) == "392Mi"


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (vm(phase="InProgress"), Progress("memory dump InProgress")),
        (vm(phase="Completed"), Ready()),
        (vm(phase="Failed", message="no space"), Failed("no space")),
        (vm(), Failed("the dump was given up: its claim is no longer associated")),
        (None, Failed("it was deleted")),
    ],
)
def test_how_far_a_dump_is(found: Object | None, verdict: Any) -> None:
    assert dump.dumped("c")(found) == verdict


def test_another_claim_that_was_taken_meanwhile_is_no_dump_on_this_one() -> None:
    assert isinstance(dump.dumped("other")(vm(phase="Completed")), Failed)


def test_a_claim_is_let_go_when_the_machine_tells_of_none() -> None:
    assert dump.dissociated(vm()) == Ready()
    assert dump.dissociated(vm(phase="Dissociating")) == Progress("memory dump Dissociating")
