"""Prints what several sweeps share."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.show_plan import show_forecast
from orchestrator.experiment.overlap import Overlap, SharedStep
from orchestrator.plan.plan import Plan


def show_overlap(overlap: Overlap, console: Console, *, num_sweeps: int) -> None:
    """Print which cells share a step (seeds of the same rows on one line), and the numbers over all sweeps."""
    console.print(f"\n{num_sweeps} sweeps together", style="bold")
    if overlap.shared:
        table = Table(box=None, pad_edge=False)
        for heading in ("one step", "seeds", "answers"):
            table.add_column(heading)
        for (name, answers), steps in _by_rows(overlap.shared).items():
            table.add_row(Text(name), ", ".join(str(step.seed) for step in steps), Text(answers))
        console.print(table)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in overlap.counts.items())
    saved = f", of {overlap.num_asked} in the files together," if overlap.num_asked > overlap.num_steps else ","
    console.print(f"{overlap.num_cells} cells, {overlap.num_steps} steps{saved} each counted once: {counts}")
    both = "" if overlap.num_taught + overlap.num_teachers <= overlap.num_steps else " (some do both)"
    console.print(f"{overlap.num_taught} have a teacher, {overlap.num_teachers} teach others{both}")


def show_together(together: Plan | None, apart: str | None, console: Console) -> None:
    """Print the estimate for one `reskd run` of all the sweeps, or why they cannot run together."""
    if together is not None:
        show_forecast(together.forecast, console, what=f"{len(together.jobs)} jobs in one schedule: ")
    if apart is not None:
        console.print(f"not in one schedule: {apart}", style="yellow", markup=False, soft_wrap=True, highlight=False)


def _by_rows(shared: tuple[SharedStep, ...]) -> dict[tuple[str, str], list[SharedStep]]:
    """(name, the rows that show it) -> its steps, one per seed."""
    found: dict[tuple[str, str], list[SharedStep]] = {}
    for step in shared:
        rows = [f"{sweep}: {row}" for sweep, row, _ in step.cells]
        teaches = [f"{sweep}: a teacher" for sweep in step.sweeps if sweep not in {name for name, _, _ in step.cells}]
        answers = "\n".join([*dict.fromkeys(rows), *teaches])
        found.setdefault((step.name, answers), []).append(step)
    return found
