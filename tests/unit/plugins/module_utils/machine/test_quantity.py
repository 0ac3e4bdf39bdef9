"""Quantities: what is one, what was meant, and how the server would write it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.machine import quantity
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30Gi", 30 * 2**30),
        ("1.5Ti", 3 * 2**39),
        ("500M", 500 * 10**6),
        ("2e3", 2000),
        ("250m", Decimal("0.25")),
        (2, 2),
    ],
)
def test_a_quantity_is_read_with_binary_decimal_and_exponent_suffixes(text: object, value: object) -> None:
    assert quantity.parse(text, "size") == value


@pytest.mark.parametrize("text", ["30GB", "30 Gi", "gi", "", "1,5Gi", "Gi30", "30gi", "1e", True, "--1Gi"])
def test_what_is_no_quantity_is_refused_with_the_option_and_its_value(text: object) -> None:
    with pytest.raises(Refused, match="size") as refused:
        quantity.parse(text, "size")
    assert str(text) in str(refused.value)


@pytest.mark.parametrize(("text", "meant"), [("30GB", "30Gi"), ("8 gb", "8Gi"), ("500mb", "500Mi"), ("2TiB", "2Ti")])
def test_a_refusal_proposes_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(Refused) as refused:
        quantity.parse(text, "size")
    assert str(refused.value).endswith(f"use e.g. {meant}")


@pytest.mark.parametrize("text", ["30", "512k", 0, "-1Gi", "0Gi"])
def test_a_size_without_a_unit_or_without_extent_is_refused(text: object) -> None:
    with pytest.raises(Refused):
        quantity.size(text, "size")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("4096Mi", "4Gi"),
        ("1.5Gi", "1536Mi"),
        ("4Gi", "4Gi"),
        ("1000M", "1G"),
        ("1536Mi", "1536Mi"),
        ("0.5", "500m"),
        ("1000", "1k"),
        ("100Gi", "100Gi"),
        ("2e3", "2e3"),
        ("0", "0"),
    ],
)
def test_a_quantity_is_written_as_the_server_writes_it(text: str, written: str) -> None:
    assert quantity.canonical(text, "size") == written


@given(st.integers(1, 10**6), st.sampled_from([*quantity.BINARY, "M", "G", "T"]))
def test_the_canonical_form_has_the_same_value_and_is_its_own_canonical_form(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    written = quantity.canonical(text, "size")
    assert quantity.parse(written, "size") == quantity.parse(text, "size")
    assert quantity.canonical(written, "size") == written
