"""Prints plans and forecasts."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.cli.words import STYLES, memory
from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.forecast import Forecast
from orchestrator.plan.plan import Plan
from orchestrator.run.display.words import duration, label, show_look
from orchestrator.spec.steps import name_of

INDENT = 2


def show_plan(prepared: Prepared, plan: Plan, console: Console, *, cells: bool = True) -> None:
    """Print the question, the state of every cell with the reason, the jobs in their order of start, and a count."""
    console.print(f"{prepared.sweep.name}: {prepared.sweep.question}", style="bold", markup=False)
    for name in prepared.unseen:
        console.print(
            f"no videos and no manifest of {name} here; step ids are provisional", style="yellow", markup=False
        )
    show_look(prepared, console)
    if cells:
        console.print(_cells(plan))
        if any(not step.cells for step in prepared.steps.values()):
            console.print(_teachers(prepared, plan))
    if plan.jobs:
        _show_jobs(prepared, plan, console)
        show_forecast(plan.forecast, console)
        show_notes(plan.forecast, console)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in plan.counts.items())
    console.print(f"{len(plan.cells)} cells, {len(plan.steps)} steps: {counts}; {len(plan.jobs)} jobs to run")


def _cells(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("row", "seed", "step", "state", "why"):
        table.add_column(heading)
    for cell in plan.cells:
        verdict = Text(cell.verdict, style=STYLES[cell.verdict])
        table.add_row(Text(cell.row), str(cell.seed), cell.step_id, verdict, Text(cell.reason))
    return table


def _teachers(prepared: Prepared, plan: Plan) -> Table:
    """A table of the steps that are in no row."""
    table = Table(box=None, pad_edge=False)
    for heading in ("not a row", "seed", "step", "state", "why"):
        table.add_column(heading)
    for step in prepared.steps.values():
        if not step.cells:
            found = plan.steps[step.id]
            verdict = Text(found.verdict, style=STYLES[found.verdict])
            table.add_row(
                Text(name_of(step)),
                "" if step.recipe.is_imported else str(step.recipe.seed),
                step.id,
                verdict,
                Text(found.reason),
            )
    return table


def _show_jobs(prepared: Prepared, plan: Plan, console: Console) -> None:
    """Print each job's figures on one line, then its members and why they train together. It fits into 80 columns."""
    console.print(_job_line("job", "workers", "time", "memory", "after"), style="bold")
    for job in plan.jobs:
        figures = _job_line(
            job.id.removeprefix("job-"),
            str(job.workers),
            duration(job.cost),
            memory(job.estimate.memory_bytes) if job.estimate else "",
            ", ".join(parent.removeprefix("job-") for parent in job.depends_on),
        )
        console.print(figures, markup=False, highlight=False)
        for text in (Text(label(job, prepared.steps)), Text(job.why, style="dim")):
            console.print(Padding.indent(text, INDENT))


def _job_line(job: str, workers: str, time: str, memory: str, after: str) -> str:
    return f"{job:12}  {workers:>7}  {time:>7}  {memory:>8}  {after}".rstrip()


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
