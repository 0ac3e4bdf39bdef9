"""Sets of field paths, and FieldsV1, their form in metadata.managedFields.

A path element is kept as FieldsV1 writes it: C(f:name) a field, C(k:{"name":"x"}) an item of a keyed list, C(v:"x") a
member of a set, C(i:0) an index. Sets are never changed once they are shared: every operation makes a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from virtlab.goformat import quoted

Path = tuple[str, ...]


class FieldSet:
    """A set of paths as a tree: C(members) are in the set themselves, C(children) hold what lies below an element."""

    __slots__ = ("children", "members")

    def __init__(self, members: set[str] | None = None, children: dict[str, FieldSet] | None = None) -> None:
        self.members: set[str] = members if members is not None else set()
        self.children: dict[str, FieldSet] = children if children is not None else {}

    @classmethod
    def of(cls, *paths: Path) -> FieldSet:
        found = cls()
        for path in paths:
            found.insert(path)
        return found

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> FieldSet:
        """From FieldsV1."""
        found = cls()
        for element, below in fields.items():
            if element == ".":
                continue
            if not below or "." in below:
                found.members.add(element)
            child = cls.parse(below)
            if child:
                found.children[element] = child
        return found

    def fields(self) -> dict[str, Any]:
        """As FieldsV1."""
        written: dict[str, Any] = {}
        for element in sorted(self.members | self.children.keys()):
            child = self.children.get(element)
            below = child.fields() if child else {}
            written[element] = {".": {}, **below} if below and element in self.members else below
        return written

    def __bool__(self) -> bool:
        return bool(self.members) or any(self.children.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSet) and self.fields() == other.fields()

    __hash__ = None  # type: ignore[assignment]

    def insert(self, path: Path) -> None:
        """Add a path to a set that nobody shares yet. The empty path names the whole object and is not kept."""
        if not path:
            return
        node = self
        for element in path[:-1]:
            below = node.children.get(element)
            if below is None:
                below = node.children[element] = FieldSet()
            node = below
        node.members.add(path[-1])

    def has(self, path: Path) -> bool:
        node = self
        for element in path[:-1]:
            below = node.children.get(element)
            if below is None:
                return False
            node = below
        return bool(path) and path[-1] in node.members

    def below(self, element: str) -> FieldSet:
        return self.children.get(element) or FieldSet()

    def paths(self) -> Iterator[Path]:
        """Every member's path, sorted within each level, members before what is below."""
        for element in sorted(self.members):
            yield (element,)
        for element in sorted(self.children):
            for path in self.children[element].paths():
                yield (element, *path)

    def union(self, other: FieldSet) -> FieldSet:
        children = dict(self.children)
        for element, child in other.children.items():
            mine = children.get(element)
            children[element] = child if mine is None else mine.union(child)
        return FieldSet(self.members | other.members, children)

    def intersection(self, other: FieldSet) -> FieldSet:
        children = {}
        for element in self.children.keys() & other.children.keys():
            child = self.children[element].intersection(other.children[element])
            if child:
                children[element] = child
        return FieldSet(self.members & other.members, children)

    def difference(self, other: FieldSet) -> FieldSet:
        """Without the members of C(other); what lies below a member stays."""
        children = {}
        for element, child in self.children.items():
            theirs = other.children.get(element)
            left = child if theirs is None else child.difference(theirs)
            if left:
                children[element] = left
        return FieldSet(self.members - other.members, children)

    def without(self, other: FieldSet) -> FieldSet:
        """Without the members of C(other) and all that lies below them."""
        children = {}
        for element, child in self.children.items():
            if element in other.members:
                continue
            theirs = other.children.get(element)
            left = child if theirs is None else child.without(theirs)
            if left:
                children[element] = left
        return FieldSet(self.members - other.members, children)


def key_element(keys: Mapping[str, Any]) -> str:
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value_element(value: Any) -> str:
    return "v:" + orjson.dumps(value).decode()


def element_text(element: str) -> str:
    """A path element as messages write it: C(.name), C([name="x"]), C([="x"]), C([0])."""
    kind, text = element[:1], element[2:]
    if kind == "f":
        return f".{text}"
    if kind == "k":
        parts = (f"{name}={quoted(value)}" for name, value in orjson.loads(text).items())
        return f"[{','.join(parts)}]"
    return f"[={text}]" if kind == "v" else f"[{text}]"


def path_text(path: Path) -> str:
    return "".join(element_text(element) for element in path)
