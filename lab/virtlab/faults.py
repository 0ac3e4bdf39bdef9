"""How the cluster misbehaves on demand: rules that an administrator adds, that requests and controllers meet."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SUBJECTS = ("request", "watch", "import", "schedule", "migration", "dump", "token", "data")
# The others have one by themselves.
EFFECTS = {
    "request": ("latency", "code", "drop", "slow"),
    "data": ("latency", "code", "drop", "slow"),
    "token": ("lifetime",),
}


class FaultError(ValueError):
    """A rule that cannot be: the text says what to change."""


@dataclass
class Fault:
    """One rule. Which fields count depends on C(subject); the others keep their defaults.

    request: C(latency) seconds, then C(code) with C(reason), C(message) and C(retry_after) seconds, or C(drop) the
    connection before or after the request was executed; C(slow) is a pause in seconds between chunks of the answer.
    watch: C(code) 410 expires the watch, C(drop) cuts it, after C(latency) seconds.
    import: imports whose URL or C(namespace/name) matches C(path) fail with C(message).
    schedule: VMs whose C(namespace/name) matches C(path) cannot be scheduled.
    migration: live migrations of VMs whose C(namespace/name) matches C(path) fail at their end with C(message).
    dump: memory dumps of VMs whose C(namespace/name) matches C(path) fail with C(message).
    token: tokens issued from now on last C(lifetime) seconds.
    data: uploads and downloads of exports whose URL path matches C(path): as for requests, and C(drop) amid cuts the
    connection once half of the bytes went; C(slow) is a pause between pieces of a mebibyte.
    """

    subject: str = "request"
    verb: str = ""
    path: str = ""
    user: str = ""
    count: int = 0
    probability: float = 1.0
    latency: float = 0.0
    code: int = 0
    reason: str = ""
    message: str = ""
    retry_after: int = 0
    drop: str = ""
    slow: float = 0.0
    lifetime: int = 0
    id: int = 0
    hits: int = field(default=0, compare=False)

    def check(self) -> None:
        """Raises FaultError."""
        if self.subject not in SUBJECTS:
            raise FaultError(f"subject {self.subject!r}: one of {', '.join(SUBJECTS)}")
        if self.drop not in ("", "before", "after") and (self.subject, self.drop) != ("data", "amid"):
            raise FaultError(f"drop {self.drop!r}: before or after, or amid for data")
        if not 0 < self.probability <= 1:
            raise FaultError(f"probability {self.probability}: more than 0, at most 1")
        if self.code and not 400 <= self.code <= 599:
            raise FaultError(f"code {self.code}: a status from 400 to 599")
        if min(self.latency, self.slow, self.count, self.retry_after, self.lifetime) < 0:
            raise FaultError("latency, slow, count, retry_after and lifetime must not be negative")
        effects = EFFECTS.get(self.subject)
        if effects and not any(getattr(self, name) for name in effects):
            raise FaultError(f"a rule about a {self.subject} needs one of {', '.join(effects)}")
        for pattern in (self.path, self.user):
            try:
                re.compile(pattern)
            except re.error as error:
                raise FaultError(f"{pattern!r} is no regular expression: {error}") from None

    def meets(self, verb: str, path: str, user: str) -> bool:
        if self.verb and verb not in self.verb.split(","):
            return False
        return bool(re.search(self.path, path)) and bool(re.search(self.user, user))


FIELDS = frozenset(Fault.__dataclass_fields__) - {"id", "hits"}


class Faults:
    """The rules in force. A rule with a C(count) is used that often and then gone."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._rules: list[Fault] = []
        self._ids = itertools.count(1)
        self._chance = chance or random.Random()

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._rules))

    def add(self, **fields: Any) -> Fault:
        """Raises FaultError for a field that is none or a value that makes no sense."""
        unknown = sorted(set(fields) - FIELDS)
        if unknown:
            raise FaultError(f"unknown: {', '.join(unknown)}; known are {', '.join(sorted(FIELDS))}")
        fault = Fault(**fields)
        fault.check()
        fault.id = next(self._ids)
        self._rules.append(fault)
        return fault

    def clear(self, id: int | None = None) -> int:
        """Take out one rule, or all; returns how many."""
        kept = [] if id is None else [rule for rule in self._rules if rule.id != id]
        gone, self._rules = len(self._rules) - len(kept), kept
        return gone

    def described(self) -> list[Mapping[str, Any]]:
        """The rules as JSON, without what has its default."""
        empty = asdict(Fault())
        return [
            {key: value for key, value in asdict(rule).items() if value != empty[key] or key in ("id", "subject")}
            for rule in self._rules
        ]

    def hit(self, subject: str, verb: str = "", path: str = "", user: str = "") -> Fault | None:
        """The first rule that this meets, counted as used."""
        for rule in self._rules:
            if rule.subject != subject or not rule.meets(verb, path, user):
                continue
            if rule.probability < 1 and self._chance.random() >= rule.probability:
                continue
            rule.hits += 1
            if rule.count and rule.hits >= rule.count:
                self._rules.remove(rule)
            return rule
        return None

    def _standing(self, subject: str, *texts: str) -> Fault | None:
        for rule in self._rules:
            if rule.subject == subject and any(re.search(rule.path, text) for text in texts):
                return rule
        return None

    def import_failure(self, name: str, url: str = "") -> str | None:
        """Why the import of data volume C(namespace/name) from C(url) fails; None when it does not."""
        rule = self._standing("import", name, url)
        if rule is None:
            return None
        return rule.message or (
            "Unable to process data: unable to connect to http data source: expected status code 200, got 404. "
            "Status: 404 Not Found"
        )

    def unschedulable(self, name: str) -> str | None:
        """Why the VM C(namespace/name) finds no node; None when it does."""
        rule = self._standing("schedule", name)
        if rule is None:
            return None
        return rule.message or "0/3 nodes are available: 3 Insufficient memory."

    def migration_failure(self, name: str) -> str | None:
        """Why the live migration of the VM C(namespace/name) fails; None when it does not."""
        rule = self._standing("migration", name)
        if rule is None:
            return None
        return rule.message or "Live migration failed: operation failed: job 'migration out' failed: Unable to write"

    def dump_failure(self, name: str) -> str | None:
        """Why the memory dump of the VM C(namespace/name) fails; None when it does not."""
        rule = self._standing("dump", name)
        return None if rule is None else rule.message or "No space left on device"

    def token_lifetime(self) -> int | None:
        """Seconds that tokens issued now last, None for what the request asks."""
        rule = self._standing("token", "")
        return rule.lifetime if rule is not None else None
