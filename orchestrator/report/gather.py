"""Gathers the contents of a page from a sweep, its tables and its store."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from orchestrator.plan.durations import duration
from orchestrator.report.answer import Answer
from orchestrator.report.contents import Chart, JobLine, Page, Provenance, shown_table
from orchestrator.report.cost import CostsFor, JobCost, cost_lines, job_costs
from orchestrator.report.inline_svg import inline_svg
from orchestrator.report.read_steps import (
    MAX_DAMAGED,
    StepFacts,
    damage_of,
    origin_of,
    step_lines,
    trouble_of,
)
from orchestrator.report.sheets import read_sheets
from orchestrator.report.timeline import Bar, Session, Waiting, bars_of, sessions_of
from orchestrator.report.timeline_chart import KINDS, draw_session
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Sweep
from orchestrator.store.store import Store
from orchestrator.tables.table import Table
from reskd.data.manifest import Manifest

MAX_SESSIONS = 4
"""Most sessions of the timeline that are drawn: the newest."""
STATES = ("done", "running", "waiting", "failed", "damaged", "pruned", "interrupted", "not started")


def gather(
    sweep: Sweep,
    *,
    steps: Mapping[str, Step],
    store: Store,
    manifests: Sequence[Manifest],
    tables: Sequence[Table],
    charts: Sequence[Chart],
    not_drawn: Sequence[str],
    answer: Answer,
    facts: Mapping[str, StepFacts],
    waiting: Sequence[Waiting],
    held: set[str],
    costs_for: CostsFor,
    forecast: str,
) -> Page:
    """The page's contents. held: steps that a run holds; waiting: its jobs that have not begun."""
    times = [one.times for one in facts.values() if one.times is not None]
    news = max((step.heard_ms for step in times), default=None)
    is_running = bool(held)
    bars = bars_of(times, waiting=waiting)
    sessions = sessions_of(bars, now_ms=news if is_running else None)
    costs = job_costs(bars, steps=steps, resources=sweep.resources, costs_for=costs_for)
    damaged = damage_of(facts.values())
    sheets, num_more = read_sheets(store.home / "tables", steps)
    return Page(
        name=sweep.name,
        question=sweep.question,
        answer=answer,
        counts=_counts(steps, facts, held),
        is_running=is_running,
        as_of="" if news is None else moment(news),
        tables=tuple(shown_table(table) for table in tables),
        charts=tuple(charts),
        not_drawn=tuple(not_drawn),
        sheets=sheets,
        num_more_sheets=num_more,
        timeline=tuple(_session_chart(session) for session in sessions[-MAX_SESSIONS:]),
        num_older=max(len(sessions) - MAX_SESSIONS, 0),
        jobs=tuple(_job_line(bar, sessions, costs.get(bar.number)) for bar in bars),
        costs=cost_lines(costs),
        forecast=forecast,
        trouble=trouble_of(facts.values(), steps),
        retry=f"{_command('run', sweep, store)} --retry-failed",
        damaged=tuple(damaged[:MAX_DAMAGED]),
        num_damaged=len(damaged),
        provenance=_provenance(sweep, steps, store, manifests, facts),
    )


def moment(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


def _counts(steps: Mapping[str, Step], facts: Mapping[str, StepFacts], held: set[str]) -> tuple[tuple[str, int], ...]:
    """A teacher without a row that was never started is not counted: its students may not need it."""
    found = [
        facts[step.id].record.state if step.id in facts else "waiting" if step.id in held else "not started"
        for step in steps.values()
        if step.id in facts or step.id in held or step.cells
    ]
    return tuple((state, found.count(state)) for state in STATES if state in found)


def _session_chart(session: Session) -> Chart:
    title = f"Jobs on devices, {moment(session.first_ms)} to {moment(session.last_ms)}"
    return Chart(title=title, svg=inline_svg(lambda: draw_session(session), label=title))


def _job_line(bar: Bar, sessions: Sequence[Session], cost: JobCost | None) -> JobLine:
    waits = [wait for session in sessions for wait in session.waits if wait.bar.number == bar.number]
    waited_ms = sum(wait.started_ms - wait.queued_ms for wait in waits)
    seeds = f"seed {', '.join(map(str, bar.seeds))}: " if bar.seeds else ""
    estimated_s = cost.estimated_s if cost else bar.estimated_s
    spent_ms = sum(last - first for first, last in bar.spans)
    left = [member for member in bar.members if member.state != "done"]
    epoch, num_epochs = max(((member.epoch, member.num_epochs) for member in left), default=(0, 0))
    return JobLine(
        number=bar.number,
        colour=bar.kind % len(KINDS),
        what=seeds + ", ".join(bar.names),
        state=bar.state,
        progress=f"epoch {epoch} of {num_epochs}" if left else "",
        waited=duration(waited_ms / 1000) if waited_ms else "",
        took=duration(cost.measured_s if cost else spent_ms / 1000) if bar.members else "",
        estimated=duration(estimated_s) if estimated_s else "",
        ratio=f"{cost.ratio:.2f}" if cost and cost.ratio else "",
    )


def _provenance(
    sweep: Sweep,
    steps: Mapping[str, Step],
    store: Store,
    manifests: Sequence[Manifest],
    facts: Mapping[str, StepFacts],
) -> Provenance:
    data = [
        (
            f"data set {manifest.name}",
            f"{len(manifest.train)} training and {len(manifest.val)} validation clips, {len(manifest.classes)} "
            f"classes, manifest {manifest.sha256[:16]}",
        )
        for manifest in manifests
    ]
    text = sweep.path.read_text(encoding="utf-8") if sweep.path.is_file() else ""
    return Provenance(
        facts=(*origin_of(facts.values()), *data, ("store", store.address)),
        commands=tuple(_command(what, sweep, store) for what in ("plan", "run", "report")),
        sweep_file=str(sweep.path),
        sweep_text=text,
        steps=step_lines(steps, facts),
    )


def _command(what: str, sweep: Sweep, store: Store) -> str:
    changes = [word for change in sweep.changes for word in ("--set", change)]
    address = [] if store.is_default else ["--store", store.address]
    return shlex.join(["reskd", what, str(sweep.path), *changes, *address])
