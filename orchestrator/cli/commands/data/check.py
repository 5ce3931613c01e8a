"""`reskd data check`: checks a data set before a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from orchestrator.cli.console import console
from reskd.recipe import DataSpec

if TYPE_CHECKING:
    from reskd.data.check import CheckReport, SplitReport

MAX_SHOWN = 12
"""A report lists at most this many classes by name."""
MAX_EXTREME = 3
"""If a data set has more classes, the report shows this many of the smallest and of the largest ones."""


def check(
    sweep: Annotated[Path, typer.Argument(help="A sweep file. All of its data sets are checked.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Read packets only, without decoding. Misses damage inside a file.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Number of decoding processes.")] = os.cpu_count() or 1,
    allow_missing: Annotated[
        float | None,
        typer.Option(
            "--allow-missing",
            help="Videos of a split that may be missing, instead of data.allow_missing: a share below 1 or a number.",
        ),
    ] = None,
    store: Annotated[str | None, typer.Option("--store", help="The store in which results are cached.")] = None,
) -> None:
    """Decode every video once. List missing, damaged, too short and uncut videos; count classes and durations."""
    from orchestrator.spec.sweep import load
    from orchestrator.store.open import store_at
    from reskd.data.check import check_videos

    specs = list(dict.fromkeys(cell.recipe.data for cell in load(sweep).cells))
    is_ok = True
    for spec in specs:
        if allow_missing is not None:
            spec = replace(spec, allow_missing=allow_missing)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"checking {spec.name}", total=None)
            report = check_videos(
                spec,
                quick=quick,
                workers=workers,
                in_processes=True,  # so that a video that crashes the decoder is a finding
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
        console.print(f"{spec.name} {split}: {found.num_videos} videos: {counts}", markup=False)
        for line in _split_lines(found):
            console.print(f"  {line}", markup=False)
    for remark in report.remarks:
        console.print(f"  remark     {remark}", markup=False)
    for finding in report.findings:
        console.print(f"  {finding.status:10} {finding.split} {finding.path}: {finding.reason}", markup=False)


def _split_lines(found: SplitReport) -> Iterator[str]:
    if frames := found.frames:
        yield f"frames: {frames.min} to {frames.max}, median {frames.median:g}"
    if durations := found.durations:
        yield f"seconds: {durations.min:.1f} to {durations.max:.1f}, median {durations.median:.1f}"
    if num_missing := found.counts.get("missing", 0):
        verdict = "left out by a run" if num_missing <= found.num_allowed_missing else "too many for a run"
        yield f"missing: {num_missing} of at most {found.num_allowed_missing} (data.allow_missing): {verdict}"
    ranked = sorted(found.class_counts.items(), key=lambda item: item[1])
    empty = [name for name, number in ranked if not number]
    if len(ranked) <= MAX_SHOWN:
        yield f"classes: {', '.join(f'{name} {number}' for name, number in found.class_counts.items())}"
    else:
        few, many = (
            ", ".join(f"{name} {number}" for name, number in part)
            for part in (ranked[:MAX_EXTREME], ranked[: -MAX_EXTREME - 1 : -1])
        )
        yield f"classes: {len(ranked)}; fewest videos: {few}; most: {many}"
    if empty:
        more = f" and {len(empty) - MAX_SHOWN} more" if len(empty) > MAX_SHOWN else ""
        yield f"classes without a video: {', '.join(empty[:MAX_SHOWN])}{more}"
