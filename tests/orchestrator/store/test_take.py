"""Which steps a run leases before it trains: its own, and those of a run whose machine is gone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment.bound_sweep import Prepared, check_before_start, prepare
from orchestrator.plan.plan import make_plan
from orchestrator.run.controller import Outcome
from orchestrator.run.lanes.job_config import job_config
from orchestrator.run.take_steps import take_steps
from orchestrator.spec.steps import StepStatus
from orchestrator.store.lease import Leases
from orchestrator.store.lease_owner import Owner
from orchestrator.store.store import Store
from reskd.errors import BadInput
from tests.support.sweeps import TWO_ROWS

FAR_AWAY = replace(Owner.this_process(), id="far-away", host="far-away", space="another machine")


@pytest.fixture
def prepared(tmp_path: Path, demo_root: Path) -> Prepared:
    path = tmp_path / "small.yaml"
    path.write_text(TWO_ROWS.replace("ROOT", str(demo_root)))
    return prepare(path, store=Store(tmp_path / "store"))


def members(prepared: Prepared, held: Leases) -> set[str]:
    return {step_id for job in take_steps(prepared, held, retry_failed=False).jobs for step_id in job.members}


def test_every_step_that_is_missing_is_leased_and_recorded(prepared: Prepared) -> None:
    held = Leases()
    assert members(prepared, held) == set(prepared.steps)
    for step_id, step in prepared.steps.items():
        assert str(prepared.store.lease(step_id)) == str(held.owner)
        assert (prepared.store.identity(step_id) or {})["full_id"] == step.full_id
    held.release()


def test_steps_of_a_run_that_lives_on_another_machine_are_left_to_it(prepared: Prepared) -> None:
    other = Leases(FAR_AWAY, beat_s=0.1)
    theirs = next(step.id for step in prepared.steps.values() if step.cells)
    other.take(prepared.store.lease_path(theirs))
    held = Leases(stale_s=5)
    started = time.monotonic()
    assert members(prepared, held) == set(prepared.steps) - {theirs}
    assert time.monotonic() - started < 4, "a beating lease need not be watched until it would be stale"
    held.release()
    other.release()


def test_steps_of_a_run_whose_machine_is_gone_are_taken_over(prepared: Prepared) -> None:
    dead = Leases(FAR_AWAY, beat_s=1000)
    for step_id in prepared.steps:
        dead.take(prepared.store.lease_path(step_id))
    held = Leases(stale_s=0.5)
    assert members(prepared, held) == set(prepared.steps)
    assert {str(prepared.store.lease(step_id)) for step_id in prepared.steps} == {str(held.owner)}
    held.release()


def test_a_job_larger_than_the_machine_is_refused(prepared: Prepared) -> None:
    small = replace(prepared.sweep.resources, workers=2, max_cpus=1.0)
    large = replace(prepared, sweep=replace(prepared.sweep, resources=small))
    held = Leases()
    with pytest.raises(BadInput, match="2 workers"):
        take_steps(large, held, retry_failed=False)
    held.release()


def test_a_retried_step_is_no_longer_failed(prepared: Prepared) -> None:
    failed = next(step_id for step_id, step in prepared.steps.items() if not step.recipe.has_teacher)
    prepared.store.fail(failed, {"reason": "x", "traceback": ""})
    held = Leases()
    assert failed not in members(prepared, held)
    jobs = take_steps(prepared, held, retry_failed=True).jobs
    assert failed in {step_id for job in jobs for step_id in job.members}
    assert prepared.store.failure(failed) is None
    held.release()


def test_networks_are_compared_before_anything_starts(prepared: Prepared) -> None:
    path = prepared.sweep.path
    path.write_text(path.read_text().replace("tsn_mini18", "tsn_resnet18"))
    with pytest.raises(BadInput, match=r"small.yaml: row 'pixel': .* 512"):
        check_before_start(prepare(path, store=prepared.store))


def test_a_step_goes_on_with_the_workers_it_began_with(prepared: Prepared) -> None:
    step = next(step for step in prepared.steps.values() if not step.recipe.has_teacher)
    status = {step.id: StepStatus(epochs=(1,), workers=2)}
    jobs = make_plan(prepared.sweep, prepared.steps, status).jobs
    resumed = next(job for job in jobs if step.id in job.members)
    config = job_config(
        resumed,
        label="seed 0",
        steps=prepared.steps,
        store=prepared.store,
        owner_id="me",
        resources=prepared.sweep.resources,
        manifest=prepared.manifest_reference(step),
        provenance={},
    )
    assert config.num_workers == 2
    assert [member.step_id for member in config.members] == list(resumed.members)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ({}, 0),
        ({"failed": ("a",), "unfinished": ("b",)}, 1),
        ({"given_up": {"a": "lost"}, "unfinished": ("a",)}, 1),
        ({"unfinished": ("b",), "held": {"b": "held"}}, 3),
        ({"interrupted": True, "failed": ("a",)}, 3),
    ],
)
def test_exit_codes_tell_how_a_run_ended(ended: dict[str, Any], code: int) -> None:
    plain = Outcome(num_done=1, failed=(), unfinished=(), held={}, given_up={}, interrupted=False, log=None, wall_s=1.0)
    assert replace(plain, **ended).exit_code == code
