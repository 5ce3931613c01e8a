"""Prints what a store holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.words import STYLES
from orchestrator.store.store import Store

SHOWN_DIGITS = 8
"""First letters of a step's id; commands take them for it."""


def show_contents(rows: Sequence[Mapping[str, Any]], store: Store, console: Console) -> None:
    """Print a line for each step, data set by data set, and how many there are of each state."""
    for data in dict.fromkeys(row["data"] for row in rows):
        table = Table(box=None, pad_edge=False, title=data, title_justify="left")
        for heading in ("step", "model", "taught at level", "seed", "state", "epoch", "accuracy"):
            table.add_column(heading, no_wrap=heading == "step")
        for row in rows:
            if row["data"] == data:
                table.add_row(
                    row["step"][:SHOWN_DIGITS],
                    Text(row["model"]),
                    Text(row["taught"]),
                    "" if row["taught"] == "imported" else str(row["seed"]),
                    Text(row["state"], style=STYLES.get(row["state"], "cyan")),
                    f"{row['epoch']}/{row['num_epochs']}",
                    "" if row["accuracy"] is None else f"{100 * row['accuracy']:.1f}",
                )
        console.print(table)
    for row in rows:
        if row["state"] == "damaged":
            console.print(f"{row['step']}, damaged: {row['reason']}", style="red", markup=False, soft_wrap=True)
    counts = ", ".join(f"{number} {state}" for state, number in Counter(row["state"] for row in rows).items())
    console.print(f"{store.address}: {len(rows)} steps{': ' + counts if rows else ''}", soft_wrap=True)
