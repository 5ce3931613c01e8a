"""Takes the steps of a run: plans, takes their leases, and records what they are."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.job import Job
from orchestrator.plan.plan import Plan
from orchestrator.run.job_graph import Capacity
from orchestrator.run.launch import declared_capacity
from orchestrator.spec.sweep import recipe_to_dict
from orchestrator.store.lease import STALE_S, Leases, read_lease
from reskd.errors import BadInput

logger = logging.getLogger(__name__)


def take_steps(prepared: Prepared, held: Leases, *, retry_failed: bool) -> Plan:
    """Take leases on all steps that are to be trained, and plan with the leases that were obtained.

    Raises BadInput for a job that can never start here.
    """
    store = prepared.store
    _take_over(prepared, held)
    while True:
        plan = prepared.plan(retry_failed=retry_failed, own=held.owner.id)
        wanted = {step_id for job in plan.jobs for step_id in job.members}
        store.refuse_closed(wanted)
        if all(held.take(store.lease_path(step_id)) for step_id in wanted):
            break  # else another run was faster; the next plan knows
    refuse_too_large(prepared, plan.jobs, declared_capacity(prepared.sweep.resources))
    for step_id in wanted:
        step = prepared.steps[step_id]
        store.record_identity(step_id, full_id=step.full_id, payload=step.payload, recipe=recipe_to_dict(step.recipe))
        store.forget_failure(step_id)
    kept = {store.lease_path(step_id) for step_id in wanted}
    held.release(path for path in held.paths() if path not in kept)
    return plan


def _take_over(prepared: Prepared, held: Leases) -> None:
    """Take leases whose counter does not change, if nothing is known of their owner: its machine may be lost.

    A living run's counter soon moves.
    """
    store = prepared.store
    leased = {step_id: store.lease(step_id) for step_id in prepared.steps}
    unclear = [step_id for step_id, lease in leased.items() if lease is not None and lease.owner.fate() == "unknown"]
    if unclear:
        logger.warning("watching for up to %g s whether the runs that hold %d steps live", STALE_S, len(unclear))
    while unclear:
        for step_id in list(unclear):
            path = store.lease_path(step_id)
            lease = read_lease(path)
            if lease is None or held.watch.has_moved(path, lease) or held.take(path):
                unclear.remove(step_id)
        time.sleep(0.2 if unclear else 0)


def refuse_too_large(prepared: Prepared, jobs: Sequence[Job], capacity: Capacity) -> None:
    """Raise BadInput for a job that can never fit, since it would wait forever."""
    for job in jobs:
        if not capacity.fits(job, ()):
            raise BadInput(
                f"{prepared.sweep.path}: a job takes {job.workers} workers, {job.cpus:g} CPUs and {job.gpus:g} GPUs, "
                f"but there are {capacity.cpus:g} CPUs and {capacity.gpus:g} GPUs; lower resources.workers, or "
                f"set resources.max_cpus and resources.max_gpus to what there is"
            )
