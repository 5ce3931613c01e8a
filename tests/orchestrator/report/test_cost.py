"""Measured and estimated cost of jobs, with figures that a person can check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.plan.cost_inputs import Asked, costs_of
from orchestrator.report.cost import JobCost, cost_lines, job_costs
from orchestrator.report.timeline import StepTimes, bars_of
from tests.support.stored_sweep import StoredSweep


def times_of(stored: StoredSweep, row: str, *, device_s: float | None) -> StepTimes:
    """A step of a job of two workers that is done."""
    return StepTimes(
        step_id=stored.id_of(row, 0),
        name=row,
        seed=0,
        state="done",
        teacher_id=None,
        host="here",
        device="Testing CPU",
        workers=2,
        started_ms=0,
        epochs_ms=(),
        ended_ms=1,
        epoch=2,
        num_epochs=2,
        device_s=device_s,
    )


def test_a_jobs_time_is_that_of_its_members_together_beside_its_estimate_without_the_start(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    steps = stored.steps
    resources = replace(stored.sweep.resources, workers=2, cpus_per_worker=3.0)
    costs = costs_of(resources, steps, {}, asked=Asked(device="cpu"))
    bars = bars_of([times_of(stored, row, device_s=1800.0) for row in ("baseline", "clip-level KL")])
    (found,) = job_costs(bars, steps=steps, resources=resources, costs_for=lambda device: costs).values()
    # Two members of 1800 worker-seconds each, on two workers: 1800 seconds. Two workers hold three cores each.
    assert (found.measured_s, found.num_devices, found.device_hours) == (1800.0, 6.0, 3.0)
    planned = costs.job([steps[step_id] for step_id in bars[0].step_ids], workers=2, resources=resources)
    assert found.estimated_s == pytest.approx(planned.seconds - costs.profile.start_s)
    assert found.ratio == pytest.approx(1800.0 / found.estimated_s)


def test_a_job_of_which_a_member_has_no_time_on_record_is_not_counted(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    bars = bars_of([times_of(stored, "baseline", device_s=9.0), times_of(stored, "clip-level KL", device_s=None)])
    resources = stored.sweep.resources
    assert job_costs(bars, steps=stored.steps, resources=resources, costs_for=lambda device: None) == {}


def test_hours_of_cores_and_of_gpus_are_never_added_up():
    jobs = {
        1: JobCost(measured_s=3600, estimated_s=7200, num_devices=2, unit="core-hours"),
        2: JobCost(measured_s=1800, estimated_s=1800, num_devices=2, unit="core-hours"),
        3: JobCost(measured_s=3600, estimated_s=None, num_devices=8, unit="GPU-hours"),
    }
    lines = [(line.unit, line.num_jobs, line.measured_hours, line.estimated_hours) for line in cost_lines(jobs)]
    assert lines == [("core-hours", 2, 3.0, 5.0), ("GPU-hours", 1, 8.0, None)]
