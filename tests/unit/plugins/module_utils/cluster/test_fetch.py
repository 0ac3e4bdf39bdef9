"""How long a server that is away is waited for, in time that passes only where somebody waits."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster import fetch
from ansible_collections.virtstack.core.plugins.module_utils.cluster.endpoint import SILENCE, Broken, Endpoint
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Silent(fetch.Fetch):
    """A server that breaks off after 1000 seconds, and from then on answers nothing."""

    def _attempt(self) -> dict[str, str]:
        is_first = not self.target.part.exists()
        self.target.part.write_bytes(b"some")
        fetch.time.sleep(1000 if is_first else SILENCE)
        raise Broken("It is silent.")


def test_asking_a_silent_server_is_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(fetch, "time", clock)
    endpoint = cast(Endpoint, None)
    silent = Silent(endpoint, "/", "it", dict, fetch.Target(tmp_path / "back"), 300.0, lambda text: None)
    with pytest.raises(Failure, match="the next run goes on with it"):
        silent.run()
    assert 1300 - SILENCE <= clock.now <= 1300 + SILENCE
