"""What snapshots are, and which of them a revert or a series takes along, by their XML alone."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

from ansible_collections.virtstack.core.plugins.module_utils.kvm.snapshot_view import (
    DAY,
    SnapshotView,
    below,
    described,
    lost_by_revert,
    outdated,
    seen,
)


def snapshot(
    name: str, parent: str | None = None, *, external: bool = False, age: int = 0, series: str | None = None
) -> SnapshotView:
    return SnapshotView(name, parent, 1_000_000 - age, "running", False, None, series, external, "no", None, {})


def test_an_external_snapshot_has_the_layers_that_it_made() -> None:
    xml = fromstring(
        "<domainsnapshot><name>b</name><state>disk-snapshot</state><parent><name>a</name></parent>"
        "<creationTime>60</creationTime><memory snapshot='no'/>"
        "<disks><disk name='vda' snapshot='external'><source file='/i/b.qcow2'/></disk>"
        "<disk name='vdb' snapshot='no'/></disks></domainsnapshot>"
    )
    found = seen(xml, "b")
    assert found.external and found.current and found.files == {"vda": "/i/b.qcow2"}
    assert found.told()["created"] == "1970-01-01T00:01:00Z" and found.told()["memory"] is False


def test_a_series_is_kept_beside_the_description() -> None:
    for description, series in (("Before", "nightly"), (None, "nightly"), ("Before", None), (None, None)):
        text = described(description, series)
        tag = f"<description>{text}</description>" if text else ""
        found = seen(fromstring(f"<domainsnapshot><name>a</name>{tag}</domainsnapshot>"), None)
        assert (found.description, found.series) == (description, series)


def test_newer_layers_are_lost_with_all_that_is_in_them_and_internal_ones_stay() -> None:
    tree = [
        snapshot("a"),
        snapshot("b", "a"),
        snapshot("c", "b", external=True),
        snapshot("d", "c"),
        snapshot("e", "a"),
    ]
    assert [item.name for item in below("a", tree)] == ["b", "e", "c", "d"]
    assert [item.name for item in lost_by_revert("a", tree)] == ["c", "d"]
    assert lost_by_revert("d", tree) == []


def test_what_one_of_both_rules_keeps_stays_and_other_series_are_not_looked_at() -> None:
    days = [snapshot(f"s{age}", age=age * DAY, series="nightly") for age in range(5)]
    others = [snapshot("by-hand", age=90 * DAY), snapshot("weekly", age=90 * DAY, series="weekly")]

    def gone(keep: int | None, keep_days: int | None) -> list[str]:
        return [item.name for item in outdated([*others, *days], "nightly", keep, keep_days, 1_000_000)]

    assert gone(2, None) == ["s2", "s3", "s4"]
    assert gone(None, 3) == ["s3", "s4"]
    assert gone(4, 3) == ["s4"]
    assert gone(None, None) == []
