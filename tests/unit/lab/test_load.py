"""virtlab load: many finished machines, the same for the same seed, and nothing for controllers to repair."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from played import VMIS, VMS, Played
from virtlab import load
from virtlab.store import Store

Fresh = Callable[[], Played]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a cluster with the operator installed."""
    file = tmp_path_factory.mktemp("installed") / "objects.sqlite"
    played = Played(Store(file))
    played.install()
    played.cluster.store.close()
    return file


@pytest.fixture
def fresh(database: Path, tmp_path: Path) -> Fresh:
    """Makes clusters that begin there."""
    numbers = itertools.count()
    return lambda: Played(Store(Path(shutil.copy(database, tmp_path / f"{next(numbers)}.sqlite"))))


@pytest.fixture
def played(fresh: Fresh) -> Played:
    return fresh()


def shape(played: Played) -> list[tuple[Any, ...]]:
    return [
        (
            vm["metadata"]["namespace"],
            vm["metadata"]["name"],
            vm["spec"]["instancetype"]["name"],
            vm["spec"]["runStrategy"],
        )
        for vm in played.list(VMS)
    ]


def test_what_was_asked_is_there_and_spread(played: Played) -> None:
    made = load.fill(played.cluster, vms=60, running=20, namespaces=4)
    assert (made["vms"], made["running"], made["namespaces"]) == (60, 20, 4)
    machines = played.list(VMS)
    assert len(machines) == 60
    assert {vm["metadata"]["namespace"] for vm in machines} == {"load-000", "load-001", "load-002", "load-003"}
    assert sum(vm["status"]["printableStatus"] == "Running" for vm in machines) == len(played.list(VMIS)) == 20


def test_controllers_find_nothing_to_do_on_loaded_machines(played: Played) -> None:
    load.fill(played.cluster, vms=40, running=20, namespaces=2)
    before = {
        item["metadata"]["uid"]: item["metadata"]["resourceVersion"]
        for kind in (VMS, VMIS)
        for item in played.list(kind)
    }
    played.settle()
    after = {
        item["metadata"]["uid"]: item["metadata"]["resourceVersion"]
        for kind in (VMS, VMIS)
        for item in played.list(kind)
    }
    assert after == before


def test_a_loaded_machine_can_be_started_and_deleted(played: Played) -> None:
    load.fill(played.cluster, vms=4, running=2, namespaces=1)
    halted = next(vm for vm in played.list(VMS) if vm["spec"]["runStrategy"] == "Halted")["metadata"]
    played.patch(VMS, halted["name"], "load-000", {"spec": {"runStrategy": "Always"}})
    assert played.printable(halted["name"], "load-000") == "Running"
    played.delete(VMS, halted["name"], "load-000")
    assert played.find(VMS, halted["name"], "load-000") is None


def test_the_same_seed_makes_the_same_machines(fresh: Fresh) -> None:
    shapes = []
    for seed in (7, 7, 8):
        played = fresh()
        load.fill(played.cluster, vms=20, running=10, namespaces=2, seed=seed)
        shapes.append(shape(played))
    assert shapes[0] == shapes[1] != shapes[2]


def test_more_running_than_there_are_is_refused(played: Played) -> None:
    with pytest.raises(load.LoadError, match="at most all of them can run"):
        load.fill(played.cluster, vms=1, running=2, namespaces=1)
    assert not played.list(VMS)


def test_without_the_operator_the_error_says_to_install_it() -> None:
    with pytest.raises(load.LoadError, match="install the operator"):
        load.fill(Played().cluster, vms=1, running=0, namespaces=1)
