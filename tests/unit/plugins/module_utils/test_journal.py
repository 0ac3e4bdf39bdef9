"""What a task that fails tells of what it wrote before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.declare import declare, remove
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource
from ansible_collections.virtstack.core.plugins.module_utils.journal import Journal
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Result, Task, attempt

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
REVIEW = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False)


def failing(act: Callable[[], object]) -> Result:
    def run(task: Task) -> Result:
        del task
        act()
        raise Failure("It went wrong.")

    return attempt(run, Task({}))


def test_what_was_made_before_is_told(client: Client, namespace: str, config_map: Callable[..., Any]) -> None:
    failed = failing(lambda: declare(client, CONFIG_MAP, config_map("a", key="value")))
    told = f"It went wrong. Before that, the task created ConfigMap {namespace}/a."
    assert failed == {"failed": True, "changed": True, "msg": told}


def test_what_was_as_declared_is_no_change(client: Client, config_map: Callable[..., Any]) -> None:
    declare(client, CONFIG_MAP, config_map("a", key="value"))
    failed = failing(lambda: declare(client, CONFIG_MAP, config_map("a", key="value")))
    assert failed == {"failed": True, "msg": "It went wrong."}


def test_what_was_updated_and_deleted_is_told(client: Client, namespace: str, config_map: Callable[..., Any]) -> None:
    for name in "ab":
        declare(client, CONFIG_MAP, config_map(name, key="value"))

    def act() -> None:
        declare(client, CONFIG_MAP, config_map("a", key="other"))
        remove(client, CONFIG_MAP, "b", namespace)

    told = f"the task updated ConfigMap {namespace}/a, deleted ConfigMap {namespace}/b."
    assert told in failing(act)["msg"]


def test_what_is_not_kept_is_no_change(client: Client, namespace: str, config_map: Callable[..., Any]) -> None:
    spec = {"resourceAttributes": {"verb": "get", "resource": "pods"}}
    review = {"apiVersion": REVIEW.api_version, "kind": REVIEW.kind, "metadata": {}, "spec": spec}

    def act() -> None:
        client.create(REVIEW, review)
        client.create(CONFIG_MAP, config_map("a"), dry_run=True)
        client.create(CONFIG_MAP, config_map("a"))
        client.delete(CONFIG_MAP, "a", namespace)
        declare(client, CONFIG_MAP, config_map("b"), check_mode=True)

    assert "changed" not in failing(act)


def test_a_task_begins_with_nothing(client: Client, config_map: Callable[..., Any]) -> None:
    failing(lambda: client.create(CONFIG_MAP, config_map("a")))
    assert "changed" not in failing(lambda: None)


def test_an_unforeseen_error_tells_it_as_well(client: Client, config_map: Callable[..., Any]) -> None:
    def run(task: Task) -> Result:
        client.create(CONFIG_MAP, config_map("a"))
        return {"value": task.params["none"]}

    failed = attempt(run, Task({}))
    assert failed["changed"] and "created ConfigMap" in failed["msg"] and "KeyError" in failed["exception"]


def test_what_was_there_before_is_not_forgotten_with_what_took_its_place() -> None:
    journal = Journal()
    subject = ("DataVolume", "prod", "iso")
    for did, told in (("deleted", "deleted"), ("created", "replaced"), ("updated", "replaced"), ("deleted", "deleted")):
        journal.note(did, subject)
        assert journal.told() == f"Before that, the task {told} DataVolume prod/iso."


def test_of_many_the_first_are_spelled_out() -> None:
    journal = Journal()
    for number in range(20):
        journal.note("created", ("Pod", "prod", f"p{number}"))
    assert journal.told().endswith("created Pod prod/p7 and 12 more.")
    assert journal.touched("prod", "p19") and not journal.touched("prod", "p20")
