"""Waiting for objects of a real server, while it misbehaves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.declare import Key
from ansible_collections.virtstack.core.plugins.module_utils.cluster.errors import Forbidden, Unavailable, Unreachable
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object, Resource
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import (
    Failed,
    Progress,
    Ready,
    Verdict,
    deleted,
    exists,
    no_room,
)
from ansible_collections.virtstack.core.plugins.module_utils.cluster.wait import (
    Related,
    WaitFailed,
    WaitTimeout,
    wait,
    wait_many,
)

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENT = Resource("", "v1", "events", "Event")
WIDGET = Resource("widgets.example.com", "v1", "widgets", "Widget")

Maker = Callable[..., dict[str, Any]]


def by_phase(found: Object | None) -> Verdict:
    """Config maps that play a machine: data.phase is the phase."""
    phase = (found or {}).get("data", {}).get("phase", "")
    if phase == "Ready":
        return Ready()
    return Failed("the image is gone") if phase == "Failed" else Progress(phase)


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[None]:
    """Do something beside, once the wait has begun to watch."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(30)
    assert not errors


@pytest.fixture
def phase(client: Client, namespace: str) -> Callable[..., None]:
    def set_phase(name: str, *phases: str, every: float = 0.2) -> None:
        for text in phases:
            time.sleep(every)
            client.patch(CONFIG_MAP, name, namespace, {"data": {"phase": text}})

    return set_phase


def test_what_is_ready_is_not_waited_for(client: Client, config_map: Maker, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Ready"))
    started = time.monotonic()
    found = wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=30)
    assert found is not None
    assert time.monotonic() - started < 1


def test_the_wait_ends_as_soon_as_it_is_ready(
    client: Client, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    lines: list[str] = []
    with meanwhile(lambda: phase("a", "Scheduled", "Ready")):
        found = wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=30, progress=lines.append)
    assert found is not None
    assert found["data"]["phase"] == "Ready"
    assert lines == [f"{namespace}/a: Starting"]


def test_what_does_not_exist_yet_is_waited_for(client: Client, config_map: Maker, namespace: str) -> None:
    with meanwhile(lambda: client.create(CONFIG_MAP, config_map("a", phase="Ready"))):
        assert wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=30) is not None


def test_what_cannot_become_ready_fails_at_once(
    client: Client, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    started = time.monotonic()
    with (
        meanwhile(lambda: phase("a", "Failed")),
        pytest.raises(WaitFailed, match=f"ConfigMap {namespace}/a cannot become ready: the image is gone"),
    ):
        wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=30)
    assert time.monotonic() - started < 10


def test_a_related_object_that_fails_ends_the_wait(
    client: Client, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    client.create(CONFIG_MAP, config_map("disk", phase="Importing"))
    related = [Related(CONFIG_MAP, by_phase, namespace, name="disk"), Related(WIDGET, by_phase, namespace)]
    with (
        meanwhile(lambda: phase("disk", "Failed")),
        pytest.raises(WaitFailed, match="cannot become ready: ConfigMap disk: the image is gone"),
    ):
        wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=30, related=related)


def test_the_progress_of_a_related_object_is_shown(
    client: Client, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    client.create(CONFIG_MAP, config_map("a"))
    client.create(CONFIG_MAP, config_map("disk", phase="root 43 % imported"))
    lines: list[str] = []
    with meanwhile(lambda: phase("a", "Ready", every=1.0)):
        wait(
            client,
            CONFIG_MAP,
            "a",
            namespace,
            by_phase,
            timeout=30,
            progress=lines.append,
            related=[Related(CONFIG_MAP, by_phase, namespace, name="disk")],
        )
    assert lines == [f"{namespace}/a: root 43 % imported"]


def test_a_timeout_tells_what_was_last_seen(client: Client, config_map: Maker, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Scheduling"))
    client.create(
        EVENT,
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "a.1", "namespace": namespace},
            "involvedObject": {"kind": "ConfigMap", "name": "a", "namespace": namespace},
            "type": "Warning",
            "reason": "FailedScheduling",
            "message": "0/3 nodes are available",
            "lastTimestamp": "2026-11-20T19:11:40Z",
        },
    )
    started = time.monotonic()
    with pytest.raises(WaitTimeout) as error:
        # What is left of a longer wait is not a round number.
        wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=1.00004)
    assert 1 <= time.monotonic() - started < 5
    assert error.value.message == (
        f"ConfigMap {namespace}/a is not ready after 1 seconds. Last seen: Scheduling."
        " Recent warnings: FailedScheduling: 0/3 nodes are available."
    )


def test_a_timeout_tells_phase_and_conditions(client: Client) -> None:
    node = Resource("", "v1", "nodes", "Node", namespaced=False)
    name = client.list(node).items[0]["metadata"]["name"]
    with pytest.raises(WaitTimeout, match="Ready=True"):
        wait(client, node, name, None, lambda found: Progress(), timeout=0.5)


