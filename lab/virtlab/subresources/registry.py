"""Which function answers a request that is no plain read or write of an object.

An action belongs to a qualified resource and has a name, its path below the object: C(start), C(sev/setupsession).
The name is empty for a resource that is itself only an action, such as C(selfsubjectreviews.authentication.k8s.io)
or C(expand-vm-spec.subresources.kubevirt.io). The resource C(*) holds actions of every resource that declares them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from virtlab.operation import SYSTEM, User
from virtlab.resource import Object, Resource
from virtlab.status import bad_request

if TYPE_CHECKING:
    from virtlab.cluster import Cluster
    from virtlab.subresources.kubevirt.backends import Pipe

ANY = "*"


@dataclass(frozen=True)
class Call:
    """One request for an action; C(name) is empty where the resource itself is the action."""

    cluster: Cluster
    resource: Resource
    action: str
    method: str
    namespace: str | None = None
    name: str = ""
    body: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    user: User = SYSTEM

    def header(self, name: str) -> str:
        """The value of a header whatever its case, empty when it was not sent."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    def document(self) -> Object:
        """The body, a JSON object. Raises 400 when it is none."""
        try:
            value = orjson.loads(self.body)
        except ValueError as error:
            raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
        if not isinstance(value, dict):
            raise bad_request("couldn't get version/kind; json parse error: the body is no object")
        return value

    @property
    def dry_run(self) -> bool:
        return "All" in self.query.get("dryRun", "")


Opener = Callable[[], "Awaitable[Pipe]"]
Dialer = Callable[[int], "Awaitable[Pipe]"]


@dataclass(frozen=True)
class Answer:
    """C(body): an object (sent as JSON), text (as plain text), or None (empty).

    C(stream) opens what the client is connected with over WebSocket, C(ports) a port of a pod; C(later) makes an answer
    that takes its time; C(chunks) is a text that grows while it is sent.
    """

    status: int = 200
    body: Any = None
    content_type: str | None = None
    stream: Opener | None = None
    ports: Dialer | None = None
    later: Callable[[], Awaitable[Answer]] | None = None
    chunks: AsyncIterator[bytes] | None = None


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Action:
    """A registered action. Discovery lists it as C(listed), None if not at all, with C(kind) as what it answers."""

    subject: str
    name: str
    methods: frozenset[str]
    handler: Handler
    group: str = ""
    version: str = ""
    kind: str = ""
    listed: str | None = None


_actions: dict[tuple[str, str], list[Action]] = {}


def action(
    subject: str,
    name: str,
    *methods: str,
    group: str = "",
    version: str = "",
    kind: str = "",
    listed: str | None = None,
    hidden: bool = False,
) -> Callable[[Handler], Handler]:
    """The decorated function answers requests for the action C(name) of C(subject) with one of C(methods).

    Discovery lists it as C(listed), or as C(name), unless it is C(hidden).
    """

    def register(handler: Handler) -> Handler:
        title = None if hidden else name if listed is None else listed
        entry = Action(subject, name, frozenset(methods), handler, group, version, kind, title)
        _actions.setdefault((subject, name), []).append(entry)
        return handler

    return register


def actions(subject: str, name: str) -> list[Action]:
    """The actions of that name, one for each function; empty when there is none.

    C(portforward/*) holds for everything below it, C(*) for every name that nothing else answers.
    """
    below = f"{name.partition('/')[0]}/*"
    for key in ((subject, name), (subject, below), (subject, ANY if name else ""), (ANY, name)):
        if found := _actions.get(key):
            return found
    return []


def registered() -> list[Action]:
    """Every action that discovery lists, under the name by which it lists it."""
    found = (entry for entries in _actions.values() for entry in entries)
    return [replace(entry, name=entry.listed) for entry in found if entry.listed is not None]
