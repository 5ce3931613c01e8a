"""`reskd run`: trains what the sweeps need, publishes meanwhile, and rebuilds the tables at the end."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from rich.console import Console

from orchestrator.experiment.bound_sweep import Prepared, check_before_start
from orchestrator.experiment.one_schedule import in_one_schedule
from orchestrator.plan.job import Job
from orchestrator.run.beside import beside
from orchestrator.run.cluster.check import check_on_worker
from orchestrator.run.display.board import shown
from orchestrator.run.display.live_pages import live_pages
from orchestrator.run.display.recorder import Recorder, StateChange, recorded
from orchestrator.run.display.words import short_label, show_look
from orchestrator.run.lanes.job_config import job_config
from orchestrator.run.launch import ray_session, run_jobs, run_patience
from orchestrator.run.local_logs import new_log
from orchestrator.run.log_capture import quiet
from orchestrator.run.notify import Notifier
from orchestrator.run.ray_address import joins_cluster
from orchestrator.run.take_steps import refuse_too_large, take_steps
from orchestrator.run.watchdog import Watchdog, leave_at_once, watched
from orchestrator.store.code_version import provenance
from orchestrator.store.lease import Leases, leases
from orchestrator.tracking.publish import Publisher
from reskd.errors import BadInput, ReskdError

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: steps that are done, failed, unfinished, or held by another run."""

    num_done: int
    failed: tuple[str, ...]
    unfinished: tuple[str, ...]
    held: dict[str, str]
    given_up: dict[str, str]
    """Unfinished steps whose jobs ended several times with an error of the machine, and the last error. The next `reskd
    run` tries them again."""
    interrupted: bool
    log: Path | None
    wall_s: float
    jobs: tuple[Job, ...] = ()
    """The planned jobs with their estimates."""
    num_pruned: int = 0
    """Number of steps that early stopping ended."""
    why: str = ""
    """Why the run could not go on, where it ended by itself."""

    @property
    def exit_code(self) -> int:
        """0: done. 1: something failed. 3: interrupted or held by another run; the same command resumes."""
        if self.interrupted:
            return 3
        if self.failed or self.given_up:
            return 1
        return 3 if self.unfinished else 0


def run_sweeps(
    prepared: Sequence[Prepared],
    *,
    tracking_uri: str | None,
    retry_failed: bool,
    console: Console,
    dashboard: bool = False,
    notifier: Notifier | None = None,
) -> tuple[list[Prepared], Outcome, list[Publisher]]:
    """Train what is missing in several sweeps, in one schedule.

    With `seeds: auto`, add seeds until no comparison needs more. ``dashboard``: a Ray of our own has its dashboard.
    ``notifier`` tells of the first job that fails.

    Returns the sweeps with their final seeds, the outcome, and the MLflow publishers. Raises BadInput if nothing can
    start; later errors are in the outcome.
    """
    started = time.monotonic()
    while True:
        outcome, publishers = _run_seeds(
            prepared,
            tracking_uri=tracking_uri,
            retry_failed=retry_failed,
            console=console,
            dashboard=dashboard,
            notifier=notifier or Notifier([]),
        )
        before, prepared = prepared, [one.grown() for one in prepared]
        left = {*outcome.failed, *outcome.unfinished}
        wanting = [
            one
            for one, known in zip(prepared, before, strict=True)
            if one.sweep.cells != known.sweep.cells and not left & known.steps.keys()
        ]
        if outcome.interrupted or not wanting:
            return list(prepared), replace(outcome, wall_s=time.monotonic() - started), publishers
        retry_failed = False  # once a run
        for one in wanting:
            show_look(one, console)


def _run_seeds(
    prepared: Sequence[Prepared],
    *,
    tracking_uri: str | None,
    retry_failed: bool,
    console: Console,
    dashboard: bool,
    notifier: Notifier,
) -> tuple[Outcome, list[Publisher]]:
    """Train the missing steps of the current seeds."""
    for one in prepared:
        if one.unseen:
            raise BadInput(
                f"{one.sweep.path}: no videos and no manifest of {', '.join(one.unseen)} here; set data.root"
            )
        check_before_start(one)
    publishers = [Publisher(one.store, sweep=one.sweep, steps=one.steps, tracking_uri=tracking_uri) for one in prepared]
    whole = in_one_schedule(prepared)
    started = time.monotonic()
    with leases() as held:
        plan = take_steps(whole, held, retry_failed=retry_failed)
        jobs = plan.jobs
        end, log = _End(), None
        try:
            if jobs:
                log = new_log(whole.store, whole.sweep.name)
                console.print(f"training {_count(jobs)}; Ray's own output goes to {log}", markup=False)
                recorder = Recorder(
                    whole,
                    jobs,
                    owner=held.owner,
                    files=[one.sweep.path for one in prepared],
                    log=log,
                    num_devices=plan.forecast.num_devices,
                )
                with live_pages(prepared):
                    end = _train(whole, jobs, held, publishers, recorder, dashboard=dashboard, notifier=notifier)
        finally:
            held.release()
            _publish(publishers)  # so that no MLflow run stays RUNNING
    wall_s = time.monotonic() - started
    return replace(_outcome(whole, end, log=log, wall_s=wall_s), jobs=jobs), publishers


