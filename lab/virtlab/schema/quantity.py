"""Kubernetes quantities: k8s.io/apimachinery/pkg/api/resource. C(10Gi), C(500m), C(1e3)."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

PATTERN_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_SYNTAX = re.compile(r"^([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+|[KMGTPE]i|[numkMGTPE]?)$")
_BINARY = {suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_DECIMAL = {
    suffix: Decimal(10) ** power
    for suffix, power in (("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15))
} | {"E": Decimal(10) ** 18}
_NANO = Decimal("1e-9")


class QuantityError(ValueError):
    """The text is no quantity; the message is the API server's."""


def parse(text: str | int | float) -> Decimal:
    """The number of units that C(text) means. Raises QuantityError.

    What is finer than a nano unit is rounded up, as Go's ParseQuantity does.
    """
    match = _SYNTAX.match(str(text))
    if match is None:
        raise QuantityError(PATTERN_TEXT)
    sign, digits, suffix = match.groups()
    scale = _BINARY.get(suffix) or _DECIMAL.get(suffix)
    if scale is None:
        scale = Decimal(10) ** int(suffix[1:])
    value = Decimal(digits) * scale
    rounded = value.quantize(_NANO, rounding=ROUND_CEILING) if value % _NANO else value
    return -rounded if sign == "-" else rounded


def is_quantity(text: object) -> bool:
    return isinstance(text, str | int | float) and not isinstance(text, bool) and bool(_SYNTAX.match(str(text)))


def canonical(text: str | int | float) -> str:
    """The one way in which the API server writes this quantity: C(1024Mi) is C(1Gi), C(0.5) is C(500m).

    The suffix family stays: binary, decimal or exponent. Raises QuantityError.
    """
    match = _SYNTAX.match(str(text))
    if match is None:
        raise QuantityError(PATTERN_TEXT)
    value, suffix = parse(text), match[3]
    if suffix in _BINARY and (abs(value) < 1024 or value != value.to_integral_value()):
        return _decimal(value)
    if suffix in _BINARY:
        return _scaled(value, [("", Decimal(1)), *_BINARY.items()])
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return _exponent(value)
    return _decimal(value)


def _decimal(value: Decimal) -> str:
    return _scaled(value, list(_DECIMAL.items()))


def _scaled(value: Decimal, suffixes: list[tuple[str, Decimal]]) -> str:
    """With the largest suffix that leaves a whole number."""
    if not value:
        return "0"
    for suffix, scale in reversed(suffixes):
        scaled = value / scale
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    raise QuantityError(PATTERN_TEXT)


def _exponent(value: Decimal) -> str:
    if not value:
        return "0"
    for power in range(18, -12, -3):
        scaled = value / Decimal(10) ** power
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}e{power}" if power else str(int(scaled))
    raise QuantityError(PATTERN_TEXT)
