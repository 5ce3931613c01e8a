"""Durations in words, for plans, displays and reports."""

from __future__ import annotations


def duration(seconds: float, *, between: tuple[float, float] | None = None) -> str:
    """A duration such as 4 s, 12 min, 3.4 h or 26 h. With a range in the same unit: 21 min (16 to 31)."""
    if seconds < 90:
        size, unit, decimals = 1, "s", 0
    elif seconds < 5400:
        size, unit, decimals = 60, "min", 0
    else:
        size, unit, decimals = 3600, "h", 1 if seconds < 36000 else 0
    ends = f" ({' to '.join(f'{end / size:.{decimals}f}' for end in between)})" if between else ""
    return f"{seconds / size:.{decimals}f} {unit}{ends}"
