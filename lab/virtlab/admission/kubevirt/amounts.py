"""The amounts of CPU and memory in an instance's spec, as numbers; what is missing counts as nothing."""

from __future__ import annotations

import math
from decimal import Decimal

from virtlab.admission.webhook import at
from virtlab.resource import Object
from virtlab.schema.quantity import QuantityError, canonical, parse

ZERO = Decimal(0)


def amount(text: object) -> Decimal:
    try:
        return parse(text) if isinstance(text, str | int | float) else ZERO
    except QuantityError:
        return ZERO


def shown(text: object) -> str:
    """A quantity as Go prints it; C(0) for one that is missing."""
    try:
        return canonical(text) if isinstance(text, str | int | float) else "0"
    except QuantityError:
        return str(text)


def resource(spec: Object, kind: str, name: str) -> object:
    """C(spec.domain.resources.<kind>.<name>), None when it is not set."""
    return at(spec, "domain", "resources", kind, name)


def whole(text: object) -> int:
    """The amount rounded up to whole units, as Quantity.Value() does."""
    return math.ceil(amount(text))


def vcpus(spec: Object) -> int:
    """Sockets times cores times threads of C(spec.domain.cpu), of which none need be set; 0 without a CPU."""
    cpu = at(spec, "domain", "cpu")
    if cpu is None:
        return 0
    product, given = 1, False
    for name in ("sockets", "cores", "threads"):
        if cpu.get(name):
            product, given = product * int(cpu[name]), True
    return product if given else 0
