"""A connection to a host, and what it costs the process that has it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import Host
from ansible_collections.virtstack.core.plugins.module_utils.kvm.events import LOOP

with Host("test:///default", events=False) as host:
    assert host.name and host.domain("test") is not None and host.domain("none") is None
    print("loop" if LOOP.is_set_up else "no loop")
with Host("test:///default"):
    print("loop" if LOOP.is_set_up else "no loop")
"""


def test_who_waits_for_no_events_has_no_loop_of_them() -> None:
    pytest.importorskip("libvirt")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=120)

    assert done.stdout.splitlines() == ["no loop", "loop"], done.stderr
