"""Checks that fit any kind."""

from __future__ import annotations

from typing import Any

from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import (
    Failed,
    Progress,
    Ready,
    by_conditions,
    deleted,
    replaced,
)

CHECK = by_conditions({"Available": "True", "Progressing": "False"}, {"Degraded": "True"})


def obj(*conditions: tuple[str, str], generation: int = 1, **status: Any) -> dict[str, Any]:
    listed = [{"type": kind, "status": state, "reason": "Why", "message": "words"} for kind, state in conditions]
    return {
        "metadata": {"name": "a", "uid": "u1", "generation": generation},
        "status": {"conditions": listed, **status},
    }


def test_all_conditions_must_hold() -> None:
    assert CHECK(obj(("Available", "True"), ("Progressing", "False"))) == Ready()
    assert CHECK(obj(("Available", "True"), ("Progressing", "True"))) == Progress("Progressing=True, Why: words")
    assert CHECK(obj()) == Progress("no condition Available, Progressing yet")
    assert CHECK(None) == Progress("not created yet")


def test_a_failed_condition_ends_it() -> None:
    assert CHECK(obj(("Degraded", "True"), ("Available", "True"))) == Failed("Degraded=True, Why: words")


def test_conditions_of_an_older_generation_do_not_count() -> None:
    seen = obj(("Available", "True"), ("Progressing", "False"), generation=2, observedGeneration=1)
    assert isinstance(CHECK(seen), Progress)


def test_deletion_tells_what_keeps_the_object() -> None:
    kept = {"metadata": {"name": "a", "finalizers": ["x/y"]}}
    assert deleted(kept) == Progress("being deleted, kept by x/y")
    assert deleted(None) == Ready()


def test_the_old_object_is_not_its_successor() -> None:
    check = replaced("u1")
    assert isinstance(check(obj()), Progress)
    assert check({"metadata": {"name": "a", "uid": "u2"}}) == Ready()
