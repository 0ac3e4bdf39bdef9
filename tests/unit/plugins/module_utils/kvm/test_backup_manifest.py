"""Chains of backups: what one needs, what needs it, and what goes when chains are thinned out."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.backup_manifest import (
    Manifest,
    built_on,
    chain_of,
    checkpoint_name,
    checkpoint_prefix,
    outdated,
)
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure


def backup(name: str, parent: str | None = None, chain: str | None = None) -> Manifest:
    type_ = "incremental" if parent else "full"
    return Manifest("db", "uuid", name, type_, f"2026-01-{name[-2:]}", parent, chain or name, None, (), "<domain/>")


CHAINS = [backup("b01"), backup("b02", "b01", "b01"), backup("b03", "b02", "b01"), backup("b04"), backup("b05")]


def test_a_backup_needs_all_that_it_builds_on() -> None:
    assert [item.name for item in chain_of(CHAINS[2], CHAINS)] == ["b01", "b02", "b03"]
    assert [item.name for item in built_on(CHAINS[0], CHAINS)] == ["b02", "b03"]


def test_a_chain_with_a_gap_names_what_is_missing() -> None:
    with pytest.raises(Failure, match="b02 builds on b01, which is not there"):
        chain_of(CHAINS[2], CHAINS[1:])


def test_whole_chains_go_and_the_newest_of_each_first() -> None:
    assert [item.name for item in outdated(CHAINS, 2)] == ["b03", "b02", "b01"]
    assert [item.name for item in outdated(CHAINS, 1)] == ["b04", "b03", "b02", "b01"]
    assert outdated(CHAINS, 3) == []


def test_backups_in_two_directories_have_checkpoints_of_their_own() -> None:
    assert checkpoint_name("/a", "one") != checkpoint_name("/b", "one")
    assert checkpoint_name("/a", "one").startswith(checkpoint_prefix("/a"))
