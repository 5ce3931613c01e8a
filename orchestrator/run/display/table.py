"""A view as a picture for a terminal: a line for each running job, and one bar for the sweep."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.plan.durations import duration
from orchestrator.plan.time_left import share_of
from orchestrator.run.display.view import View
from orchestrator.run.display.words import accuracy_words, clock, loss_words, number
from orchestrator.store.run_records import JobProgress, JobRecord

SILENT_S = 30.0
"""From here on the display says for how long nothing new was heard of a job."""
FRAME = 5
"""Lines beside those of the jobs: headings, an empty line, the sweep's bar, the counts, and the cursor's."""
PHASES = {"starting": "", "training": "", "validation": "val ", "test": "test "}
WIDE = 100
"""Columns from which on bars are longer."""


def picture(view: View, *, width: int, height: int) -> RenderableType:
    """The view for a terminal of this size. What does not fit is counted in words."""
    running = view.running()
    room = max(1, height - FRAME)
    shown = running if len(running) <= room else running[: max(1, room - 1)]
    lines: list[RenderableType] = []
    if running:
        lines.append(_jobs(view, shown, width=width, room=room))
    if len(shown) < len(running):
        lines.append(Text(f"and {len(running) - len(shown)} more running jobs", style="dim"))
    return Group(*lines, *([Text()] if lines else []), *_sweep(view))


def _jobs(view: View, jobs: Sequence[JobRecord], *, width: int, room: int) -> Table:
    """The members of a job have a line each if all of them fit into ``room`` lines."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(width=20 if width >= WIDE else 10)
    for _ in range(5):
        table.add_column(justify="right", no_wrap=True)
    table.add_row("", "", *(Text(word, style="dim") for word in ("epoch", "", "clips/s", "loss", "accuracy")))
    has_room = len(jobs) + sum(len(job.names) for job in jobs if len(job.names) > 1) <= room
    for job in jobs:
        table.add_row(*_job_row(view, job, brief=not has_room))
        for step_id, name in job.names.items() if has_room and len(job.names) > 1 else ():
            table.add_row(Text(f"  {name}", style="dim"), "", "", "", "", *_figures(view.where(job), [step_id]))
    return table


def _job_row(view: View, job: JobRecord, *, brief: bool) -> tuple[RenderableType, ...]:
    """``brief``: the figures of several members are on the job's own line, as the lowest and the highest."""
    now, silent = view.where(job), view.silent_s.get(job.id, 0.0)
    epoch = f"{now.epoch}/{now.num_epochs}" if now.num_epochs else ""
    state = Text(f"{PHASES[now.phase]}{100 * now.done // now.total} %" if now.total else "")
    if silent >= SILENT_S:
        state = Text(f"silent {clock(silent)}", style="yellow")
    elif not now.total:
        state = Text("starting", style="dim")
    return (
        Text(job.label, style="bold"),
        _bar(share_of(job, now)),
        epoch,
        state,
        f"{number(now.clips_per_s)}" if now.clips_per_s else "",
        *(_figures(now, job.names) if brief or len(job.names) == 1 else ("", "")),
    )


def _figures(now: JobProgress, step_ids: Collection[str]) -> tuple[str, str]:
    """Loss and accuracy in percent of these members; of several the lowest and the highest."""
    members = [now.members[step_id] for step_id in step_ids if step_id in now.members]
    losses = [member.loss for member in members if member.loss is not None]
    accuracies = [member.accuracy for member in members if member.accuracy is not None]
    return loss_words(losses), accuracy_words(accuracies)


def _sweep(view: View) -> list[RenderableType]:
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True, overflow="ellipsis", max_width=30, style="bold")
    line.add_column(ratio=1)
    for _ in range(3):
        line.add_column(justify="right", no_wrap=True)
    left = f"about {duration(view.pace.left_s)} left" if view.pace.left_s else ""
    share = view.pace.share
    line.add_row(Text(view.run.sweep), _bar(share), f"{int(100 * share)} %", clock(view.elapsed_s), left)
    return [line, Text(count_words(view), style="dim")]


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=share, complete_style="cyan", finished_style="green")


def count_words(view: View) -> str:
    """Numbers of jobs by state, such as `2 done, 1 running, 5 waiting`."""
    return ", ".join(f"{count} {state}" for state, count in view.counts().items())