def test_deletion_is_waited_for(client: Client, config_map: Maker, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map("a"))
    with meanwhile(lambda: (time.sleep(0.3), client.delete(CONFIG_MAP, "a", namespace))):
        assert wait(client, CONFIG_MAP, "a", namespace, deleted, timeout=30) is None


@pytest.mark.parametrize(
    "fault",
    [
        {"code": 410, "latency": 0.2},
        {"drop": "before", "latency": 0.2},
    ],
)
def test_a_watch_that_is_cut_or_expires_goes_on(
    client: Client, lab: Any, config_map: Maker, namespace: str, phase: Callable[..., None], fault: dict[str, Any]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    lab.fault("watch", path=namespace, count=1, **fault)
    with meanwhile(lambda: phase("a", "Scheduled", "Ready", every=1.0)):
        found = wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=30)
    assert found is not None
    assert lab.faults() == []


def test_a_watch_whose_history_is_forgotten_lists_again(
    client: Client, lab: Any, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))

    def forget() -> None:
        time.sleep(0.3)
        lab.command("expire")
        phase("a", "Ready")

    with meanwhile(forget):
        assert wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=30) is not None


def test_what_is_deleted_while_the_watch_is_away_is_noticed(
    client: Client, lab: Any, config_map: Maker, namespace: str
) -> None:
    client.create(CONFIG_MAP, config_map("a"))
    lab.fault("watch", path=namespace, code=410, count=1)
    with meanwhile(lambda: (time.sleep(0.3), client.delete(CONFIG_MAP, "a", namespace))):
        assert wait(client, CONFIG_MAP, "a", namespace, deleted, timeout=30) is None


def test_a_server_that_is_away_for_a_while_is_waited_for(
    client: Client, lab: Any, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    lab.fault("request", verb="watch,list", path=namespace, code=503, count=3)
    with meanwhile(lambda: phase("a", "Ready")):
        assert wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=60) is not None


def give_rights(client: Client, namespace: str, verbs: list[str]) -> None:
    """A service account that may do nothing but this with config maps."""
    metadata = {"name": "robot", "namespace": namespace}
    client.create(SERVICE_ACCOUNT, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    group = "rbac.authorization.k8s.io"
    api = {"apiVersion": f"{group}/v1", "metadata": metadata}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]
    client.create(Resource(group, "v1", "roles", "Role"), {**api, "kind": "Role", "rules": rules})
    binding = {
        **api,
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "robot"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
    }
    client.create(Resource(group, "v1", "rolebindings", "RoleBinding"), binding)


def as_robot(lab: Any, namespace: str) -> Client:
    return connect({"kubeconfig": lab.kubeconfig, "impersonate_user": f"system:serviceaccount:{namespace}:robot"})


