"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.whole_file import write_whole


def test_a_file_is_replaced_with_the_mode_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_text("before")
    write_whole(path, b"after", 0o600)
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["it"]


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tiny: Path) -> None:
    path = tiny / "it"
    path.write_text("before")
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, os.urandom(2 * 1024**2))
    assert path.read_text() == "before"
    assert os.listdir(tiny) == ["it"]
