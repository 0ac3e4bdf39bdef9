"""The store: order, history, persistence."""

from __future__ import annotations

from pathlib import Path

import pytest
from virtlab.store import Expired, Store

KEY = ("", "configmaps")


def config_map(name: str, namespace: str = "n", **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def paths(store: Store, namespace: str | None = None) -> list[str]:
    return [entry.path for entry in store.entries(KEY, namespace)]


def test_entries_are_ordered_as_in_etcd() -> None:
    store = Store()
    for namespace, name in (("b", "a"), ("a", "z"), ("a-b", "m"), ("a", "b")):
        store.put(KEY, config_map(name, namespace))
    assert paths(store) == ["a-b/m", "a/b", "a/z", "b/a"]
    assert paths(store, "a") == ["a/b", "a/z"]


def test_each_write_has_a_version_of_its_own() -> None:
    store = Store()
    first = store.put(KEY, config_map("a"))
    second = store.put(("", "secrets"), config_map("a"))
    assert int(second["metadata"]["resourceVersion"]) == int(first["metadata"]["resourceVersion"]) + 1


def test_what_was_put_in_is_not_changed() -> None:
    store, obj = Store(), config_map("a")
    store.put(KEY, obj)
    assert "resourceVersion" not in obj["metadata"]  # type: ignore[operator]


def test_the_past_can_be_listed() -> None:
    store = Store()
    store.put(KEY, config_map("a", v="1"))
    store.put(KEY, config_map("b"))
    then = store.version
    store.put(KEY, config_map("a", v="2"))
    store.put(KEY, config_map("c"))
    store.remove(KEY, "n", "b")
    past = store.entries_at(KEY, None, then)
    assert [(entry.path, entry.object["data"]) for entry in past] == [("n/a", {"v": "1"}), ("n/b", {})]
    assert paths(store) == ["n/a", "n/c"]


def test_events_after_a_version_come_in_order() -> None:
    store = Store()
    store.put(KEY, config_map("a"))
    then = store.version
    store.put(KEY, config_map("a", v="2"))
    store.remove(KEY, "n", "a")
    assert [event.type for event in store.events(KEY, then)] == ["MODIFIED", "DELETED"]


def test_a_deletion_carries_the_last_state_and_a_new_version() -> None:
    store = Store()
    store.put(KEY, config_map("a", v="last"))
    seen = []
    store.subscribe(seen.append)
    store.remove(KEY, "n", "a")
    assert seen[0].object["data"] == {"v": "last"}
    assert seen[0].object["metadata"]["resourceVersion"] == str(store.version)


def test_forgotten_history_is_expired() -> None:
    store = Store()
    store.put(KEY, config_map("a"))
    then = store.version
    store.put(KEY, config_map("b"))
    store.expire()
    with pytest.raises(Expired):
        store.events(KEY, then)
    with pytest.raises(Expired):
        store.entries_at(KEY, None, then)
    assert list(store.events(KEY, store.version)) == []


def test_a_subscriber_that_left_hears_nothing() -> None:
    store = Store()
    seen: list[object] = []
    stop = store.subscribe(seen.append)
    stop()
    store.put(KEY, config_map("a"))
    assert seen == []


def test_objects_and_the_version_survive_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    store.put(KEY, config_map("a", v="1"))
    kept = store.put(KEY, config_map("a", v="2"))
    store.put(KEY, config_map("gone"))
    store.remove(KEY, "n", "gone")
    version = store.version
    store.close()
    again = Store(tmp_path / "db")
    assert again.version == version
    assert [entry.object for entry in again.entries(KEY)] == [kept]
    with pytest.raises(Expired):
        again.events(KEY, version - 1)
    again.close()


def test_what_was_flushed_is_there_after_a_crash(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    store.put(KEY, config_map("a"))
    store.flush()
    again = Store(tmp_path / "db")
    assert paths(again) == ["n/a"]
    again.close()
    store.close()
