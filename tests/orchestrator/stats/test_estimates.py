"""When an interval excludes zero: three seeds or more, and a mean farther from zero than the half-width."""

from __future__ import annotations

import math

import pytest

from orchestrator.stats.estimates import Estimate

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
