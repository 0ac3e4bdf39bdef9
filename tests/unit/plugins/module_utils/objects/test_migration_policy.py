"""What a policy declares, and which of several holds for a guest."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.module_utils.objects.migration_policy import manifest, policy_for
from ansible_collections.virtstack.core.plugins.modules.migration_policy import SPEC

NOTHING = dict.fromkeys(SPEC.options)


def spec(**options: Any) -> Object:
    found: Object = manifest({**NOTHING, "name": "p", **options})["spec"]
    return found


def policy(name: str, instance: dict[str, str], namespace: dict[str, str]) -> Object:
    selectors = {"virtualMachineInstanceSelector": instance, "namespaceSelector": namespace}
    return {"metadata": {"name": name}, "spec": {"selectors": selectors}}


def test_what_is_not_declared_is_left_to_the_cluster() -> None:
    assert spec() == {"selectors": {}}


def test_an_option_is_the_field_of_its_name() -> None:
    found = spec(allow_post_copy=False, bandwidth_per_migration="1024Mi", vm_selector={"app": None, "tier": 1})
    assert found == {
        "selectors": {"virtualMachineInstanceSelector": {"app": "", "tier": "1"}},
        "allowPostCopy": False,
        "bandwidthPerMigration": "1Gi",
    }
    assert spec(bandwidth_per_migration="0")["bandwidthPerMigration"] == "0"


@pytest.mark.parametrize(
    "options",
    [
        {"bandwidth_per_migration": "64"},
        {"completion_timeout_per_gib": -1},
        {"allow_post_copy": True, "definition": {"allowPostCopy": False}},
        {"definition": {"selectors": {}}},
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        spec(**options)


@pytest.mark.parametrize(
    ("policies", "wins"),
    [
        ([policy("a", {"app": "db"}, {}), policy("b", {"app": "db"}, {"env": "prod"})], "b"),
        ([policy("a", {}, {"env": "prod"}), policy("b", {"app": "db"}, {})], "b"),
        ([policy("b", {"app": "db"}, {}), policy("a", {"app": "db"}, {})], "a"),
        ([policy("a", {}, {}), policy("z", {"app": "db"}, {})], "z"),
        ([policy("a", {"app": "web"}, {})], None),
        ([{"metadata": {"name": "bare"}, "spec": {}}], None),
    ],
)
def test_most_labels_win_then_those_of_the_guest_then_the_name(policies: list[Object], wins: str | None) -> None:
    found = policy_for(policies, {"app": "db"}, {"env": "prod"})
    assert (found["metadata"]["name"] if found else None) == wins
