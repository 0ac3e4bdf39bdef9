"""Many machines in one task: what an item takes from the task, and how the results are gathered."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.module_utils.objects import kubevirt_task
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_options import seeds
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_task import Key, for_each
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task

INHERITED = {"memory": "1Gi", "labels": {"app": "web"}, "disks": [{"name": "root", "pvc": "x"}]}


def test_an_item_has_its_own_options_and_the_tasks_for_the_rest() -> None:
    read = kubevirt_task._reader(INHERITED)
    item = read({"name": "a", "namespace": "prod", "memory": "2Gi", "labels": {"size": "large"}})
    assert item.machine.memory.guest == "2Gi"
    assert item.fields["metadata.labels"] == {"size": "large"}
    assert [disk.name for disk in item.machine.disks or ()] == ["root"]


def test_items_that_have_but_a_name_are_read_like_any_other() -> None:
    read = kubevirt_task._reader(INHERITED)
    first, second = (read({"name": name, "namespace": "prod"}) for name in ("a", "b"))
    alone = kubevirt_task._reader(INHERITED)({"name": "b", "namespace": "prod"})
    assert second == alone
    assert (first.name, second.name) == ("a", "b")
    with pytest.raises(Refused, match="Bad_Name"):
        read({"name": "Bad_Name", "namespace": "prod"})


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"memroy": "1Gi"}, "memroy is no option of a machine"),
        ({"cpu": {"cores": "many"}}, "cores"),
        ({"run_strategy": "Sometimes"}, "run_strategy"),
        ({"disks": [{"name": "root", "pcv": "x"}]}, "pcv"),
    ],
)
def test_an_item_is_checked_as_a_task_is(item: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        kubevirt_task._reader({})({"name": "a", "namespace": "prod", **item})


def test_results_keep_the_order_of_the_items_and_failures_are_named() -> None:
    done = {"name": "a", "namespace": "prod", "changed": True}
    with pytest.raises(Failure) as caught:
        kubevirt_task.gathered([("prod", "a"), ("prod", "b")], [done, Failure("no such disk.")], diff=False)
    assert caught.value.message == "1 of 2 virtual machines failed:\nprod/b: no such disk."
    assert caught.value.result["changed"] is True
    assert [item.get("failed", False) for item in caught.value.result["vms"]] == [False, True]


def test_many_failures_are_counted_and_the_first_are_spelled_out() -> None:
    keys = [("prod", f"vm{number}") for number in range(30)]
    with pytest.raises(Failure, match="and 20 more"):
        kubevirt_task.gathered(keys, [Failure("no.")] * 30, diff=False)


def test_only_diffs_that_differ_are_shown() -> None:
    same = {"before": {"a": 1}, "after": {"a": 1}}
    other = {"before": {}, "after": {"a": 1}}
    results = [{"name": name, "changed": True, "diff": diff} for name, diff in (("a", same), ("b", other))]
    gathered = kubevirt_task.gathered([("prod", "a"), ("prod", "b")], results, diff=True)
    assert gathered["diff"] == [other]
    assert all("diff" not in item for item in gathered["vms"])


def test_the_seeds_of_items_are_secret() -> None:
    items = [{"name": "a", "cloud_init": {"user_data": "#cloud-config\npassword: x\n"}}, {"name": "b"}, "nonsense"]
    assert seeds({"vms": items}) == {"#cloud-config\npassword: x\n"}


def test_no_more_than_the_limit_go_at_once(client: Client) -> None:
    lock, pair = threading.Lock(), threading.Barrier(2, timeout=60)
    at_once, most = 0, 0

    def act(key: Key) -> dict[str, Any]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        # Two go together, or this breaks.
        pair.wait()
        with lock:
            at_once -= 1
        return {"name": key[1], "changed": False}

    keys: list[Key] = [("prod", f"vm{number}") for number in range(6)]
    result = for_each(client, Task({}), keys, act, single=False, limit=2)
    assert [item["name"] for item in result["vms"]] == [name for _namespace, name in keys]
    assert most == 2
