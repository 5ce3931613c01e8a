"""Plans and forecasts as a person reads them."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.words import STYLES, duration, memory, step_line
from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.forecast import Forecast
from orchestrator.plan.plan import Plan
from orchestrator.run.board import label, show_look
from orchestrator.spec.steps import name_of


def show_plan(prepared: Prepared, plan: Plan, console: Console, *, cells: bool = True) -> None:
    """The question, every cell's state and why, the jobs in the order they start, and a count."""
    console.print(f"{prepared.sweep.name}: {prepared.sweep.question}", style="bold", markup=False)
    for name in prepared.unseen:
        console.print(f"data not seen here: {name}; step ids are provisional", style="yellow", markup=False)
    show_look(prepared, console)
    if cells:
        console.print(_cells(plan))
        teachers = [step for step in prepared.steps.values() if not step.cells]
        for step in teachers:
            found = plan.steps[step.id]
            console.print(
                step_line(f"{name_of(step)}, seed {step.recipe.model_seed}", step.id, found.verdict, found.reason)
            )
    if plan.jobs:
        console.print(_jobs(prepared, plan))
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


def _jobs(prepared: Prepared, plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "members", "workers", "time", "memory", "after", "why"):
        table.add_column(heading, justify="right" if heading in ("workers", "time", "memory") else "left")
    for job in plan.jobs:
        table.add_row(
            job.id.removeprefix("job-"),
            Text(label(job, prepared.steps)),
            str(job.workers),
            duration(job.cost),
            memory(job.estimate.memory_bytes) if job.estimate else "",
            ", ".join(parent.removeprefix("job-") for parent in job.depends_on),
            Text(job.why),
        )
    return table


def show_forecast(found: Forecast, console: Console, *, what: str = "") -> None:
    """Device-hours and makespan with their ranges, the least that any schedule takes, and what this assumes."""
    hours = [found.device_hours, *found.device_hours_range]
    makespan, low, high = map(duration, (found.makespan_s, *found.makespan_range_s))
    console.print(
        f"{what}{hours[0]:.3g} {found.unit} ({hours[1]:.3g} to {hours[2]:.3g}), over in {makespan} ({low} to {high}) "
        f"on {found.num_devices:g} {found.device}, {100 * found.utilisation:.0f} % busy; no schedule of these jobs "
        f"takes less than {duration(found.lower_bound_s)}",
        style="bold",
        markup=False,
        highlight=False,
    )
    for problem in found.too_large:
        console.print(f"does not fit: {problem}", style="red", markup=False)


def show_notes(found: Forecast, console: Console) -> None:
    console.print(f"estimated by: {'; '.join(found.notes)}", style="dim", markup=False, highlight=False)