def test_a_token_that_expires_mid_wait_is_read_again(
    client: Client, lab: Any, config_map: Maker, namespace: str, phase: Callable[..., None], tmp_path: Path
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    give_rights(client, namespace, ["get", "list", "watch"])

    def token() -> str:
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = SERVICE_ACCOUNT.path("robot", namespace, "token")
        issued: str = client.request("POST", path, body=request)["status"]["token"]
        return issued

    config = yaml.safe_load(Path(lab.kubeconfig).read_text())
    token_file = tmp_path / "token"
    for user in config["users"]:
        user["user"] = {"tokenFile": str(token_file)}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    lab.fault("watch", path=namespace, drop="before", latency=7, count=1)
    lab.fault("token", lifetime=5, count=1)
    token_file.write_text(token())
    robot = connect({"kubeconfig": str(kubeconfig)})

    def rotate() -> None:
        time.sleep(5)
        token_file.write_text(token())
        phase("a", "Ready", every=4)

    with meanwhile(rotate):
        assert wait(robot, CONFIG_MAP, "a", namespace, by_phase, timeout=30) is not None


@pytest.mark.parametrize("verbs", [["get"], ["get", "list"]])
def test_who_may_not_watch_reads_and_is_told(
    client: Client, lab: Any, config_map: Maker, namespace: str, phase: Callable[..., None], verbs: list[str]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    give_rights(client, namespace, verbs)
    lines: list[str] = []
    robot = as_robot(lab, namespace)
    with meanwhile(lambda: phase("a", "Ready")):
        found = wait(robot, CONFIG_MAP, "a", namespace, by_phase, timeout=60, progress=lines.append)
    assert found is not None
    assert found["data"]["phase"] == "Ready"
    assert any("Looked up every 2 seconds" in line and "verb watch on configmaps" in line for line in lines)


def test_who_may_not_even_read_is_told_at_once(client: Client, lab: Any, config_map: Maker, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    give_rights(client, namespace, ["update"])
    started = time.monotonic()
    with pytest.raises(Forbidden, match="verb get on configmaps"):
        wait(as_robot(lab, namespace), CONFIG_MAP, "a", namespace, by_phase, timeout=60)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("verbs", ["watch,list", "get,watch,list"])
@pytest.mark.parametrize(
    "fault", [{"drop": "before"}, {"code": 503}, {"code": 429, "retry_after": 60}, {"latency": 30}]
)
def test_a_wait_is_over_in_time_while_the_server_is_away(
    client: Client, lab: Any, config_map: Maker, namespace: str, verbs: str, fault: dict[str, Any]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    lab.fault("request", verb=verbs, path=namespace, **fault)
    started = time.monotonic()
    with pytest.raises((WaitTimeout, Unreachable, Unavailable)):
        wait(client, CONFIG_MAP, "a", namespace, by_phase, timeout=5)
    assert time.monotonic() - started < 5 + 2


def test_many_are_waited_for_with_one_watch(client: Client, config_map: Maker, namespace: str) -> None:
    names = [f"c{number}" for number in range(6)]
    for name in names:
        client.create(CONFIG_MAP, config_map(name, phase="Starting"))

    def go_on() -> None:
        time.sleep(0.3)
        for name in names[:4]:
            client.patch(CONFIG_MAP, name, namespace, {"data": {"phase": "Ready"}})
        client.patch(CONFIG_MAP, names[4], namespace, {"data": {"phase": "Failed"}})

    lines: list[str] = []
    with meanwhile(go_on):
        results = wait_many(
            client, CONFIG_MAP, [(namespace, name) for name in names], by_phase, timeout=2, progress=lines.append
        )
    assert [type(results[namespace, name]) for name in names] == [dict] * 4 + [WaitFailed, WaitTimeout]
    assert lines[0].startswith("0 of 6 done; ")


def no_room_unless_ready(found: Object | None) -> Verdict:
    return Ready() if by_phase(found) == Ready() else no_room("no node has room")


def test_what_may_pass_by_itself_is_given_time(
    client: Client, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    with meanwhile(lambda: phase("a", "Ready")):
        assert wait(client, CONFIG_MAP, "a", namespace, no_room_unless_ready, timeout=300)


def test_what_does_not_pass_ends_the_wait(client: Client, config_map: Maker, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    with pytest.raises(WaitFailed, match="no node has room"):
        wait(client, CONFIG_MAP, "a", namespace, no_room_unless_ready, timeout=10)


def test_what_a_cluster_autoscaler_sees_to_is_waited_for(client: Client, config_map: Maker, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map("a", phase="Starting"))
    involved = {"kind": "Pod", "name": "virt-launcher-a-x5k2p", "namespace": namespace}
    told = {"reason": "TriggeredScaleUp", "type": "Normal", "involvedObject": involved}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": namespace}, **told}
    client.create(EVENT, event)
    with pytest.raises(WaitTimeout, match="no node has room; TriggeredScaleUp was told"):
        wait(client, CONFIG_MAP, "a", namespace, no_room_unless_ready, timeout=2)


def test_of_many_a_related_object_ends_the_wait_for_its_own(
    client: Client, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    for name in ("one", "two", "maker"):
        client.create(CONFIG_MAP, config_map(name, phase="Starting"))

    def of(place: Key) -> list[Key]:
        return [(namespace, "one")] if place[1] == "maker" else []

    def go_on() -> None:
        phase("maker", "Failed")
        phase("two", "Ready")

    related = [Related(CONFIG_MAP, by_phase, namespace, of=of)]
    keys: list[Key] = [(namespace, "one"), (namespace, "two")]
    with meanwhile(go_on):
        results = wait_many(client, CONFIG_MAP, keys, by_phase, timeout=60, related=related)
    assert isinstance(results[namespace, "one"], WaitFailed)
    assert isinstance(results[namespace, "two"], dict)


def test_a_related_object_that_fails_ends_the_wait_for_many(
    client: Client, config_map: Maker, namespace: str, phase: Callable[..., None]
) -> None:
    client.create(CONFIG_MAP, config_map("there", phase="Ready"))
    client.create(CONFIG_MAP, config_map("maker", phase="Starting"))
    keys = [(namespace, "there"), (namespace, "never")]
    related = [Related(CONFIG_MAP, by_phase, namespace, name="maker")]
    with meanwhile(lambda: phase("maker", "Failed")):
        results = wait_many(client, CONFIG_MAP, keys, exists, timeout=30, related=related)
    assert isinstance(results[namespace, "there"], dict)
    assert isinstance(results[namespace, "never"], WaitFailed)


def test_many_that_are_gone_are_gone(client: Client, namespace: str) -> None:
    keys: list[tuple[str | None, str]] = [(namespace, "x"), (namespace, "y")]
    assert wait_many(client, CONFIG_MAP, keys, deleted, timeout=5) == dict.fromkeys(keys)
    assert all(
        isinstance(error, WaitTimeout) for error in wait_many(client, CONFIG_MAP, keys, exists, timeout=0).values()
    )


def test_a_watch_ends_when_it_is_closed(client: Client, namespace: str) -> None:
    watch = client.watch(CONFIG_MAP, namespace, timeout=60)
    thread = threading.Thread(target=lambda: list(watch))
    thread.start()
    time.sleep(0.5)
    watch.close()
    thread.join(10)
    assert not thread.is_alive()
