"""Prints the state of each step, or gives it as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.words import MAX_SHOWN_ERRORS, STYLES
from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.run.display.words import show_look
from orchestrator.spec.steps import name_of
from orchestrator.store.step_record import children_of, last_lines
from reskd.files import Json

EXPLAINED = ("waiting", "held", "pruned", "blocked")
"""Verdicts whose reason is printed below the table. The reason of a failure is printed with its traceback."""
TROUBLE = ("failed", "damaged")


def show_status(prepared: Prepared, console: Console) -> None:
    """Print every step's state and last metrics in a table; below it, why steps wait and what went wrong."""
    show_look(prepared, console)
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "name", "seed", "state", "epoch", "loss", "accuracy"):
        table.add_column(heading, no_wrap=heading == "step")
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
        )
    console.print(table)
    for reason, names in _reasons(rows).items():
        console.print(f"{reason}: {', '.join(names)}", markup=False)
    for row in rows:
        _show_trouble(row, console)


def status_rows(prepared: Prepared) -> list[dict[str, Any]]:
    """Plain values for each step: verdict, epochs, last metrics, damaged clips, failure."""
    plan, rows = prepared.plan(), []
    for step in prepared.steps.values():
        found, store = plan.steps[step.id], prepared.store
        is_damaged = found.verdict == "damaged"  # then some of its files cannot be read
        lines = [] if is_damaged else store.metrics(step.id)
        done = None if is_damaged else store.done(step.id)
        failure = store.failure(step.id) if found.verdict == "failed" else None
        last: Json = lines[-1] if lines else {"epoch": 0, "metrics": {}}
        rows.append(
            {
                "step": step.id,
                "name": name_of(step),
                "seed": step.recipe.seed,
                "verdict": found.verdict,
                "reason": found.reason,
                "epoch": last["epoch"],
                "num_epochs": step.recipe.num_epochs,
                "metric": step.recipe.eval.metric,
                "metrics": {**last["metrics"], **(done["metrics"] if done else {})},
                "damaged": done["damaged"] if done else [],
                "traceback": failure.get("traceback") if failure else None,
                "waiting": children_of(step.id, prepared.steps) if found.verdict in TROUBLE else [],
            }
        )
    return rows


def _reasons(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Reason -> names of the steps that it holds for; of waiting, held, pruned and blocked steps."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] in EXPLAINED:
            found.setdefault(f"{row['verdict']}, {row['reason']}", []).append(f"{row['name']} seed {row['seed']}")
    return found


def _show_trouble(row: Mapping[str, Any], console: Console) -> None:
    damaged: Sequence[Mapping[str, str]] = row["damaged"]
    if not damaged and row["metrics"].get("data/damaged_clips"):
        number = int(row["metrics"]["data/damaged_clips"])
        console.print(f"{row['step']}: {number} damaged clips so far; the run's log names them", style="yellow")
    if damaged:
        listed = ", ".join(clip["path"] for clip in damaged[:MAX_SHOWN_ERRORS])
        more = f" and {len(damaged) - MAX_SHOWN_ERRORS} more" if len(damaged) > MAX_SHOWN_ERRORS else ""
        console.print(f"{row['step']}: {len(damaged)} damaged clips: {listed}{more}", style="yellow", markup=False)
    if row["verdict"] not in TROUBLE:
        return
    who = f"{row['step']}: {row['name']}, seed {row['seed']}"
    console.print(f"{who}, {row['verdict']}: {row['reason']}", style="red", markup=False, soft_wrap=True)
    if row["traceback"]:
        console.print(last_lines(row["traceback"]), style="red", markup=False, soft_wrap=True)
    if row["waiting"]:
        console.print(f"waiting for it: {'; '.join(row['waiting'])}", style="red", markup=False)
