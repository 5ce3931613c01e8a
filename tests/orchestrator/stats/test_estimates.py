"""When an interval excludes zero: three seeds or more, and a mean farther from zero than the half-width. And how a
number is written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.estimates import Estimate, number_text

T_95 = 4.303
"""Two-sided 95 % quantile of Student's t with 2 degrees of freedom, as printed in tables."""


def estimate(*values: float) -> Estimate:
    return Estimate(tuple(enumerate(values)))


@pytest.mark.parametrize("values", [(), (5.0,), (5.0, 5.1)])
def test_fewer_than_three_seeds_exclude_nothing(values: tuple[float, ...]) -> None:
    assert estimate(*values).excludes_zero is False


@pytest.mark.parametrize("sign", [1, -1])
def test_three_seeds_exclude_zero_from_the_tabled_half_width_on(sign: int) -> None:
    """Values m - 1, m, m + 1 have a standard deviation of 1, so the half-width is t / sqrt(3)."""
    half_width = T_95 / math.sqrt(3)
    near, far = sign * (half_width - 0.01), sign * (half_width + 0.01)
    assert estimate(near - 1, near, near + 1).excludes_zero is False
    assert estimate(far - 1, far, far + 1).excludes_zero is True


def test_an_interval_that_ends_at_zero_contains_it() -> None:
    assert estimate(0.0, 0.0, 0.0).excludes_zero is False
    assert estimate(0.1, 0.1, 0.1).excludes_zero is True


@pytest.mark.parametrize("unit", ["%", "G", "clips/s"])
@pytest.mark.parametrize("signed", [False, True])
@given(value=st.floats(-1e6, 1e6))
def test_a_number_that_rounds_to_zero_has_no_minus_sign(value: float, unit: str, signed: bool) -> None:
    text = number_text(value, unit=unit, signed=signed)
    assert float(text) != 0 or not text.startswith("-")
    assert float(text) == pytest.approx(value, rel=0.05, abs=0.0501)


def test_equal_rows_have_no_negative_difference() -> None:
    assert Estimate(((0, -0.04), (1, -0.0))).text(unit="%", signed=True) == "+0.0 (+0.0, +0.0)"
