"""Plans, states and outcomes as a person reads them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.forecast import Forecast
from orchestrator.plan.job import Job
from orchestrator.plan.plan import Plan
from orchestrator.run.board import clock, label, show_look
from orchestrator.spec.steps import name_of
from orchestrator.store.folder import Store
from orchestrator.store.step_record import children_of, last_lines
from reskd.files import Json

if TYPE_CHECKING:
    from orchestrator.run.controller import Outcome
    from orchestrator.tracking.publish import Publisher

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
                _line(f"{name_of(step)}, seed {step.recipe.model_seed}", step.id, found.verdict, found.reason)
            )
    if plan.jobs:
        console.print(_jobs(prepared, plan))
        show_forecast(plan.forecast, console)
        show_notes(plan.forecast, console)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in plan.counts.items())
    console.print(f"{len(plan.cells)} cells, {len(plan.steps)} steps: {counts}; {len(plan.jobs)} jobs to run")


def _line(what: str, step_id: str, verdict: str, reason: str) -> Text:
    return Text.assemble(f"{what}  {step_id}  ", (verdict, STYLES[verdict]), f"  {reason}")


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


def duration(seconds: float) -> str:
    """4 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def memory(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


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


def show_outcome(
    prepared: Prepared, outcome: Outcome, publishers: Sequence[Publisher], console: Console, *, program: str
) -> None:
    """How it ended and what to type next."""
    command = shlex.join([program, *sys.argv[1:]])
    total = outcome.num_done + len(outcome.failed) + len(outcome.unfinished)
    pruned = f"{outcome.num_pruned} stopped early, " if outcome.num_pruned else ""
    console.print(f"{outcome.num_done} of {total} steps done, {pruned}{clock(outcome.wall_s)} spent", style="bold")
    for line in estimate_lines(prepared, outcome.jobs):
        console.print(line, markup=False, highlight=False)
    verdicts = prepared.plan().steps if outcome.failed else {}
    for step_id in outcome.failed[:MAX_SHOWN_ERRORS]:
        reason = verdicts[step_id].reason
        console.print(f"failed: {name_of(prepared.steps[step_id])} ({step_id}): {reason}", style="red", markup=False)
    if outcome.failed:
        console.print(f"try failed steps again:  {command} --retry-failed", markup=False)
    if outcome.given_up:
        console.print(f"given up: {len(outcome.given_up)} steps whose jobs ended without a reason", style="red")
    for step_id, reason in outcome.held.items():
        step = prepared.steps[step_id]
        console.print(_line(f"{name_of(step)}, seed {step.recipe.data_seed}", step_id, "held", reason))
    if outcome.held and not outcome.interrupted:
        console.print(f"{len(outcome.held)} steps are another run's; when it has ended, type again:  {command}")
    elif outcome.unfinished:
        what = "stopped" if outcome.interrupted else "some jobs ended without finishing"
        log = f" (log: {outcome.log})" if outcome.log else ""
        console.print(f"{what}{log}; nothing finished is lost. Go on with:  {command}", markup=False, soft_wrap=True)
    for line in dict.fromkeys(browse_line(prepared, publisher, program=program) for publisher in publishers):
        console.print(line, markup=False, soft_wrap=True)


def estimate_lines(prepared: Prepared, jobs: Sequence[Job]) -> list[str]:
    """The estimate of each job that ran from its first epoch to its end, beside the seconds it took."""
    lines = []
    for job in jobs:
        records = [prepared.store.done(step_id) for step_id in job.members]
        took = [record for record in records if record is not None and "device_s" in record]
        if len(took) == len(job.members) and not job.resume_from:
            measured = sum(record["device_s"] for record in took) / job.workers
            words = f"{duration(job.cost)} estimated, {duration(measured)} taken after its start"
            lines.append(f"{job.id}: {words} ({label(job, prepared.steps)})")
    return lines


def browse_line(prepared: Prepared, publisher: Publisher, *, program: str) -> str:
    """What to type or open to see the runs in MLflow."""
    if not publisher.tracking_uri.startswith("sqlite:"):
        return f"browse:  {publisher.experiment_url}"
    store_option = "" if prepared.store.is_default else f" --store {prepared.store.address}"
    return f"browse:  {program} ui{store_option}"


def status_rows(prepared: Prepared) -> list[dict[str, Any]]:
    """Each step as plain values: verdict, epochs, last metrics, damaged clips, failure."""
    plan, rows = prepared.plan(), []
    for step in prepared.steps.values():
        found, store = plan.steps[step.id], prepared.store
        lines, done, failure = store.metrics(step.id), store.done(step.id), store.failure(step.id)
        last: Json = lines[-1] if lines else {"epoch": 0, "metrics": {}}
        rows.append(
            {
                "step": step.id,
                "name": name_of(step),
                "seed": step.recipe.data_seed,
                "verdict": found.verdict,
                "reason": found.reason,
                "epoch": last["epoch"],
                "num_epochs": step.recipe.optim.epochs,
                "metric": step.recipe.eval.metric,
                "metrics": {**last["metrics"], **(done["metrics"] if done else {})},
                "damaged": done["damaged"] if done else [],
                "traceback": failure["traceback"] if failure else None,
                "waiting": children_of(step.id, prepared.steps) if found.verdict == "failed" else [],
            }
        )
    return rows


def show_status(prepared: Prepared, console: Console) -> None:
    show_look(prepared, console)
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "name", "seed", "state", "epoch", "loss", "accuracy", "why"):
        table.add_column(heading)
    rows = status_rows(prepared)
    for row in rows:
        metrics: Mapping[str, float] = row["metrics"]
        metric = row["metric"]
        accuracy = metrics.get(f"test/{metric}", metrics.get(f"val/{metric}"))
        table.add_row(
            row["step"],
            Text(row["name"]),
            str(row["seed"]),
            Text(row["verdict"], style=STYLES[row["verdict"]]),
            f"{row['epoch']}/{row['num_epochs']}",
            f"{metrics['train/loss']:.3f}" if "train/loss" in metrics else "",
            f"{100 * accuracy:.1f}" if accuracy is not None else "",
            Text(row["reason"] if row["verdict"] != "done" else ""),
        )
    console.print(table)
    for row in rows:
        _show_trouble(row, console)


