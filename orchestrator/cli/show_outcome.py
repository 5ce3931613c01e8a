"""Prints how a run ended, and which command to type next."""

from __future__ import annotations

import shlex
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.cli.words import MAX_SHOWN_ERRORS, step_line
from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.durations import duration
from orchestrator.plan.job import Job
from orchestrator.run.display.words import clock
from orchestrator.run.notify import without_secrets
from orchestrator.spec.steps import name_and_seed, name_of

if TYPE_CHECKING:
    from orchestrator.run.controller import Outcome
    from orchestrator.tables.table import Table
    from orchestrator.tracking.publish import Publisher


def show_outcome(
    prepared: Prepared, outcome: Outcome, publishers: Sequence[Publisher], console: Console, *, program: str
) -> None:
    """Print how the run ended and which command to type next."""
    command = shlex.join([program, *without_secrets(sys.argv[1:])])
    total = outcome.num_done + len(outcome.failed) + len(outcome.unfinished)
    pruned = f"{outcome.num_pruned} stopped early, " if outcome.num_pruned else ""
    console.print(f"{outcome.num_done} of {total} steps done, {pruned}{clock(outcome.wall_s)} spent", style="bold")
    if line := estimate_line(prepared, outcome.jobs):
        console.print(line, markup=False, highlight=False)
    verdicts = prepared.plan().steps if outcome.failed else {}
    for step_id in outcome.failed[:MAX_SHOWN_ERRORS]:
        found = verdicts[step_id]
        what = "damaged" if found.verdict == "damaged" else "failed"
        name = name_of(prepared.steps[step_id])
        console.print(f"{what}: {name} ({step_id}): {found.reason}", style="red", markup=False, soft_wrap=True)
    if any(found.verdict == "failed" for found in verdicts.values()):
        console.print(f"try failed steps again:  {command} --retry-failed", markup=False)
    for step_id, reason in list(outcome.given_up.items())[:MAX_SHOWN_ERRORS]:
        why = reason or "its job ended without an error; see the log"
        console.print(f"given up: {name_of(prepared.steps[step_id])} ({step_id}): {why}", style="red", markup=False)
    for step_id, reason in outcome.held.items():
        console.print(step_line(name_and_seed(prepared.steps[step_id]), step_id, "held", reason))
    if outcome.held and not outcome.interrupted:
        console.print(f"another run trains {len(outcome.held)} steps; when it has ended, type again:  {command}")
    elif outcome.unfinished:
        what = "stopped" if outcome.interrupted else "some jobs ended without finishing"
        what += f": {outcome.why}" if outcome.why else ""
        log = f" (log: {outcome.log})" if outcome.log else ""
        console.print(f"{what}{log}; nothing finished is lost. Continue with:  {command}", markup=False, soft_wrap=True)
    for line in dict.fromkeys(browse_line(prepared, publisher, program=program) for publisher in publishers):
        console.print(line, markup=False, soft_wrap=True)


def outcome_text(prepared: Prepared, outcome: Outcome, tables: Sequence[Table]) -> tuple[str, str]:
    """(title, body) of a notification: the sweep, how its run ended, its time, and the first table's first column."""
    ways = {0: "is done", 1: "has failures", 3: "was stopped" if outcome.interrupted else "is not finished"}
    total = outcome.num_done + len(outcome.failed) + len(outcome.unfinished)
    lines = [f"{outcome.num_done} of {total} steps done, {clock(outcome.wall_s)} spent on {socket.gethostname()}"]
    for step_id in outcome.failed[:1]:
        lines.append(f"{name_and_seed(prepared.steps[step_id])} failed: {prepared.plan().steps[step_id].reason}")
    for table in tables[:1]:
        column = table.columns[0]
        rows = [f"{row} {text}" for row in table.rows if (text := table.entries[row, column.key].mean_text)]
        lines += [f"{table.key}, {column.heading}: {', '.join(rows)}"] if rows else []
    return f"reskd: {prepared.sweep.name} {ways[outcome.exit_code]}", "\n".join(lines)


def estimate_line(prepared: Prepared, jobs: Sequence[Job]) -> str:
    """The estimated and the measured time of the jobs that ran from their first epoch to their end, added up; empty if
    there are none. The report has them job by job."""
    estimated, measured, num_jobs = 0.0, 0.0, 0
    for job in jobs:
        records = [prepared.store.done(step_id) for step_id in job.members]
        took = [record for record in records if record is not None and "device_s" in record]
        if len(took) == len(job.members) and not job.resume_from:
            estimated += job.cost
            measured += sum(record["device_s"] for record in took) / job.workers
            num_jobs += 1
    if not num_jobs:
        return ""
    jobs_in_words = f"{num_jobs} job{'s' * (num_jobs != 1)}"
    return f"{jobs_in_words}: {duration(estimated)} estimated, {duration(measured)} measured (added up)"


def browse_line(prepared: Prepared, publisher: Publisher, *, program: str) -> str:
    """The command or the address that shows the runs in MLflow."""
    if not publisher.is_local:
        return f"browse:  {publisher.experiment_url}"
    store_option = "" if prepared.store.is_default else f" --store {shlex.quote(prepared.store.address)}"
    return f"browse:  {program} ui{store_option}"
