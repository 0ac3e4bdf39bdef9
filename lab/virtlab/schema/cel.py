"""The part of the Common Expression Language that CRDs of a virtualization cluster use in x-kubernetes-validations.

Expressions become closures over the variables. What is not understood raises Unsupported when it is compiled, so that a
rule is either applied rightly or left out.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Environment = Mapping[str, Any]
Expression = Callable[[Environment], Any]


class Unsupported(Exception):
    """The expression uses something this evaluator does not know."""


class EvaluationError(Exception):
    """The expression cannot be evaluated on these values: no such key, no such overload."""


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?)
      | (?P<raw>r'[^']*'|r"[^"]*")
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<name>[A-Za-z_]\w*)
      | (?P<operator>\|\||&&|==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_KEYWORD = re.compile(r"^__(\w+)__$")
_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda left, right: left in right,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
_METHODS: dict[str, Callable[..., Any]] = {
    "contains": lambda text, part: part in text,
    "endsWith": lambda text, part: text.endswith(part),
    "lowerAscii": lambda text: text.lower(),
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
    "size": len,
    "split": lambda text, separator: text.split(separator),
    "startsWith": lambda text, part: text.startswith(part),
    "trim": lambda text: text.strip(),
    "upperAscii": lambda text: text.upper(),
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"size": len, "int": int, "string": str, "double": float}
_MACROS: dict[str, Callable[[list[Any]], Any]] = {
    "all": all,
    "exists": any,
    "exists_one": lambda results: sum(map(bool, results)) == 1,
}


@lru_cache(maxsize=1024)
def compiled(text: str) -> Expression:
    """The expression as a function of its variables. Raises Unsupported."""
    parser = _Parser(text)
    expression = parser.ternary()
    if parser.peek() is not None:
        raise Unsupported(text)
    return expression


def evaluate(text: str, variables: Environment) -> Any:
    """Raises Unsupported or EvaluationError."""
    try:
        return compiled(text)(variables)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise EvaluationError(str(error)) from error


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise Unsupported(text)
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        self._at = 0

    def peek(self) -> str | None:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else None

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise Unsupported("unexpected end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, text: str) -> bool:
        if self.peek() == text and self._tokens[self._at][0] in ("operator", "name"):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise Unsupported(f"expected {text}")

    def ternary(self) -> Expression:
        condition = self._binary(0)
        if not self._accept("?"):
            return condition
        then = self.ternary()
        self._expect(":")
        otherwise = self.ternary()
        return lambda env: then(env) if condition(env) else otherwise(env)

    def _binary(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self.peek() in _LEVELS[level] and self._tokens[self._at][0] in ("operator", "name"):
            left = _combined(self._next()[1], left, self._binary(level + 1))
        return left

    def _unary(self) -> Expression:
        if self._accept("!"):
            negated = self._unary()
            return lambda env: not negated(env)
        if self._accept("-"):
            number = self._unary()
            return lambda env: -number(env)
        return self._postfix(self._primary())

    def _postfix(self, value: Expression) -> Expression:
        while True:
            if self._accept("."):
                kind, name = self._next()
                if kind != "name":
                    raise Unsupported(name)
                value = self._call(value, name) if self._accept("(") else _member(value, name)
            elif self._accept("["):
                value = _indexed(value, self.ternary())
                self._expect("]")
            else:
                return value

    def _call(self, target: Expression, name: str) -> Expression:
        if name in _MACROS:
            variable = self._next()[1]
            self._expect(",")
            body = self.ternary()
            self._expect(")")
            return _macro(_MACROS[name], target, variable, body)
        method, arguments = _METHODS.get(name), self._arguments(")")
        if method is None:
            raise Unsupported(name)
        return lambda env: method(target(env), *(argument(env) for argument in arguments))

    def _arguments(self, end: str) -> list[Expression]:
        found: list[Expression] = []
        while not self._accept(end):
            if found:
                self._expect(",")
            found.append(self.ternary())
        return found

    def _primary(self) -> Expression:
        kind, text = self._next()
        if kind == "number":
            number = float(text) if "." in text else int(text)
            return lambda env: number
        if kind in ("raw", "string"):
            literal = text[2:-1] if kind == "raw" else _unescaped(text[1:-1])
            return lambda env: literal
        if kind == "name":
            return self._named(text)
        if text == "(":
            inner = self.ternary()
            self._expect(")")
            return inner
        if text == "[":
            items = self._arguments("]")
            return lambda env: [item(env) for item in items]
        raise Unsupported(text)

    def _named(self, name: str) -> Expression:
        if name in ("true", "false", "null"):
            constant = {"true": True, "false": False, "null": None}[name]
            return lambda env: constant
        if not self._accept("("):
            return lambda env: env[name]
        if name == "has":
            return self._has()
        function, arguments = _FUNCTIONS.get(name), self._arguments(")")
        if function is None:
            raise Unsupported(name)
        return lambda env: function(*(argument(env) for argument in arguments))

    def _has(self) -> Expression:
        """has(a.b.c): a.b must be there, c may be."""
        value = self._primary()
        while True:
            self._expect(".")
            name = _unmangled(self._next()[1])
            if self._accept(")"):
                break
            value = _member(value, name)
        owner = value
        return lambda env: name in owner(env)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text)


def _unmangled(name: str) -> str:
    """CEL's own words are written __so__ as field names."""
    match = _KEYWORD.match(name)
    return match[1] if match else name


def _member(value: Expression, name: str) -> Expression:
    key = _unmangled(name)
    return lambda env: value(env)[key]


def _indexed(value: Expression, index: Expression) -> Expression:
    return lambda env: value(env)[index(env)]


def _combined(name: str, left: Expression, right: Expression) -> Expression:
    if name == "||":
        return lambda env: left(env) or right(env)
    if name == "&&":
        return lambda env: left(env) and right(env)
    apply = _BINARY[name]
    return lambda env: apply(left(env), right(env))


def _macro(combine: Callable[[list[Any]], Any], target: Expression, variable: str, body: Expression) -> Expression:
    return lambda env: combine([body({**env, variable: item}) for item in target(env)])
