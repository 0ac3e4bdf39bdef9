"""The expressions of x-kubernetes-validations."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.schema import cel


@pytest.mark.parametrize(
    ("text", "value", "result"),
    [
        ("self.startsWith('/')", "/a", True),
        ("!self.contains('..')", "a..b", False),
        ("self.all(x, x in ['a', 'b'])", ["a", "c"], False),
        ("self.exists(x, x == 1)", [2, 1], True),
        ("self.all(x, self.exists_one(y, x.lowerAscii() == y.lowerAscii()))", ["A", "a"], False),
        ("has(self.a) && !has(self.b)", {"a": 1}, True),
        ("has(self.__namespace__)", {"namespace": "x"}, True),
        ("size(self) > 0 ? self[0] == 'x' : true", ["x"], True),
        ("!(self.type != 'RollingUpdate' && has(self.rollingUpdate))", {"type": "Recreate"}, True),
        ("self.matches('^[0-9]+(\\\\.[0-9]+)*$')", "1.2", True),
        ("self.split('.').exists(x, x.matches('^0[0-9]+$'))", "1.02", True),
        ("self + 1 == 3", 2, True),
    ],
)
def test_what_crds_use(text: str, value: Any, result: bool) -> None:
    assert cel.evaluate(text, {"self": value}) is result


def test_what_is_not_known_is_not_guessed() -> None:
    with pytest.raises(cel.Unsupported):
        cel.compiled("self.all(k, !format.qualifiedName().validate(k).hasValue())")


def test_a_missing_key_is_an_error_and_not_false() -> None:
    with pytest.raises(cel.EvaluationError):
        cel.evaluate("self.a == 1", {"self": {}})
