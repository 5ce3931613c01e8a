"""Expected values of table entries, and the check of measured numbers against them."""

from __future__ import annotations

from dataclasses import dataclass

from reskd.errors import BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Expect:
    """Bounds on one entry's mean over seeds, in the unit of its column. All given bounds must hold."""

    low: float | None = None
    """The mean must be at least this."""
    high: float | None = None
    """The mean must be at most this."""
    within: float | None = None
    """Largest allowed distance of the mean from the published figure."""
    within_percent: float | None = None
    """Largest allowed distance of the mean from the published figure, in percent of that figure."""
    delta_low: float | None = None
    """The mean difference to the row `delta_to` must be at least this."""
    delta_high: float | None = None
    """The mean difference to the row `delta_to` must be at most this."""

    def __post_init__(self) -> None:
        names = ("low", "high", "within", "within_percent", "delta_low", "delta_high")
        if all(getattr(self, name) is None for name in names):
            raise BadInput(f"an expectation is empty; give it one or more of {', '.join(names)}")
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
