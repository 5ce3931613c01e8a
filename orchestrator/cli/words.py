"""Verdicts, times, sizes and tracebacks in few words, the same in every command."""

from __future__ import annotations

from rich.text import Text

STYLES = {
    "done": "green",
    "train": "cyan",
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
    return Text.assemble(f"{what}  {step_id}  ", (verdict, STYLES[verdict]), f"  {reason}")


def duration(seconds: float) -> str:
    """4 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def memory(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
