"""Which steps a run leases before it trains: its own, and those of a run whose machine is gone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.lease import Leases
from orchestrator.owner import Owner
from orchestrator.prepare import Prepared, prepare
from orchestrator.run import _take
from orchestrator.store import Store
from reskd.errors import BadInput
from tests.test_cli import SWEEP

FAR_AWAY = replace(Owner.this_process(), id="far-away", host="far-away", space="another machine")


@pytest.fixture
def prepared(tmp_path: Path, demo_root: Path) -> Prepared:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP.replace("ROOT", str(demo_root)))
    return prepare(path, store=Store(tmp_path / "store"))


def members(prepared: Prepared, held: Leases) -> set[str]:
    return {step_id for job in _take(prepared, held, retry_failed=False) for step_id in job.members}


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
        _take(large, held, retry_failed=False)
    held.release()
