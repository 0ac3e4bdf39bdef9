"""Which functions see a write before it is stored.

A function takes an Operation. A mutating one edits C(operation.object) in place, a validating one raises StatusError.
The subjects are qualified resources, C(virtualmachines.kubevirt.io), with a subresource where one is meant
(C(pods/eviction)), or C(*) for every resource. They run in the order in which they were registered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from virtlab.operation import Operation

Hook = Callable[[Operation], None]

ANY = "*"
Table = dict[tuple[str, str], list[Hook]]

_mutating: Table = defaultdict(list)
_validating: Table = defaultdict(list)


def _registrar(table: Table, subject: str, verbs: tuple[str, ...]) -> Callable[[Hook], Hook]:
    def register(hook: Hook) -> Hook:
        for verb in verbs:
            table[subject, verb].append(hook)
        return hook

    return register


def mutating(subject: str, *verbs: str) -> Callable[[Hook], Hook]:
    """The decorated function edits C(operation.object) of the subject on these verbs: CREATE, UPDATE."""
    return _registrar(_mutating, subject, verbs)


def validating(subject: str, *verbs: str) -> Callable[[Hook], Hook]:
    """The decorated function may refuse writes of the subject on these verbs: CREATE, UPDATE, DELETE, CONNECT."""
    return _registrar(_validating, subject, verbs)


def _hooks(table: Table, operation: Operation) -> Iterator[Hook]:
    subject = operation.resource.qualified
    if operation.subresource:
        subject = f"{subject}/{operation.subresource}"
    else:
        yield from table.get((ANY, operation.verb), ())
    yield from table.get((subject, operation.verb), ())


def mutate(operation: Operation) -> None:
    """Runs the mutating functions of the operation."""
    for hook in _hooks(_mutating, operation):
        hook(operation)


def validate(operation: Operation) -> None:
    """Runs the validating functions of the operation; the first refusal is raised as StatusError."""
    for hook in _hooks(_validating, operation):
        hook(operation)
