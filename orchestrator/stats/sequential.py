"""`seeds: auto`: adds seeds to a comparison of two rows until its interval excludes zero.

If one looks at a plain 95 % interval after every seed, one finds a difference between equal rows in 10 to 19 % of
sweeps. So the largest number of looks is fixed in advance, and each look uses its share of the 5 % (Bonferroni). The
number of seeds depends only on the finished steps. So a run that continues tomorrow takes the same looks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.stats.estimates import CONFIDENCE, MIN_SEEDS, Estimate
from reskd.errors import BadInput

MAX_SEEDS = 100
"""An upper limit that only catches typing errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoSeeds:
    """The comparison that decides how many seeds its two rows get. Other rows have the first `start` seeds."""

    compare: tuple[str, ...]
    """Two rows; the second is subtracted from the first."""
    column: str
    """The column that is compared: test/<metric> or test/<protocol>/<metric>."""
    start: int = MIN_SEEDS
    """Number of seeds at the first look: 0, 1, ... start - 1."""
    limit: int = 10
    """Number of seeds at the last look. The more looks are possible, the wider is the interval of each."""

    def __post_init__(self) -> None:
        if len(self.compare) != 2 or self.compare[0] == self.compare[1]:
            raise BadInput(f"'seeds.auto.compare' must name two different rows, got {list(self.compare)}")
        if not re.fullmatch(r"test(/[^/]+){1,2}", self.column):
            raise BadInput(
                f"'seeds.auto.column' must be test/<metric> or test/<protocol>/<metric>, got {self.column!r}"
            )
        if self.start < MIN_SEEDS:
            raise BadInput(
                f"'seeds.auto.start' must be at least {MIN_SEEDS}, the fewest with an interval, got {self.start}"
            )
        if not self.start <= self.limit <= MAX_SEEDS:
            raise BadInput(
                f"'seeds.auto.limit' must be from 'seeds.auto.start' = {self.start} to {MAX_SEEDS}, got {self.limit}"
            )

    @property
    def num_looks(self) -> int:
        """The largest possible number of looks."""
        return self.limit - self.start + 1

    @property
    def confidence(self) -> float:
        """Confidence level of each look's interval. With it, all looks together are wrong in at most 5 % of sweeps."""
        return 1 - (1 - CONFIDENCE) / self.num_looks

    @property
    def name(self) -> str:
        """The comparison in words, such as `pixel-level MSE against baseline`."""
        return f"{self.compare[0]} against {self.compare[1]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The state of a comparison."""

    state: Literal["waiting", "different", "undecided"]
    """waiting: some seeds are not finished. undecided: at the limit, the interval still contains zero."""
    num_seeds: int
    """Number of seeds that the two rows need now."""
    num_looks: int
    """Number of looks so far, without the one that waits for seeds."""
    difference: Estimate
    """The difference over the seeds of the last look, with the corrected interval."""


def look_at(differences: Mapping[int, float], auto: AutoSeeds) -> Look:
    """The state of a comparison after its differences by seed.

    Each look uses seeds 0 to n - 1, whatever else is finished. So the result depends on the order of the seeds, but
    never on the order in which they were trained.
    """
    difference = Estimate((), confidence=auto.confidence)
    for num_seeds in range(auto.start, auto.limit + 1):
        num_looks = num_seeds - auto.start
        if any(seed not in differences for seed in range(num_seeds)):
            return Look(state="waiting", num_seeds=num_seeds, num_looks=num_looks, difference=difference)
        by_seed = tuple((seed, differences[seed]) for seed in range(num_seeds))
        difference = Estimate(by_seed, confidence=auto.confidence)
        if difference.excludes_zero:
            return Look(state="different", num_seeds=num_seeds, num_looks=num_looks + 1, difference=difference)
    return Look(state="undecided", num_seeds=auto.limit, num_looks=auto.num_looks, difference=difference)


def sentence(look: Look, auto: AutoSeeds, *, unit: str = "%") -> str:
    """A sentence about a sequential comparison: how often one looked, and at which confidence level."""
    shown = look.difference.text(unit=unit, signed=True)
    found = {
        "different": f"{shown} points excludes zero",
        "undecided": f"{shown} points contains zero at the limit, so it stays undecided",
        "waiting": f"{shown} points contains zero; waiting for {look.num_seeds} seeds",
    }[look.state]
    if not look.num_looks:
        found = f"none yet; waiting for {look.num_seeds} seeds"
    return (
        f"Sequential: {auto.name} in {auto.column} gets seeds, from {auto.start} to {auto.limit}, until the interval "
        f"of its paired difference excludes zero. Looks taken: {look.num_looks} of at most {auto.num_looks}, "
        f"each at {percent(auto.confidence)} (Bonferroni, 95 % over all of them). The last: {found}."
    )


def percent(confidence: float) -> str:
    """A share as text, such as `99.4 %`."""
    return f"{100 * confidence:.4g} %"
