"""Values as Go's fmt writes them into the server's messages."""

from __future__ import annotations

from collections.abc import Iterable

import orjson


def quoted(value: object) -> str:
    """C(%q) of a string, the JSON text of anything else."""
    return orjson.dumps(value).decode()


def string_slice(values: Iterable[str]) -> str:
    """C(%#v) of a []string."""
    return "[]string{" + ", ".join(quoted(value) for value in values) + "}"
