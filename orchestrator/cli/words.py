"""Formats verdicts, durations and sizes in the same way for every command."""

from __future__ import annotations

from rich.text import Text

STYLES = {
    "done": "green",
    "train": "cyan",
    "import": "cyan",
    "resume": "cyan",
    "waiting": "yellow",
    "held": "magenta",
    "pruned": "dim",
    "failed": "red",
    "blocked": "red",
    "unneeded": "dim",
}
MAX_SHOWN_ERRORS = 5


def step_line(what: str, step_id: str, verdict: str, reason: str) -> Text:
    """A step on one line, with its verdict in colour."""
    return Text.assemble(f"{what}  {step_id}  ", (verdict, STYLES[verdict]), f"  {reason}")


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


def memory(num_bytes: float) -> str:
    """A size such as 13.3 GB; in MB if it is below 1 GB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
