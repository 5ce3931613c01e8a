"""Formats verdicts and sizes in the same way for every command."""

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
    "damaged": "red",
    "blocked": "red",
    "unneeded": "dim",
}
MAX_SHOWN_ERRORS = 5


def step_line(what: str, step_id: str, verdict: str, reason: str) -> Text:
    """A step on one line, with its verdict in colour."""
    return Text.assemble(f"{what}  {step_id}  ", (verdict, STYLES[verdict]), f"  {reason}")


def memory(num_bytes: float) -> str:
    """A size such as 13.3 GB; in MB if it is below 1 GB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
