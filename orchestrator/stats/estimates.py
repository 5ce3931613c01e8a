"""What several seeds say together: mean, t-interval, paired difference, and how such numbers are written."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from scipy.special import stdtrit

CONFIDENCE = 0.95
MIN_SEEDS = 3
"""Below this no interval is shown: with two seeds its half-width is nine standard deviations."""

DECIMALS: dict[str, Callable[[float], int]] = {
    "%": lambda size: 1,
    "clips/s": lambda size: 0 if size >= 100 else 1,
}
"""Unit -> decimals of a number of that size. A unit that is not here has two or three significant digits."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Values by seed, in the unit they are shown in."""

    by_seed: tuple[tuple[int, float], ...]
    confidence: float = CONFIDENCE
    """Confidence of the interval; higher where several looks share 95 %."""

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
        """Half the t-interval of the mean, of 95 % unless said otherwise; None below three seeds."""
        return None if self.n < MIN_SEEDS else _half_width(self)

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and zero is outside it."""
        return self.half_width is not None and self.mean is not None and abs(self.mean) > self.half_width

    def text(self, *, unit: str, signed: bool = False, average: bool = True) -> str:
        """`94.3 ± 1.2` from three seeds on, else each value; nothing where there is none."""
        return _text(self, unit, signed, average)


# Both are kept: a table asks for them several times for each of its files.
@cache
def _text(estimate: Estimate, unit: str, signed: bool, average: bool) -> str:
    values, mean, half_width = estimate.values, estimate.mean, estimate.half_width
    if not values:
        return ""
    if unit != "%" and len(set(values)) == 1:
        return number_text(values[0], unit=unit)  # a cost that no seed changes
    if not average or half_width is None or mean is None:
        return ", ".join(number_text(value, unit=unit, signed=signed) for value in values)
    return f"{number_text(mean, unit=unit, signed=signed)} ± {half_width:.{num_decimals(mean, unit=unit)}f}"


@cache
def _half_width(estimate: Estimate) -> float:
    quantile = float(stdtrit(estimate.n - 1, (1 + estimate.confidence) / 2))
    return quantile * statistics.stdev(estimate.values) / math.sqrt(estimate.n)


def paired_difference(
    values: Mapping[int, float], reference: Mapping[int, float], *, confidence: float = CONFIDENCE
) -> Estimate:
    """values - reference, seed by seed, over the seeds that both have."""
    shared = [seed for seed in sorted(values) if seed in reference]
    return Estimate(tuple((seed, values[seed] - reference[seed]) for seed in shared), confidence=confidence)


def num_decimals(value: float, *, unit: str) -> int:
    """Decimals that carry something, by the size of the number."""
    return DECIMALS.get(unit, _significant)(abs(value))


def _significant(size: float) -> int:
    return 1 if size >= 10 else 2 if size >= 0.1 else 4


def number_text(value: float, *, unit: str, signed: bool = False) -> str:
    """One number as tables show it."""
    return f"{value:{'+' if signed else ''}.{num_decimals(value, unit=unit)}f}"
