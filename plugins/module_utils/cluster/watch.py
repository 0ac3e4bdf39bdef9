# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watch that goes on: it resumes where it was cut, and lists again when the server has forgotten that point."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from urllib3 import exceptions as http

from .errors import Asked, ClusterError, Expired, Unavailable, Unreachable, refusal
from .resource import Object, Resource
from .transport import Transport

if TYPE_CHECKING:
    from .client import Client

# A bookmark comes about once a minute, so that longer silence means a dead connection.
_SILENCE = 90.0
_LONGEST = 300.0
_PAUSE = 1.0


@dataclass(frozen=True)
class Event:
    """C(type) is ADDED, MODIFIED or DELETED; C(object) as the server sent it."""

    type: str
    object: Object


def watch(
    client: Client,
    transport: Transport,
    resource: Resource,
    namespace: str | None,
    *,
    label_selector: str | None,
    field_selector: str | None,
    resource_version: str | None,
    timeout: float,
) -> Iterator[Event]:
    """What happens to the selected objects during C(timeout) seconds, after what is there already.

    Without C(resource_version) the present objects come first, as ADDED. When the server's history no longer reaches
    back (410), the objects are listed again and the differences are yielded as events, deletions among them. Raises
    ClusterError for what does not pass by itself; a server that is away is waited for until the time is over.
    """
    deadline = time.monotonic() + timeout
    asked = Asked("watch", resource, namespace=namespace)
    seen: dict[tuple[str, str], Object] = {}
    version = resource_version
    while True:
        try:
            if not version:
                listing = client.list(resource, namespace, label_selector=label_selector, field_selector=field_selector)
                version = listing.resource_version
                yield from _differences(seen, listing.items)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            query = {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "labelSelector": label_selector,
                "fieldSelector": field_selector,
                "timeoutSeconds": max(1, int(min(remaining, _LONGEST))),
            }
            response = transport.stream(
                asked, resource.path(None, namespace), query, max(0.1, min(remaining, _SILENCE))
            )
            try:
                for kind, found in _lines(response, asked):
                    version = (found.get("metadata") or {}).get("resourceVersion") or version
                    if kind == "BOOKMARK":
                        continue
                    _remember(seen, kind, found)
                    yield Event(kind, found)
                    if time.monotonic() >= deadline:
                        return
            finally:
                response.close()
        except Expired:
            version = None
        except (Unavailable, Unreachable):
            if deadline - time.monotonic() <= _PAUSE:
                raise
            time.sleep(_PAUSE)
        if time.monotonic() >= deadline:
            return


def _lines(response: Any, asked: Asked) -> Iterator[tuple[str, Object]]:
    """The events of one connection. It ends when the server closes it, and quietly when it breaks."""
    rest = b""
    try:
        for chunk in response.stream(65536, decode_content=True):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if not line.strip():
                    continue
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error(asked, event["object"])
                yield event["type"], event["object"]
    except (http.HTTPError, ValueError):
        return


def _error(asked: Asked, status: Object) -> ClusterError:
    return refusal(asked, int(status.get("code") or 500), {}, json.dumps({"kind": "Status", **status}).encode())


def _key(found: Object) -> tuple[str, str]:
    metadata = found["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _remember(seen: dict[tuple[str, str], Object], kind: str, found: Object) -> None:
    if kind == "DELETED":
        seen.pop(_key(found), None)
    else:
        seen[_key(found)] = found


def _differences(seen: dict[tuple[str, str], Object], items: list[Object]) -> Iterator[Event]:
    present = {_key(item): item for item in items}
    for key in [key for key in seen if key not in present]:
        yield Event("DELETED", seen.pop(key))
    for key, item in present.items():
        known = seen.get(key)
        seen[key] = item
        if known is None:
            yield Event("ADDED", item)
        elif known["metadata"].get("resourceVersion") != item["metadata"].get("resourceVersion"):
            yield Event("MODIFIED", item)
