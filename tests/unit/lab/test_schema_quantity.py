"""Quantities: what they are worth, and the one form in which the API server writes each."""

from __future__ import annotations

from decimal import Decimal

import pytest
from virtlab.schema.quantity import QuantityError, canonical, is_quantity, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("10Gi", "10737418240"),
        ("500m", "0.5"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", "1e18"),
        (".5", "0.5"),
        ("-2k", "-2000"),
        ("1n", "1e-9"),
    ],
)
def test_a_quantity_is_a_number(text: str, value: str) -> None:
    assert parse(text) == Decimal(value)


def test_what_is_finer_than_a_nano_unit_is_rounded_up() -> None:
    assert parse("0.1n") == Decimal("1e-9")


def test_numbers_are_quantities_too() -> None:
    assert parse(3) == 3
    assert parse(0.5) == Decimal("0.5")


@pytest.mark.parametrize("text", ["", "12 potatoes", "Gi", "1 Gi", "1.2.3", "0x10", "1KiB"])
def test_anything_else_is_refused_in_the_servers_words(text: str) -> None:
    assert not is_quantity(text)
    with pytest.raises(QuantityError, match="quantities must match the regular expression"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1000k", "1M"),
        ("1500k", "1500k"),
        ("1.5Gi", "1536Mi"),
        ("0", "0"),
        ("512", "512"),
    ],
)
def test_the_canonical_form_keeps_the_family_of_the_suffix(text: str, form: str) -> None:
    assert canonical(text) == form


@pytest.mark.parametrize("text", ["1Gi", "500m", "1e3", "3", "1536Mi", "7k"])
def test_the_canonical_form_is_worth_the_same(text: str) -> None:
    assert parse(canonical(text)) == parse(text)
