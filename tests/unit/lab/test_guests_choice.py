"""Whether a lab's guests are real."""

from __future__ import annotations

import pytest
from virtlab.guests import choice
from virtlab.hosts.requirements import HostError

LACKING = ["libvirtd is missing: install it", "/dev/net/tun is missing: modprobe tun"]


@pytest.fixture(params=[[], LACKING], ids=["able", "unable"])
def lacking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(choice, "missing", lambda: iter(request.param))
    found: list[str] = request.param
    return found


def test_simulated_guests_ask_nothing_of_the_machine(lacking: list[str]) -> None:
    assert not choice.wants_real("simulated")


def test_auto_takes_real_guests_where_they_can_be(lacking: list[str]) -> None:
    assert choice.wants_real("auto") == (not lacking)


def test_real_guests_are_refused_with_all_that_is_missing(lacking: list[str]) -> None:
    if not lacking:
        assert choice.wants_real("real")
        return
    with pytest.raises(HostError) as refused:
        choice.wants_real("real")
    assert all(line in str(refused.value) for line in LACKING)
