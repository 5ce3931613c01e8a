"""What runs in each of a job's data-parallel workers: reskd's own training, with the store as its sink."""

from __future__ import annotations

import gc
import logging
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import ray.train

from orchestrator.run.lanes.early_stops import leavers
from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.run.lanes.process_group import in_use
from orchestrator.store.open import leased_store, store_of
from orchestrator.store.store import LeasedStore
from reskd.data.manifest import read_manifest
from reskd.errors import Damaged, LeaseLost, LoaderLost, ReskdError
from reskd.files import Json
from reskd.log_records import write_safe_logs
from reskd.training.member_spec import MemberSpec

if TYPE_CHECKING:  # it loads torch, and the trials load this module too
    from reskd.training.fit_progress import FitProgress

logger = logging.getLogger(__name__)

LASTING = (ReskdError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError)
"""What trying again gives again. Not RuntimeError: a lost neighbour and a GPU out of memory raise it."""
ENDED = "ended_job"
"""The key of a report's job. The workers report a job once, at its end, whatever became of its members."""

_orders: SimpleQueue[JobConfig | None] = SimpleQueue()


def hand_over(job: JobConfig | None) -> None:
    """Give this worker its next job, or None to end it. Called in the worker's process, beside its training."""
    _orders.put(job)


def serve() -> None:
    """Train job after job until there is none: the loop of a lane's worker."""
    write_safe_logs()
    while (job := _orders.get()) is not None:
        with in_use:
            train(job)
            _let_go()
        ray.train.report({ENDED: job.id})


def _let_go() -> None:
    """Give back what a job leaves in memory: networks in reference cycles, cached GPU memory, compiled kernels."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def train(job: JobConfig) -> None:
    """Train what is left of the job's members.

    Whatever is raised makes Ray start all the workers again, and they resume from the store: a worker that raises
    alone must not leave the others waiting for it in a collective. A mistake that trying again cannot mend is first
    recorded as each member's failure, so that the workers started again find nothing left to do.
    """
    # Here, as the trials load this module too, where nothing is trained.
    import ray.train.torch
    import torch

    from orchestrator.run.lanes.lease_watch import LeaseWatch
    from orchestrator.run.lanes.reporter import Reporter
    from reskd.runtime.workers import joined
    from reskd.training.fit import fit_cohort

    torch.set_num_threads(job.threads)
    sink = leased_store(job.store, owner_id=job.owner_id)
    workers = joined(ray.train.torch.get_device())
    teacher = sink.local(job.teacher) if job.teacher else None
    # What is left is decided by one worker: another may not see the same files yet.
    step_ids = workers.from_first(_left_to_do(job, sink, teacher))
    members = [member for member in job.members if member.step_id in step_ids]
    if not members:
        return

    rule = job.early_stopping

    def prune(epoch: int, step_ids: Sequence[str]) -> dict[str, Json]:
        assert rule is not None

        def value(step_id: str, at: int) -> float | None:
            lines = (line for line in sink.metrics(step_id) if line["epoch"] == at)
            return next((line["metrics"].get(rule.metric) for line in lines), None)

        return leavers(rule, epoch, step_ids, value=value)

    try:
        with sink.noting_damage(), ExitStack() as beside:
            told = None
            if workers.is_first:
                watch = beside.enter_context(LeaseWatch(sink, step_ids))
                # Not through the leased store: the record belongs to the run, not to a step.
                report = beside.enter_context(Reporter(store_of(job.store), job, members))

                def told(progress: FitProgress) -> None:
                    watch.check()
                    report(progress)

            fit_cohort(
                members,
                manifest=read_manifest(sink.local(job.manifest)),
                root=Path(job.root),
                sink=sink,
                workers=workers,
                teacher_weights=teacher,
                loader_workers=job.loader_workers,
                execution=job.execution,
                on_progress=told,
                prune=prune if rule else None,
            )
    except (LeaseLost, LoaderLost):
        raise
    except LASTING as error:
        if isinstance(error, Damaged) and sink.step_of(error.where) is not None:
            raise  # it is noted of the teacher: its students have not failed, they wait
        logger.error("job %s cannot be trained: %s", job.id, error)
        record = {"reason": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc(), "epoch": None}
        for member in members:
            if not sink.is_finished(member.step_id):
                sink.fail(member.step_id, record)
        raise
    except torch.OutOfMemoryError as error:
        _record_too_many(members, sink, error)
        raise


def _record_too_many(members: Sequence[MemberSpec], sink: LeasedStore, error: Exception) -> None:
    """Record it, so that the workers started again do not try the same; `run.job_graph` makes two jobs of this one.

    A single one that is left has by then all the memory to itself, and is tried again as it is.
    """
    left = [step_id for member in members if _is_open(step_id := member.step_id, sink)]
    for step_id in left if len(left) > 1 else ():
        reason = f"out of memory beside {len(left) - 1} others, one group at a time: {error}"
        record = {"reason": reason, "traceback": traceback.format_exc(), "epoch": None, "together": len(left)}
        sink.split(step_id, record)


def _left_to_do(job: JobConfig, sink: LeasedStore, teacher: Path | None) -> list[str]:
    """Members neither finished, stopped early nor failed.

    None where another run has taken a step over, or where their teacher's weights were found to be damaged.
    """
    teacher_id = sink.step_of(str(teacher))
    if teacher_id is not None and sink.damage(teacher_id) is not None:
        return []
    left = [step_id for member in job.members if _is_open(step_id := member.step_id, sink)]
    if not all(sink.holds(step_id) for step_id in left):
        logger.warning("job %s: its steps belong to another run by now; leaving", job.id)
        return []
    return left


def _is_open(step_id: str, sink: LeasedStore) -> bool:
    ended = (sink.pruned(step_id), sink.failure(step_id), sink.to_split(step_id))
    return not sink.is_finished(step_id) and not any(ended)
