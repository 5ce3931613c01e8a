"""The sum of several sweeps as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.plan import Plan, make_plan
from orchestrator.prepare import Prepared
from orchestrator.pricing import Asked, costs_of, num_devices
from orchestrator.show import show_forecast
from orchestrator.steps import Step
from orchestrator.union import SharedStep, Union


def show_union(union: Union, console: Console, *, num_sweeps: int) -> None:
    """Which cells share a step, seeds of the same rows on one line, and the numbers over all the sweeps."""
    console.print(f"\n{num_sweeps} sweeps together", style="bold")
    if union.shared:
        table = Table(box=None, pad_edge=False)
        for heading in ("one step", "seeds", "answers"):
            table.add_column(heading)
        for (name, answers), steps in _by_rows(union.shared).items():
            table.add_row(Text(name), ", ".join(str(step.seed) for step in steps), Text(answers))
        console.print(table)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in union.counts.items())
    saved = f", of {union.num_asked} that the files ask for," if union.num_asked > union.num_steps else ""
    console.print(f"{union.num_cells} cells, {union.num_steps} steps{saved} each counted once: {counts}")
    both = "" if union.num_taught + union.num_teachers <= union.num_steps else " (some are both)"
    console.print(f"{union.num_taught} are taught, {union.num_teachers} teach{both}")


def show_together(
    plans: Sequence[tuple[Prepared, Plan]], console: Console, *, asked: Asked, retry_failed: bool
) -> None:
    """What all the sweeps take as one schedule, each step counted once."""
    steps: dict[str, Step] = {}
    for prepared, _ in plans:
        for step in prepared.steps.values():
            # One that is in a row of any sweep is wanted, whatever it is in the others.
            if step.id not in steps or not steps[step.id].cells:
                steps[step.id] = step
    first = plans[0][0]
    status = {step_id: first.store.status(step_id) for step_id in steps}
    whole = replace(first.sweep, name="together", cells=(), early_stopping=None)
    costs = costs_of(
        whole.resources,
        steps,
        {sha: manifest for prepared, _ in plans for sha, manifest in prepared.manifests.items()},
        folder=first.store.devices,
        asked=asked,
    )
    devices = num_devices(whole.resources, costs, asked=asked)
    plan = make_plan(whole, steps, status, costs=costs, num_devices=devices, retry_failed=retry_failed)
    show_forecast(plan.forecast, console, what=f"in one schedule of {len(plan.jobs)} jobs: ")


def _by_rows(shared: tuple[SharedStep, ...]) -> dict[tuple[str, str], list[SharedStep]]:
    """(name, the rows it answers) -> its steps, one a seed."""
    found: dict[tuple[str, str], list[SharedStep]] = {}
    for step in shared:
        rows = [f"{sweep}: {row}" for sweep, row, _ in step.cells]
        teaches = [f"{sweep}: a teacher" for sweep in step.sweeps if sweep not in {name for name, _, _ in step.cells}]
        answers = "\n".join([*dict.fromkeys(rows), *teaches])
        found.setdefault((step.name, answers), []).append(step)
    return found
