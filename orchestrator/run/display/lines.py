"""What is new in a view as lines of text, for a pipe or above the picture of a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.plan.durations import duration
from orchestrator.run.display.view import View
from orchestrator.run.display.words import accuracy_words, clock, loss_words, number, shortened
from orchestrator.store.run_records import JobProgress, JobRecord, JobState

STYLES: dict[JobState, str] = {"done": "green", "failed": "red", "blocked": "red", "split": "yellow"}
MAX_AT_ONCE = 10
"""Jobs that had ended before the first look are listed up to this number; more are counted."""
MAX_LABEL = 32
MAX_REASON = 48
LINES_A_JOB = 10
"""About as many lines tell of a job's epochs."""


class Lines:
    """Remembers what was said of each job."""

    def __init__(self) -> None:
        self._states: dict[str, JobState] = {}
        self._epochs: dict[str, int] = {}
        self._is_first = True

    def ended(self, view: View) -> Iterator[tuple[str, str]]:
        """(line, style) of each job that has ended since the last call; of many at the first call one line in all."""
        new = [job for job in view.ended() if self._states.get(job.id) != job.state]
        self._states |= {job.id: job.state for job in new}
        is_first, self._is_first = self._is_first, False
        if is_first and len(new) > MAX_AT_ONCE:
            states = [job.state for job in new]
            counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
            yield f"{clock(view.elapsed_s):>7}  {len(new)} jobs have ended: {counts}", ""
            return
        for job in new:
            yield _ended_line(view, job), STYLES[job.state]

    def news(self, view: View) -> Iterator[tuple[str, str]]:
        """(line, style) of everything new: jobs that end, jobs that start, and epochs (not each of many)."""
        yield from self.ended(view)
        for job in view.running():
            if self._states.get(job.id) != "running":
                self._states[job.id] = "running"
                yield _line(view.elapsed_s, "running", job.label), ""
            now = view.where(job)
            if now.epoch - self._epochs.get(job.id, job.resume_from) >= max(1, now.num_epochs // LINES_A_JOB):
                self._epochs[job.id] = now.epoch
                yield _epoch_line(view, job, now), ""


def _line(seconds: float, what: str, label: str, details: str = "") -> str:
    return f"{clock(seconds):>7}  {what:11}  {shortened(label, MAX_LABEL)}{'  ' if details else ''}{details}"


def _epoch_line(view: View, job: JobRecord, now: JobProgress) -> str:
    losses = [member.loss for member in now.members.values() if member.loss is not None]
    accuracies = [member.accuracy for member in now.members.values() if member.accuracy is not None]
    parts = [f"{number(now.clips_per_s)} clips/s"] if now.clips_per_s else []
    parts += [f"loss {loss_words(losses)}"] if losses else []
    parts += [f"acc {accuracy_words(accuracies)}"] if accuracies else []
    left = f" [{duration(view.pace.left_s)} left]" if view.pace.left_s else ""
    return _line(view.elapsed_s, f"epoch {now.epoch}/{now.num_epochs}", job.label, ", ".join(parts) + left)


def _ended_line(view: View, job: JobRecord) -> str:
    spent = clock(max(0.0, (job.ended or 0.0) - job.started)) if job.started is not None else ""
    parts = [f"in {spent}"] if spent else []
    parts += [f"accuracy {accuracy_words(job.accuracy.values())}"] if job.accuracy else []
    parts += ["out of memory, goes on in two jobs"] if job.state == "split" else []
    parts += [shortened(job.reason, MAX_REASON)] if job.reason else []
    return _line(view.since_start_s(job), job.state, job.label, ", ".join(parts))
