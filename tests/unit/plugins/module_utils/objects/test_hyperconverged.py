"""HyperConverged: its two versions, durations, certificates, and the paths that differ between versions."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects import hyperconverged
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure


@pytest.mark.parametrize(
    ("text", "seconds"), [("48h0m0s", 172800), ("90m", 5400), ("1h30m", 5400), ("1.5h", 5400), ("600000ms", 600)]
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert hyperconverged.duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "2 days", "1d", "48", "h", "-1h", "1h 30m"])
def test_what_go_does_not_read_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        hyperconverged.duration_seconds(text)


def test_default_certificates_have_no_problem() -> None:
    assert hyperconverged.certificate_problems({}) == []


def test_all_conflicts_of_certificates_are_reported_at_once() -> None:
    problems = hyperconverged.certificate_problems(
        {"ca": {"duration": "1h", "renewBefore": "2h"}, "server": {"duration": "5m", "renewBefore": "soon"}}
    )
    assert len(problems) == 3
    assert "ca.renewBefore is longer than ca.duration" in problems
    assert any(problem.startswith("server.duration is 5m, less than") for problem in problems)
    assert any(problem.startswith("server.renewBefore: 'soon' is no duration") for problem in problems)


def test_certificates_are_judged_over_the_live_ones() -> None:
    live = {"ca": {"duration": "336h", "renewBefore": "168h"}}
    declared = {"server": {"duration": "168h", "renewBefore": "84h"}}
    assert hyperconverged.certificate_problems(declared) == ["server.duration is longer than ca.duration"]
    assert hyperconverged.certificate_problems(declared, live) == []


def test_a_null_certificate_counts_as_the_default() -> None:
    live = {"ca": {"duration": "336h"}}
    assert hyperconverged.certificate_problems({"ca": {"duration": None}, "server": {"duration": "72h"}}, live) == [
        "server.duration is longer than ca.duration"
    ]


@pytest.mark.parametrize(
    ("definition", "version"),
    [
        ({}, None),
        ({"nope": 1}, None),
        ({"liveMigrationConfig": {}}, "v1beta1"),
        ({"featureGates": {"downwardMetrics": True}}, "v1beta1"),
        ({"featureGates": [{"name": "downwardMetrics"}]}, "v1"),
        ({"virtualization": {"liveMigrationConfig": {}}}, "v1"),
    ],
)
def test_the_keys_of_a_definition_tell_its_version(definition: dict[str, Any], version: str | None) -> None:
    assert hyperconverged.version_of(definition) == version


def test_keys_of_both_versions_in_one_definition_are_refused() -> None:
    with pytest.raises(Failure, match="security belong to v1, certConfig to v1beta1"):
        hyperconverged.version_of({"security": {}, "certConfig": {}})


def test_nested_values_share_their_parents() -> None:
    spec = hyperconverged.nested([(("a", "b"), 1), (("a", "c"), 2), (("d",), 3)])
    assert spec == {"a": {"b": 1, "c": 2}, "d": 3}
    assert hyperconverged.at_path(spec, ("a", "c")) == 2
    assert hyperconverged.at_path(spec, ("a", "c", "e")) is None


def conditions(**statuses: str) -> list[dict[str, str]]:
    return [
        {"type": kind, "status": status, "reason": "R", "message": f"{kind} message"}
        for kind, status in statuses.items()
    ]


READY = {"ReconcileComplete": "True", "Available": "True", "Progressing": "False", "Degraded": "False"}


def live(generation: int = 1, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "kubevirt-hyperconverged", "generation": generation}, "status": status}


def test_it_is_reconciled_when_all_of_its_conditions_say_so() -> None:
    assert hyperconverged.RECONCILED(live(conditions=conditions(**READY))) == Ready()


@pytest.mark.parametrize("kind", sorted(READY))
def test_a_condition_that_is_not_right_is_named_with_its_message(kind: str) -> None:
    wrong = {**READY, kind: "False" if READY[kind] == "True" else "True"}
    verdict = hyperconverged.RECONCILED(live(conditions=conditions(**wrong)))
    assert isinstance(verdict, Progress)
    assert f"{kind} message" in verdict.text


def test_conditions_of_an_older_generation_do_not_count() -> None:
    found = live(2, conditions=conditions(**READY), observedGeneration=1)
    assert isinstance(hyperconverged.RECONCILED(found), Progress)


def test_the_whole_object_in_place_of_its_spec_is_refused() -> None:
    with pytest.raises(Failure, match="leave out spec"):
        hyperconverged.version_of({"spec": {"virtualization": {}}})
