"""Label and field selectors, parsed as apimachinery parses them, down to the wording of their errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from virtlab.goformat import quoted
from virtlab.names import label_key_problems, label_value_problems
from virtlab.resource import Object, Resource
from virtlab.status import bad_request

SPECIAL = "=!(),<>"
SYMBOLS = {")", ",", "!", "==", "=", ">", "<", "!=", "("}
OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")


@dataclass(frozen=True)
class Requirement:
    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "in" | "=" | "==":
                return value is not None and value in self.values
            case "notin" | "!=":
                return value is None or value not in self.values
        return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        try:
            have, bound = int(value), int(next(iter(self.values)))
        except ValueError:
            return False
        return have > bound if self.operator == ">" else have < bound


Requirements = tuple[Requirement, ...]


def matches(requirements: Requirements, labels: Mapping[str, str]) -> bool:
    return all(requirement.matches(labels) for requirement in requirements)


class _Unparsable(Exception):
    pass


def _tokens(text: str) -> list[tuple[str, str]]:
    """(kind, literal) pairs; kinds are the symbols themselves, C(word), C(error) and C(end)."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char in " \t\r\n":
            position += 1
        elif char in SPECIAL:
            length = 2 if text[position : position + 2] in SYMBOLS else 1
            literal = text[position : position + length]
            found.append((literal, literal))
            position += length
        else:
            match = re.compile(r"[^\s=!(),<>]+").match(text, position)
            assert match is not None
            found.append(("word", match[0]))
            position = match.end()
    found.append(("end", ""))
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.position = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.position]

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def parse(self) -> Requirements:
        requirements: list[Requirement] = []
        while True:
            kind, literal = self.peek()
            if kind == "end":
                return tuple(requirements)
            if kind not in ("word", "!"):
                raise _Unparsable(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self.requirement())
            except _Unparsable as error:
                raise _Unparsable(f"unable to parse requirement: {error}") from None
            kind, literal = self.take()
            if kind == "end":
                return tuple(requirements)
            if kind != ",":
                raise _Unparsable(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self.peek()
            if kind not in ("word", "!"):
                raise _Unparsable(f"found '{literal}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        kind, literal = self.take()
        absent = kind == "!"
        if absent:
            kind, literal = self.take()
        if kind != "word":
            raise _Unparsable(f"found '{literal}', expected: identifier")
        key = literal
        if problems := label_key_problems(key):
            raise _Unparsable(f'<nil>: Invalid value: "{key}": {"; ".join(problems)}')
        if self.peek()[0] in ("end", ","):
            return Requirement(key, "!" if absent else "exists")
        kind, literal = self.take()
        operator = literal if kind == "word" else kind
        if operator in ("in", "notin"):
            values = self.values()
        elif operator in ("=", "==", "!=", ">", "<"):
            values = self.exact_value()
        else:
            raise _Unparsable(f"found '{literal}', expected: {', '.join(OPERATORS)}")
        self.check(key, operator, values)
        return Requirement(key, operator, frozenset(values))

    def check(self, key: str, operator: str, values: list[str]) -> None:
        for index, value in enumerate(sorted(values)):
            if operator in ("<", ">") and not re.fullmatch(r"[+-]?\d+", value):
                raise _Unparsable(
                    f"values[{index}]: Invalid value: {quoted(value)}: for 'Gt', 'Lt' operators, "
                    "the value must be an integer"
                )
            if problems := label_value_problems(value):
                raise _Unparsable(f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(problems)}')

    def values(self) -> list[str]:
        kind, literal = self.take()
        if kind != "(":
            raise _Unparsable(f"found '{literal}' expected: '('")
        kind, literal = self.peek()
        if kind == ")":
            self.take()
            return [""]
        if kind not in ("word", ","):
            raise _Unparsable(f"found '{literal}', expected: ',', ')' or identifier")
        values: list[str] = []
        while True:
            kind, literal = self.take()
            if kind == "word":
                values.append(literal)
                kind, literal = self.peek()
                if kind not in (",", ")"):
                    raise _Unparsable(f"found '{literal}', expected: ',' or ')'")
                if kind == ")":
                    break
                self.take()
                if self.peek()[0] == ")":
                    values.append("")
                    break
            elif kind == ",":
                values.append("")
                if self.peek()[0] == ")":
                    break
            else:
                raise _Unparsable(f"found '{literal}', expected: ',', or identifier")
        self.take()
        return values

    def exact_value(self) -> list[str]:
        if self.peek()[0] in ("end", ","):
            return [""]
        kind, literal = self.take()
        if kind != "word":
            raise _Unparsable(f"found '{literal}', expected: identifier")
        return [literal]


def parse_labels(text: str) -> Requirements:
    """Raises a 400 in the server's words."""
    try:
        return _Parser(text).parse()
    except _Unparsable as error:
        raise bad_request(str(error)) from None


# Field selectors

NAME_FIELDS = ("metadata.name", "metadata.namespace")
FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
    ),
    "replicasets.apps": ("status.replicas",),
    "replicationcontrollers": ("status.replicas",),
    "jobs.batch": ("status.successful",),
    "certificatesigningrequests.certificates.k8s.io": ("spec.signerName",),
}  # fmt: skip


@dataclass(frozen=True)
class FieldRequirement:
    path: str
    equal: bool
    value: str

    def matches(self, obj: Object) -> bool:
        return (_field(obj, self.path) == self.value) == self.equal


FieldRequirements = tuple[FieldRequirement, ...]


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else ""
    if isinstance(value, bool):
        return str(value).lower()
    if path == "source" and isinstance(value, Mapping):
        return str(value.get("component", ""))
    return str(value)


def parse_fields(text: str, resource: Resource, selectable: Iterable[str] = ()) -> FieldRequirements:
    """C(selectable) are the fields that the resource's CRD declares. Raises a 400 in the server's words."""
    found: list[FieldRequirement] = []
    for term in _terms(text):
        match = re.fullmatch(r"(.*?)(!=|==|=)(.*)", term, re.DOTALL)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = match[1], match[2], re.sub(r"\\([\\,=])", r"\1", match[3])
        _check_field(path, resource, selectable)
        found.append(FieldRequirement(path, operator != "!=", value))
    return tuple(found)


def _terms(text: str) -> list[str]:
    return [term for term in re.split(r"(?<!\\),", text) if term]


def _check_field(path: str, resource: Resource, selectable: Iterable[str]) -> None:
    names = NAME_FIELDS if resource.namespaced or not resource.custom else NAME_FIELDS[:1]
    if path in names or path in FIELDS.get(resource.qualified, ()) or path in selectable:
        return
    if resource.custom or resource.qualified in FIELDS:
        raise bad_request(f"field label not supported: {path}")
    raise bad_request(f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"')


def selector(
    resource: Resource, label_text: str, field_text: str, selectable: Iterable[str] = ()
) -> Callable[[Object], bool] | None:
    """One predicate of both selectors, or None when there is none to test."""
    labels = parse_labels(label_text) if label_text else ()
    fields = parse_fields(field_text, resource, selectable) if field_text else ()
    if not labels and not fields:
        return None

    def selects(obj: Object) -> bool:
        return matches(labels, obj["metadata"].get("labels") or {}) and all(field.matches(obj) for field in fields)

    return selects
