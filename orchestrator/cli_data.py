"""`reskd data ...`: make the demo's videos, check a data set before it costs a run."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from orchestrator.console import make_console
from reskd.data.check import CheckReport, check_videos
from reskd.recipe import DataSpec

MAX_SHOWN = 12
"""Classes that a report lists by name."""

data_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
console = make_console()


@data_app.command("make-demo", epilog="Example: reskd data make-demo data/demo")
def make_demo(
    folder: Annotated[Path, typer.Argument(help="Where the videos go.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write the demo data set: 660 small H.264 clips in six classes, and their CSV files."""
    from reskd.data.synthetic import make_demo as make

    make(folder, seed=seed)
    console.print(f"demo data set in {folder}")


@data_app.command("check", epilog="Example: reskd data check sweeps/your_videos.yaml")
def check(
    sweep: Annotated[Path, typer.Argument(help="A sweep file; its data sets are checked.")],
    quick: Annotated[bool, typer.Option("--quick", help="Only open; finds no damage inside a file.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that decode.")] = os.cpu_count() or 1,
    store: Annotated[str | None, typer.Option("--store", help="Where results are cached.")] = None,
) -> None:
    """Decode every video once and name those that are missing, unreadable, damaged, empty or too short."""
    from orchestrator.store import store_at
    from orchestrator.sweep import load

    specs = list(dict.fromkeys(cell.recipe.data for cell in load(sweep).cells))
    is_ok = True
    for spec in specs:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"checking {spec.name}", total=None)
            report = check_videos(
                spec,
                quick=quick,
                workers=workers,
                cache=store_at(store).home / "manifests" / "checked.json",
                on_progress=partial(_advance, progress, task),
            )
        _show_report(spec, report)
        is_ok = is_ok and report.ok
    raise typer.Exit(0 if is_ok else 1)


def _advance(progress: Progress, task: TaskID, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)


def _show_report(spec: DataSpec, report: CheckReport) -> None:
    for split, found in report.splits.items():
        counts = ", ".join(f"{number} {status}" for status, number in found.counts.items() if number)
        frames = found.frames
        lengths = f"; frames {frames.min} to {frames.max}, median {frames.median:g}" if frames else ""
        console.print(f"{spec.name} {split}: {found.num_videos} videos: {counts}{lengths}", markup=False)
        balance = ", ".join(f"{name} {number}" for name, number in list(found.class_counts.items())[:MAX_SHOWN])
        more = len(found.class_counts) - MAX_SHOWN
        console.print(f"  classes: {balance}" + (f" and {more} more" if more > 0 else ""), markup=False)
    for finding in report.findings:
        console.print(f"  {finding.status:10} {finding.split} {finding.path}: {finding.reason}", markup=False)
