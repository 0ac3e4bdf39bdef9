"""Waits for what controllers write, by watching."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Check = Callable[[dict[str, Any]], Any]
SECONDS = 20


def awaited(api: Any, collection: str, name: str, check: Check) -> dict[str, Any]:
    """The object called C(name) as soon as C(check) holds for it; fails after C(SECONDS)."""
    query = f"watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds={SECONDS}"
    with api.opened("GET", f"{collection}?{query}", timeout=SECONDS + 5) as response:
        for line in response:
            event = json.loads(line)
            if event["type"] in ("ADDED", "MODIFIED") and check(event["object"]):
                found: dict[str, Any] = event["object"]
                return found
    raise AssertionError(f"{collection}/{name} did not get there within {SECONDS} s")
