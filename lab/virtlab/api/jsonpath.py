"""The part of Kubernetes' JSONPath that printer columns use: fields, indexes, C([*]) and C([?(@.a=="b")])."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

STEP = re.compile(
    r"""\.?(?:
        \[\?\(@\.(?P<key>[\w.\-/]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[["'](?P<quoted>[^"']+)["']\]
      | (?P<field>(?:\\.|[^.\[\]\\])+)
    )""",
    re.VERBOSE,
)


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[tuple[str, str, str], ...]:
    found = []
    for match in STEP.finditer(path.strip().strip("{}")):
        if match["key"] is not None:
            found.append(("where", match["key"], match["value"]))
        elif match["index"] is not None:
            found.append(("index", match["index"], ""))
        elif match["all"] is not None:
            found.append(("all", "", ""))
        else:
            field = match["quoted"] or match["field"].replace("\\", "")
            found.append(("field", field, ""))
    return tuple(found)


def select(obj: Any, path: str) -> list[Any]:
    """Everything that C(path) leads to."""
    values = [obj]
    for kind, name, wanted in _steps(path):
        found: list[Any] = []
        for value in values:
            if kind == "field" and isinstance(value, dict) and name in value:
                found.append(value[name])
            elif isinstance(value, list):
                if kind == "all":
                    found += value
                elif kind == "index" and -len(value) <= int(name) < len(value):
                    found.append(value[int(name)])
                elif kind == "where":
                    found += [item for item in value if select(item, name)[:1] == [wanted]]
        values = found
    return values


def first(obj: Any, path: str) -> Any:
    """The first value, None when there is none."""
    found = select(obj, path)
    return found[0] if found else None
