"""What a sweep expects of a table's numbers, and where a measured number is not so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.stats.estimates import number_text
from orchestrator.tables.table import Column, Entry
from reskd.errors import BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Expect:
    """Bounds on one entry's mean over seeds, in the unit of its column; every one that is given must hold."""

    low: float | None = None
    """The mean is at least this."""
    high: float | None = None
    """The mean is at most this."""
    within: float | None = None
    """The mean is at most so far from the published figure."""
    within_percent: float | None = None
    """The mean is at most so many percent of the published figure from it."""
    delta_low: float | None = None
    """The mean difference to the row `delta_to` is at least this."""
    delta_high: float | None = None
    """The mean difference to the row `delta_to` is at most this."""

    def __post_init__(self) -> None:
        names = ("low", "high", "within", "within_percent", "delta_low", "delta_high")
        if all(getattr(self, name) is None for name in names):
            raise BadInput(f"an expectation says nothing; give it one or more of {', '.join(names)}")
        for name in ("within", "within_percent"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise BadInput(f"an expectation's {name!r} must be positive, got {value:g}")
        for low, high in (("low", "high"), ("delta_low", "delta_high")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise BadInput(f"an expectation's {low!r} must not be above its {high!r}, got {least:g} and {most:g}")

    @property
    def is_about_published(self) -> bool:
        return self.within is not None or self.within_percent is not None

    @property
    def is_about_delta(self) -> bool:
        return self.delta_low is not None or self.delta_high is not None


def unmet(expected: Expect, entry: Entry, column: Column) -> Iterator[str]:
    """What of an expectation does not hold, one sentence each; nothing where nothing is measured."""
    unit = column.unit
    mean, delta = entry.estimate.mean, entry.delta.mean if entry.delta else None
    if mean is not None:
        yield from _outside(mean, low=expected.low, high=expected.high, what="mean", unit=unit)
    if delta is not None:
        what = f"difference to {column.delta_to}"
        yield from _outside(delta, low=expected.delta_low, high=expected.delta_high, what=what, unit=unit)
    if not expected.is_about_published or mean is None or entry.published is None:
        return
    if not column.is_comparable:
        yield f"expected near the published figure, which is not comparable ({column.published_heading})"
        return
    for most, words in (
        (expected.within, f"{expected.within} {unit}"),
        ((expected.within_percent or 0) / 100 * entry.published, f"{expected.within_percent} % of it"),
    ):
        far = abs(mean - entry.published)
        if most and far > most:
            shown = number_text(mean, unit=unit), entry.published_text, number_text(far, unit=unit)
            yield f"mean {shown[0]} is {shown[2]} from the published {shown[1]}; at most {words} is expected"


def _outside(value: float, *, low: float | None, high: float | None, what: str, unit: str) -> Iterator[str]:
    if low is not None and value < low:
        yield f"{what} {number_text(value, unit=unit)} is below {low:g}, the least that is expected"
    if high is not None and value > high:
        yield f"{what} {number_text(value, unit=unit)} is above {high:g}, the most that is expected"