def _count(jobs: Sequence[Job]) -> str:
    num_steps = sum(len(job.members) for job in jobs)
    return f"{num_steps} step{'s' * (num_steps != 1)} in {len(jobs)} job{'s' * (len(jobs) != 1)}"


@dataclass(frozen=True, slots=True)
class _End:
    """How the training of a run ended."""

    given_up: Mapping[str, str] = field(default_factory=dict)
    """The steps of failed jobs, each with the last error of its job."""
    is_interrupted: bool = False
    why: str = ""
    """Why the run could not go on; empty where the user interrupted it."""


def _train(
    prepared: Prepared,
    jobs: Sequence[Job],
    held: Leases,
    publishers: Sequence[Publisher],
    recorder: Recorder,
    *,
    dashboard: bool,
    notifier: Notifier,
) -> _End:
    """Run the jobs on Ray and publish meanwhile."""
    store, resources = prepared.store, prepared.sweep.resources
    facts = provenance()
    configs = {
        job.id: job_config(
            job,
            label=short_label(job, prepared.steps),
            steps=prepared.steps,
            store=store,
            owner_id=held.owner.id,
            resources=resources,
            manifest=prepared.manifest_reference(prepared.steps[job.members[0]]),
            provenance=facts,
            early_stopping=prepared.sweep.early_stopping,
        )
        for job in jobs
    }

    watchdog = Watchdog(held, recorder.records, patience_s=run_patience())

    def heard(change: StateChange) -> None:
        watchdog.heard(change)
        job = recorder.update(change)
        if job.state == "failed":
            notifier.job_failed(prepared.sweep.name, job)

    def leave() -> None:
        terminal.print(f"stopped: {watchdog.why}; the same command goes on", markup=False, soft_wrap=True)
        leave_at_once(held)

    failed: dict[str, str] = {}
    is_interrupted = False
    try:
        with (
            quiet(Path(recorder.run.log)) as terminal,
            recorded(recorder),
            shown(recorder.records, recorder.run.id, terminal),
            watched(watchdog, leave=leave),
            ray_session(resources, dashboard=dashboard, say=terminal.print) as capacity,
            _interruptible() as interrupt,  # after Ray, which sets a SIGTERM handler of its own
            _publishing(publishers),
        ):
            refuse_too_large(prepared, jobs, capacity)
            if joins_cluster():
                check_on_worker(store, sorted({config.root for config in configs.values()}))
            with watchdog.ray_in_use():
                failed = run_jobs(
                    jobs,
                    store=store,
                    owner_id=held.owner.id,
                    capacity=capacity,
                    configs=configs,
                    on_change=heard,
                    should_stop=interrupt.is_set,
                )
            is_interrupted = interrupt.is_set()
    except KeyboardInterrupt:
        is_interrupted = True
    return _End(failed, is_interrupted, watchdog.why)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets. The first signal lets Tune stop in order; the second stops at
    once."""
    event = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        tune_listens = callable(signal.getsignal(signal.SIGUSR1))
        if event.is_set() or not tune_listens:
            event.set()
            raise KeyboardInterrupt
        event.set()
        os.kill(os.getpid(), signal.SIGUSR1)  # Tune's own way to stop; its SIGINT handler would hide the event

    for number in before:
        signal.signal(number, note)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _publishing(publishers: Sequence[Publisher]) -> Iterator[None]:
    """Publish new content of steps to MLflow from a thread, so that a slow MLflow never delays training."""

    def loop(stop: threading.Event) -> None:
        while not stop.wait(PUBLISH_EVERY_S):
            _publish(publishers, running=True)

    with beside(loop, name="publish"):
        yield


def _publish(publishers: Sequence[Publisher], *, running: bool = False) -> None:
    """Publish what is possible now. The rest is published later, and training continues.

    With ``running``, only steps that the running training may change are looked at.
    """
    for publisher in publishers:
        try:
            if not publisher.publish(publisher.unsettled if running else None):
                return  # the others would fail too, and each would wait for MLflow's own timeout
        except (ReskdError, OSError) as error:
            logger.warning("not published: %s", error)


def _outcome(prepared: Prepared, end: _End, *, log: Path | None, wall_s: float) -> Outcome:
    steps = prepared.plan().steps.values()
    unfinished = tuple(step.id for step in steps if step.verdict in ("resume", "train", "import", "waiting", "held"))
    held = {step.id: step.reason for step in steps if step.verdict == "held"}
    return Outcome(
        num_done=sum(step.verdict == "done" for step in steps),
        num_pruned=sum(step.verdict == "pruned" for step in steps),
        failed=tuple(step.id for step in steps if step.verdict in ("failed", "blocked", "damaged")),
        unfinished=unfinished,
        held=held,
        given_up={
            step_id: reason for step_id, reason in end.given_up.items() if step_id in unfinished and step_id not in held
        },
        interrupted=end.is_interrupted and bool(unfinished),
        why=end.why,
        log=log,
        wall_s=wall_s,
    )
