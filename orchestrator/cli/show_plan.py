"""Prints plans and forecasts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.words import STYLES, memory
from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.durations import duration
from orchestrator.plan.forecast import Forecast
from orchestrator.plan.job import Job
from orchestrator.plan.plan import Plan
from orchestrator.run.display.words import label, show_look
from orchestrator.spec.steps import Step, name_of

INDENT = 2
ID_LENGTH = 8
"""Characters of a step's id on a terminal. Commands take the first letters of an id."""
STEP_ID = re.compile(r"\b([0-9a-f]{16})\b")


def show_plan(prepared: Prepared, plan: Plan, console: Console, *, cells: bool = True) -> None:
    """Print the question, the state of every cell with the reason, the jobs in their order of start, and a count."""
    console.print(f"{prepared.sweep.name}: {prepared.sweep.question}", style="bold", markup=False)
    for name in prepared.unseen:
        console.print(
            f"no videos and no manifest of {name} here; step ids are provisional", style="yellow", markup=False
        )
    show_look(prepared, console)
    if cells:
        console.print(_cells(prepared, plan))
    if plan.jobs:
        _show_jobs(prepared, plan, console)
        show_forecast(plan.forecast, console)
        show_notes(plan.forecast, console)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in plan.counts.items())
    console.print(f"{len(plan.cells)} cells, {len(plan.steps)} steps: {counts}; {len(plan.jobs)} jobs to run")


def _cells(prepared: Prepared, plan: Plan) -> Table:
    """A table of all cells, and of the teachers that are in no row."""
    table = Table(box=None, pad_edge=False)
    for heading in ("row", "seed", "epochs", "step", "state", "why"):
        is_number = heading in ("seed", "epochs")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=heading not in ("row", "why"))
    for row, step in _lines(prepared):
        found = plan.steps[step.id]
        table.add_row(
            Text(row),
            "" if step.recipe.is_imported else str(step.recipe.seed),
            "" if step.recipe.is_imported else str(step.recipe.num_epochs),
            step.id[:ID_LENGTH],
            Text(found.verdict, style=STYLES[found.verdict]),
            Text(STEP_ID.sub(lambda found: found[1][:ID_LENGTH], found.reason)),
        )
    return table


def _lines(prepared: Prepared) -> Iterator[tuple[str, Step]]:
    """(row, step) of each cell in the sweep's order; then the teachers that are in no row."""
    step_of = {cell: step for step in prepared.steps.values() for cell in step.cells}
    for cell in prepared.sweep.cells:
        yield cell.row, step_of[cell.row, cell.seed]
    for step in prepared.steps.values():
        if not step.cells:
            yield name_of(step).removesuffix(" px").replace(" at ", "@"), step


def _show_jobs(prepared: Prepared, plan: Plan, console: Console) -> None:
    """Print each job on three lines that fit into the terminal: figures, members, why they train together."""
    console.print(_job_line("job", "workers", "epochs", "time", "memory", "after"), style="bold")
    for job in plan.jobs:
        figures = _job_line(
            job.id.removeprefix("job-"),
            str(job.workers),
            str(max(prepared.steps[member].recipe.num_epochs for member in job.members)),
            duration(job.cost),
            memory(job.estimate.memory_bytes) if job.estimate else "",
            ", ".join(parent.removeprefix("job-") for parent in job.depends_on),
        )
        console.print(figures, markup=False, highlight=False)
        width = console.width - INDENT
        for text in (Text(job_words(job, prepared, width=width)), Text(job.why, style="dim")):
            text.truncate(width, overflow="ellipsis")
            console.print(Padding.indent(text, INDENT), no_wrap=True)


def job_words(job: Job, prepared: Prepared, *, width: int) -> str:
    """A job in words, with as many of its members as fit into the width."""
    steps = prepared.steps
    for num_named in range(len(job.members), 0, -1):
        words = label(job, steps, most=num_named)
        if len(words) <= width:
            return words
    return words


def _job_line(job: str, workers: str, epochs: str, time: str, memory: str, after: str) -> str:
    return f"{job:12}  {workers:>7}  {epochs:>6}  {time:>7}  {memory:>8}  {after}".rstrip()


def show_forecast(found: Forecast, console: Console, *, what: str = "") -> None:
    """Print makespan and device-hours with their ranges, and the lower bound on the makespan."""
    hours = [found.device_hours, *found.device_hours_range]
    devices = f"{found.num_devices:g} {'CPU cores' if found.device == 'cpu' else found.device}"
    console.print(
        f"{what}estimated {duration(found.makespan_s, between=found.makespan_range_s)} on {devices}, "
        f"{100 * found.utilisation:.0f} % busy: {hours[0]:.3g} {found.unit} ({hours[1]:.3g} to {hours[2]:.3g}); "
        f"no schedule of these jobs takes less than {duration(found.lower_bound_s)}",
        style="bold",
        markup=False,
        highlight=False,
    )
    for problem in found.too_large:
        console.print(f"does not fit: {problem}", style="red", markup=False)


def show_notes(found: Forecast, console: Console) -> None:
    """Print the assumptions of the estimate, one per line."""
    console.print("the estimate assumes:", style="dim")
    for note in found.notes:
        console.print(Padding.indent(Text(note, style="dim"), INDENT))
