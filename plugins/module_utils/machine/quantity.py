# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantities as Kubernetes writes them: C(30Gi), C(500M), C(1.5Ti).

Grammar: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from .refusal import Refused

BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4, "Pi": 1024**5, "Ei": 1024**6}
DECIMAL = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
}
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+|)")

# A size below this many bytes is a unit forgotten: nobody means a disk of 30 bytes.
SMALLEST_SIZE = 1024**2


def parse(text: Any, option: str) -> Decimal:
    """The value of a quantity in its base unit: bytes, or CPUs. Raises Refused for what is none."""
    match = _QUANTITY.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    if match is None:
        raise Refused(f'{option}: "{text}" is no quantity; use e.g. {_suggestion(str(text))}')
    number, suffix = match.groups()
    if suffix in BINARY:
        return Decimal(number) * BINARY[suffix]
    if suffix in DECIMAL:
        return Decimal(number) * DECIMAL[suffix]
    return Decimal(number + suffix)


def _suggestion(text: str) -> str:
    """What was probably meant: C(30GB) and C(30 Gi) are C(30Gi)."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgtp])i?b?\s*", text, re.IGNORECASE)
    return f"{match[1]}{match[2].upper()}i" if match else "30Gi"


def canonical(text: Any, option: str) -> str:
    """The quantity as the server's own code writes it, so that C(4096Mi) and C(4Gi) compare equal.

    The suffix family of the input is kept, as apimachinery does: C(1000M) is C(1G), C(1024Mi) is C(1Gi).
    """
    value = parse(text, option)
    suffix = _QUANTITY.fullmatch(str(text).strip())[2]  # type: ignore[index]
    if suffix in BINARY and value == value.to_integral_value() and abs(value) >= 1024:
        for name, factor in reversed(BINARY.items()):
            if value % factor == 0:
                return f"{int(value // factor)}{name}"
    if suffix[:1] in ("e", "E") and suffix not in DECIMAL:
        return _exponent(value)
    if suffix in BINARY:
        return str(int(value.to_integral_value("ROUND_CEILING")))
    for name in reversed(DECIMAL):
        scaled = value / DECIMAL[name]
        if value and scaled == scaled.to_integral_value():
            return f"{int(scaled)}{name}"
    return str(int(value))


def _exponent(value: Decimal) -> str:
    power = 18
    while power > -9 and value % Decimal(10) ** power:
        power -= 3
    return f"{int(value / Decimal(10) ** power)}e{power}" if power else str(int(value))


def size(text: Any, option: str) -> str:
    """The canonical quantity of a size in bytes. Refuses what is none, what is not positive, and a unit forgotten."""
    value = parse(text, option)
    if value <= 0:
        raise Refused(f'{option}: "{text}" is not more than nothing; use e.g. 30Gi')
    if value < SMALLEST_SIZE:
        unit = f"{text}Gi" if str(text).strip().isdigit() else "30Gi"
        raise Refused(f'{option}: "{text}" means {format(value, "f")} bytes; give a unit, e.g. {unit}')
    return canonical(text, option)


def amount(text: Any) -> Decimal:
    """The value of a quantity that a server wrote."""
    return parse(text, "quantity")
