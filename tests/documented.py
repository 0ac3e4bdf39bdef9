"""What the documentation of a module says of itself, for tests that hold it to that."""

from __future__ import annotations

import re
from typing import Any

import yaml
from playing import REPOSITORY

Tasks = list[dict[str, Any]]

# They read streams of guests, which played guests have none of: tests/kvm runs them on real ones.
OF_REAL_GUESTS = ("vm_console_log", "vm_screenshot")


def examples(module: str) -> Tasks:
    """The tasks of a module's examples."""
    source = (REPOSITORY / "plugins" / "modules" / f"{module}.py").read_text()
    match = re.search(r'^EXAMPLES = r?"""(.*?)^"""', source, re.MULTILINE | re.DOTALL)
    assert match, f"{module} has no examples"
    tasks: Tasks = yaml.safe_load(match[1])
    return tasks
