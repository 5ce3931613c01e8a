"""When jobs ran and where: steps that trained together, in lanes by device, with the time that each of them waited."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.store.step_record import State

PAUSE_MS = 600_000
"""A job, or a sweep, that is silent for longer was interrupted. A job must also be silent for many of its epochs."""
PAUSE_EPOCHS = 10

Span = tuple[int, int]
"""Start and end, in milliseconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """What the store says about one step's time and place. Times are milliseconds since 1970."""

    step_id: str
    name: str
    seed: int | None
    state: State
    teacher_id: str | None
    host: str
    device: str | None
    """Known once it is done."""
    workers: int
    started_ms: int
    epochs_ms: tuple[int, ...]
    """When each epoch ended."""
    ended_ms: int | None
    """When it was done; None if it is not."""
    epoch: int
    num_epochs: int
    device_s: float | None = None
    """Seconds of its workers together, its share of the job."""

    @property
    def heard_ms(self) -> int:
        """Time of its last sign of life."""
        return max(self.started_ms, *self.epochs_ms[-1:], self.ended_ms or 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A job that a run holds and has not begun."""

    members: tuple[str, ...]
    names: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher_id: str | None
    estimated_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A job. `number` counts jobs by their start; jobs with the same rows, of any seed, share a `kind`."""

    number: int
    kind: int
    members: tuple[StepTimes, ...]
    """Last to end first; empty for a job that has not begun."""
    names: tuple[str, ...]
    """In the order of the sweep."""
    seeds: tuple[int, ...]
    spans: tuple[Span, ...]
    teacher_id: str | None
    estimated_s: float | None = None

    @property
    def step_ids(self) -> tuple[str, ...]:
        return tuple(member.step_id for member in self.members)

    @property
    def place(self) -> str:
        """Its host and, as far as it is known, its device."""
        first = self.members[0]
        return f"{first.host}, {first.device}" if first.device else first.host

    @property
    def state(self) -> str:
        states: set[str] = {member.state for member in self.members} or {"waiting"}
        return next(
            state
            for state in ("running", "failed", "damaged", "interrupted", "pruned", "done", "waiting")
            if state in states
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """The time before a job: until `ready_ms` its teacher was trained, then no device was free."""

    bar: Bar
    queued_ms: int
    ready_ms: int
    started_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A stretch of time without a long pause: one `reskd run`, or several that followed each other."""

    first_ms: int
    last_ms: int
    bars: tuple[Bar, ...]
    """Their spans are those inside the session."""
    lanes: tuple[tuple[str, tuple[Bar, ...]], ...]
    """(place, its bars by time). A place with several devices has as many lanes as jobs ran there at once."""
    waits: tuple[Wait, ...]


def bars_of(times: Iterable[StepTimes], *, waiting: Sequence[Waiting] = ()) -> tuple[Bar, ...]:
    """The jobs, by their start. Members of a job have the same host, start and number of workers."""
    jobs: dict[tuple[int, str, int], list[StepTimes]] = {}
    for step in times:
        jobs.setdefault((step.started_ms, step.host, step.workers), []).append(step)
    kinds: dict[tuple[str, ...], int] = {}
    bars: list[Bar] = []
    for key in sorted(jobs):
        members = sorted(jobs[key], key=lambda step: (-step.heard_ms, step.name))
        names = tuple(dict.fromkeys(step.name for step in jobs[key]))
        bars.append(
            Bar(
                number=len(bars) + 1,
                kind=kinds.setdefault(tuple(sorted(names)), len(kinds)),
                members=tuple(members),
                names=names,
                seeds=tuple(sorted({step.seed for step in members if step.seed is not None})),
                spans=tuple(_spans(members)),
                teacher_id=next((step.teacher_id for step in members if step.teacher_id), None),
            )
        )
    for job in waiting:
        kind = kinds.setdefault(tuple(sorted(job.names)), len(kinds))
        bar = Bar(
            number=len(bars) + 1,
            kind=kind,
            members=(),
            names=job.names,
            seeds=job.seeds,
            spans=(),
            teacher_id=job.teacher_id,
        )
        bars.append(replace(bar, estimated_s=job.estimated_s))
    return tuple(bars)


def _spans(members: Sequence[StepTimes]) -> Iterator[Span]:
    """When the job was at work: from its start to its end, without pauses.

    The end of a step that is done is no pause, since its final test may take longer than many epochs.
    """
    heard = sorted({*(ms for step in members for ms in step.epochs_ms), *(step.heard_ms for step in members)})
    marks = [members[0].started_ms, *heard]
    ends = {step.ended_ms for step in members}
    gaps = [after - before for before, after in itertools.pairwise(marks)]
    limit = max(PAUSE_MS, PAUSE_EPOCHS * statistics.median(gaps)) if gaps else PAUSE_MS
    first = marks[0]
    for before, after in itertools.pairwise(marks):
        if after - before > limit and after not in ends:
            yield first, before
            first = after
    yield first, marks[-1]


def sessions_of(bars: Sequence[Bar], *, now_ms: int | None = None) -> tuple[Session, ...]:
    """The sessions, oldest first. now_ms: the end of bars that run and of jobs that wait; None if nothing runs."""
    if now_ms is not None:
        bars = [_until(bar, now_ms) if bar.state == "running" else bar for bar in bars]
    spans = sorted(span for bar in bars for span in bar.spans)
    ends: dict[str, int] = {step.step_id: step.ended_ms for bar in bars for step in bar.members if step.ended_ms}
    stretches: list[list[int]] = []
    for first, last in spans:
        if stretches and first - stretches[-1][1] <= PAUSE_MS:
            stretches[-1][1] = max(stretches[-1][1], last)
        else:
            stretches.append([first, last])
    sessions = []
    for first, last in stretches:
        inside = [replace(bar, spans=_within(bar.spans, first, last)) for bar in bars]
        shown = [bar for bar in inside if bar.spans]
        waits = [
            _wait(bar, bar.spans[0][0], queued_ms=first, ends=ends)
            for bar in shown
            if bar.members[0].started_ms >= first
        ]
        if now_ms is not None and last == stretches[-1][1]:
            waits += [_wait(bar, now_ms, queued_ms=first, ends=ends) for bar in bars if not bar.members]
        sessions.append(
            Session(
                first_ms=first,
                last_ms=last,
                bars=tuple(shown),
                lanes=tuple(_lanes(shown)),
                waits=tuple(wait for wait in waits if wait.started_ms > wait.queued_ms),
            )
        )
    return tuple(sessions)


def _until(bar: Bar, now_ms: int) -> Bar:
    *before, (first, last) = bar.spans
    return replace(bar, spans=(*before, (first, max(last, now_ms))))


def _within(spans: Sequence[Span], first: int, last: int) -> tuple[Span, ...]:
    return tuple(span for span in spans if first <= span[0] <= last)


def _wait(bar: Bar, started_ms: int, *, queued_ms: int, ends: Mapping[str, int]) -> Wait:
    """A teacher that is not done, or was done before the session, is no device's fault."""
    ready = (
        queued_ms if bar.teacher_id is None else ends.get(bar.teacher_id, started_ms if not bar.members else queued_ms)
    )
    return Wait(bar=bar, queued_ms=queued_ms, ready_ms=min(max(queued_ms, ready), started_ms), started_ms=started_ms)


def _lanes(bars: Sequence[Bar]) -> Iterator[tuple[str, tuple[Bar, ...]]]:
    """The bars of each place in as few lanes as possible, so that no two of a lane overlap."""
    places: dict[str, list[list[Bar]]] = {}
    known = {bar.members[0].host: bar.place for bar in bars if bar.members[0].device}
    for bar in sorted(bars, key=lambda bar: (bar.spans[0], bar.number)):
        lanes = places.setdefault(
            known.get(bar.members[0].host, bar.place) if not bar.members[0].device else bar.place, []
        )
        free = next((lane for lane in lanes if lane[-1].spans[-1][1] <= bar.spans[0][0]), None)
        if free is None:
            lanes.append([bar])
        else:
            free.append(bar)
    for place in sorted(places):
        for lane in places[place]:
            yield place, tuple(lane)
