"""Plans, states and outcomes as a person reads them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.live import clock, label
from orchestrator.plan import Plan
from orchestrator.prepare import Prepared
from orchestrator.publish import Publisher
from orchestrator.run import Outcome
from orchestrator.sequential import sentence
from orchestrator.step_record import children_of, last_lines
from orchestrator.steps import name_of
from orchestrator.store import Store
from reskd.files import Json

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
    counts = ", ".join(f"{number} {verdict}" for verdict, number in plan.counts.items())
    console.print(f"{len(plan.cells)} cells, {len(plan.steps)} steps: {counts}; {len(plan.jobs)} jobs to run")


def show_look(prepared: Prepared, console: Console) -> None:
    """Where the comparison of `seeds: auto` stands, if the sweep has one."""
    if prepared.sweep.auto is not None and prepared.look is not None:
        console.print(sentence(prepared.look, prepared.sweep.auto), style="cyan", markup=False, highlight=False)


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
    total = sum(job.cost for job in plan.jobs) or 1.0
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "members", "workers", "share of work", "after"):
        table.add_column(heading)
    for job in plan.jobs:
        table.add_row(
            job.id,
            Text(label(job, prepared.steps)),
            str(job.workers),
            f"{100 * job.cost / total:.0f} %",
            ", ".join(job.depends_on),
        )
    return table


def show_outcome(prepared: Prepared, outcome: Outcome, publisher: Publisher, console: Console, *, program: str) -> None:
    """How it ended and what to type next."""
    command = shlex.join([program, *sys.argv[1:]])
    total = outcome.num_done + len(outcome.failed) + len(outcome.unfinished)
    pruned = f"{outcome.num_pruned} stopped early, " if outcome.num_pruned else ""
    console.print(f"{outcome.num_done} of {total} steps done, {pruned}{clock(outcome.wall_s)} spent", style="bold")
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
    console.print(browse_line(prepared, publisher, program=program), markup=False, soft_wrap=True)


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
