"""The progress display of `reskd run`: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.job import Job
from orchestrator.plan.job_state import Progress
from orchestrator.spec.steps import Step, name_of
from orchestrator.stats.sequential import sentence

STYLES = {
    "running": "bold cyan",
    "done": "green",
    "failed": "red",
    "blocked": "red",
    "split": "yellow",
    "waiting": "dim",
}


@dataclass
class _Line:
    job: Job
    label: str
    progress: Progress
    started: float | None = None
    ended: float | None = None
    reported: int = field(default=0)

    @property
    def share(self) -> float:
        """Share of the job's epochs that are finished."""
        if self.progress.state == "done":
            return 1.0
        return self.progress.epoch / self.progress.num_epochs if self.progress.num_epochs else 0.0


class Board:
    """The progress of all jobs. Pass its `update` to run_jobs as on_event."""

    def __init__(self, jobs: Sequence[Job], steps: Mapping[str, Step], console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._steps = steps
        self._lines = {job.id: self._line(job) for job in jobs}
        # Otherwise Live would take over sys.stdout, and Ray's output would not go to the log file.
        live = Live(self, console=console, refresh_per_second=2, redirect_stdout=False, redirect_stderr=False)
        self._live = live if console.is_terminal else None

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _line(self, job: Job) -> _Line:
        return _Line(job, label(job, self._steps), Progress(job.id, "waiting"))

    def update(self, progress: Progress) -> None:
        if progress.new_job is not None:
            self._lines.setdefault(progress.job_id, self._line(progress.new_job))
        line = self._lines[progress.job_id]
        if progress.state == "running" and line.started is None:
            line.started = time.monotonic()
        if progress.state in ("done", "failed", "blocked", "split"):
            line.ended = time.monotonic()
        before, line.progress = line.progress, progress
        if self._live is None and (progress.state != before.state or self._is_due(line)):
            line.reported = progress.epoch
            self._console.print(f"{clock(time.monotonic() - self._started)}  {self._plain(line)}", markup=False)

    def _is_due(self, line: _Line) -> bool:
        """Whether to print a line now. Each job gets about ten lines."""
        progress = line.progress
        return progress.epoch - line.reported >= max(1, progress.num_epochs // 10)

    def _plain(self, line: _Line) -> str:
        progress = line.progress
        text = f"{progress.state:8} {line.label}"
        if progress.num_epochs:
            text += f"  epoch {progress.epoch}/{progress.num_epochs}  {progress.clips_per_s:.0f} clips/s"
        return f"{text}  [{self.summary()}]"

    def summary(self) -> str:
        """Numbers of jobs that are done, running and waiting, and the expected remaining time."""
        states = [line.progress.state for line in self._lines.values()]
        counts = [(states.count(state), state) for state in ("done", "running", "waiting", "failed", "blocked")]
        parts = [f"{number} {state}" for number, state in counts if number]
        left = self._seconds_left()
        return ", ".join(parts) + (f", about {clock(left)} left" if left else "")

    def _seconds_left(self) -> float | None:
        lines = [line for line in self._lines.values() if line.progress.state not in ("failed", "blocked", "split")]
        done = sum(line.job.cost * line.share for line in lines)
        total = sum(line.job.cost for line in lines)
        elapsed = time.monotonic() - self._started
        return elapsed * (total - done) / done if 0 < done < total else None

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for heading in ("state", "job", "epoch", "clips/s", "time"):
            table.add_column(heading, justify="left" if heading in ("state", "job") else "right")
        for line in self._lines.values():
            progress = line.progress
            spent = "" if line.started is None else clock((line.ended or time.monotonic()) - line.started)
            table.add_row(
                Text(progress.state, style=STYLES[progress.state]),
                Text(line.label),
                f"{progress.epoch}/{progress.num_epochs}" if progress.num_epochs else "",
                f"{progress.clips_per_s:.0f}" if progress.clips_per_s else "",
                spent,
            )
        return Group(table, Text(self.summary(), style="bold"))


def label(job: Job, steps: Mapping[str, Step], *, most: int | None = None) -> str:
    """A job in words: its seed, its members (at most ``most`` by name), its teacher; imported models have no seed."""
    members = [step for step_id, step in steps.items() if step_id in job.members]  # in the sweep's order
    seeds = sorted({member.recipe.seed for member in members if not member.recipe.is_imported})
    names = ", ".join(name_of(member) for member in members[:most])
    if most is not None and len(members) > most:
        names += f" and {len(members) - most} more"
    teacher = steps.get(job.teacher_id or "")
    taught = f" taught by {teacher.recipe.model.name}@{teacher.recipe.model.resolution}" if teacher else ""
    who = f"seed {','.join(map(str, seeds))}" if seeds else "import"
    return f"{who}: {names}{taught}"


def clock(seconds: float) -> str:
    """A time in minutes and seconds, such as 3:07."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def show_look(prepared: Prepared, console: Console) -> None:
    """Print the state of the comparison of `seeds: auto`, if the sweep has one."""
    if prepared.sweep.auto is not None and prepared.look is not None:
        text = f"{prepared.sweep.name}: {sentence(prepared.look, prepared.sweep.auto)}"
        console.print(text, style="cyan", markup=False, highlight=False)