def _show_trouble(row: Mapping[str, Any], console: Console) -> None:
    damaged: Sequence[Mapping[str, str]] = row["damaged"]
    if not damaged and row["metrics"].get("data/damaged_clips"):
        number = int(row["metrics"]["data/damaged_clips"])
        console.print(f"{row['step']}: {number} damaged clips so far; the run's log names them", style="yellow")
    if damaged:
        listed = ", ".join(clip["path"] for clip in damaged[:MAX_SHOWN_ERRORS])
        more = f" and {len(damaged) - MAX_SHOWN_ERRORS} more" if len(damaged) > MAX_SHOWN_ERRORS else ""
        console.print(f"{row['step']}: {len(damaged)} damaged clips: {listed}{more}", style="yellow", markup=False)
    if row["verdict"] != "failed":
        return
    console.print(
        f"{row['step']}: {row['name']}, seed {row['seed']}, failed: {row['reason']}", style="red", markup=False
    )
    if row["traceback"]:
        console.print(last_lines(row["traceback"]), style="red", markup=False, soft_wrap=True)
    if row["waiting"]:
        console.print(f"waiting on it: {'; '.join(row['waiting'])}", style="red", markup=False)


def steps_to_remove(store: Store, prefixes: Sequence[str], *, keep: Mapping[str, object] | None) -> list[str]:
    """Step ids by their first letters, or all that `keep` does not name; BadInput for a prefix of none or several."""
    if keep is not None:
        return [step_id for step_id in store.step_ids() if step_id not in keep]
    return list(dict.fromkeys(store.find_step(prefix) for prefix in prefixes))
