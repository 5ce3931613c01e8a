"""Statistics over seeds: mean, t-interval, paired difference, and their text form."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from scipy.special import stdtrit

CONFIDENCE = 0.95
MIN_SEEDS = 3
"""Fewest seeds for an interval. With two seeds, its half-width would be nine standard deviations."""

DECIMALS: dict[str, Callable[[float], int]] = {
    "%": lambda size: 1,
    "clips/s": lambda size: 0 if size >= 100 else 1,
}
"""Unit -> decimals of a number of that size. A unit that is not here has two or three significant digits."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Values by seed, in the unit of a table's column."""

    by_seed: tuple[tuple[int, float], ...]
    confidence: float = CONFIDENCE
    """Confidence level of the interval. It is above 95 % if several looks share the error of 5 %."""

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(value for _, value in self.by_seed)

    @property
    def n(self) -> int:
        return len(self.by_seed)

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.by_seed else None

    @property
    def half_width(self) -> float | None:
        """Half the width of the t-interval of the mean; None with fewer than three seeds."""
        return None if self.n < MIN_SEEDS else _half_width(self)

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and zero is outside it."""
        return self.half_width is not None and self.mean is not None and abs(self.mean) > self.half_width

    def text(self, *, unit: str, signed: bool = False, average: bool = True) -> str:
        """`94.3 ± 1.2` with at least three seeds, `94.3 (94.0, 94.6)` with two, else the value; empty without values.

        Without ``average`` only the single values.
        """
        return _text(self, unit, signed, average)


# Cached: a table asks for both several times for each of its files.
@cache
def _text(estimate: Estimate, unit: str, signed: bool, average: bool) -> str:
    values, mean, half_width = estimate.values, estimate.mean, estimate.half_width
    if not values:
        return ""
    if unit != "%" and len(set(values)) == 1:
        return number_text(values[0], unit=unit)  # a cost that no seed changes
    each = ", ".join(number_text(value, unit=unit, signed=signed) for value in values)
    if not average or mean is None or len(values) == 1:
        return each
    if half_width is None:
        return f"{number_text(mean, unit=unit, signed=signed)} ({each})"
    return f"{number_text(mean, unit=unit, signed=signed)} ± {half_width:.{num_decimals(mean, unit=unit)}f}"


@cache
def _half_width(estimate: Estimate) -> float:
    quantile = float(stdtrit(estimate.n - 1, (1 + estimate.confidence) / 2))
    return quantile * statistics.stdev(estimate.values) / math.sqrt(estimate.n)


def paired_difference(
    values: Mapping[int, float], reference: Mapping[int, float], *, confidence: float = CONFIDENCE
) -> Estimate:
    """values - reference for each seed that both have."""
    shared = [seed for seed in sorted(values) if seed in reference]
    return Estimate(tuple((seed, values[seed] - reference[seed]) for seed in shared), confidence=confidence)


def num_decimals(value: float, *, unit: str) -> int:
    """Number of decimals to show: one for percentages, two or three significant digits for costs."""
    return DECIMALS.get(unit, _significant)(abs(value))


def _significant(size: float) -> int:
    return 1 if size >= 10 else 2 if size >= 0.1 else 4


def number_text(value: float, *, unit: str, signed: bool = False) -> str:
    """One number as text, as tables show it. What rounds to zero has no minus sign."""
    return f"{value:{'+' if signed else ''}z.{num_decimals(value, unit=unit)}f}"
