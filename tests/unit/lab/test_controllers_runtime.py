"""What runs the controllers: taking in a store that is full already."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from virtlab.clock import Clock
from virtlab.controllers import runtime
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.store import Store

PODS = ("", "pods")


def pod(name: str, app: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": name, "labels": {"app": app}}}


class Seeing(Controller):
    """Notes what it is asked to look at."""

    watches = ("pods",)
    seen: list[Key]

    def reconcile(self, key: Key) -> None:
        self.seen.append(key)


@pytest.fixture
def store() -> Store:
    store = Store()
    for number in range(5):
        store.put(PODS, pod(f"p{number}", "web"))
    return store


def test_changes_during_the_taking_in_are_neither_lost_nor_told_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "SLICE", -1.0)  # requests get their turn after each single object

    async def play() -> tuple[list[str], list[str], set[str]]:
        Seeing.seen = []
        manager = Manager(SimpleNamespace(store=store, clock=Clock()), [Seeing])  # type: ignore[arg-type]
        apps = manager.index("pods", lambda obj: [obj["metadata"]["labels"]["app"]])
        manager.start()
        await asyncio.sleep(0)  # the first object is taken in now
        assert apps.count("web") == 1
        store.put(PODS, pod("p0", "db"))
        store.put(PODS, pod("p3", "db"))
        store.remove(PODS, "a", "p4")
        store.put(PODS, pod("p5", "web"))
        while len({name for _, name in Seeing.seen}) < 6:
            await asyncio.sleep(0)
        await manager.stop()
        names = {value: sorted(name for _, name in apps.keys(value)) for value in ("web", "db")}
        return names["web"], names["db"], {name for _, name in Seeing.seen}

    web, db, seen = asyncio.run(asyncio.wait_for(play(), 10))
    assert (web, db) == (["p1", "p2", "p5"], ["p0", "p3"])
    assert seen == {"p0", "p1", "p2", "p3", "p4", "p5"}
