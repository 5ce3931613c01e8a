"""What a page says about steps, from their records in the store."""

from __future__ import annotations

from pathlib import Path

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.sweep_tables import waiting_steps
from orchestrator.report.read_steps import damage_of, origin_of, read_facts, trouble_of
from orchestrator.store.lease import leases
from orchestrator.store.step_record import records_from_store
from tests.support.stored_sweep import StoredSweep


def facts_of(stored: StoredSweep, known=None):
    return read_facts(stored.store, stored.steps, records_from_store(stored.store, stored.steps), known=known)


def test_a_damaged_clip_is_listed_once_with_the_number_of_steps_that_met_it(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0, 1))
    stored.finish(stored.id_of("baseline", 0), 0.8, damaged=("b.mp4", "a.mp4"))
    stored.finish(stored.id_of("baseline", 1), 0.8, damaged=("b.mp4",))
    found = [(clip.path, clip.num_steps, clip.reason) for clip in damage_of(facts_of(stored).values())]
    assert found == [("a.mp4", 1, "no frames"), ("b.mp4", 2, "no frames")]


def test_steps_of_two_versions_are_told_apart(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0, 1, 2))
    for seed in (0, 1, 2):
        stored.finish(stored.id_of("baseline", seed), 0.8)
    step_id = stored.id_of("baseline", 2)
    stored.store._write(step_id, "DONE.json", stored.store.done(step_id) | {"commit": "fedc"})
    told = dict(origin_of(facts_of(stored).values()))
    assert told["code (commit)"] == "0123abcd (2 steps); fedc (1 step)"
    assert told["host"] == "here"


def test_failures_come_before_steps_that_were_stopped_on_purpose(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    pruned, failed = stored.id_of("baseline", 0), stored.id_of("clip-level KL", 0)
    for step_id in (pruned, failed):
        stored.start(step_id)
    stored.store.prune(pruned, {"reason": "stopped early at epoch 1", "epoch": 1})
    stored.fail(failed)
    found = trouble_of(facts_of(stored).values(), stored.steps)
    assert [(one.name, one.state) for one in found] == [
        ("clip-level KL, seed 0", "failed"),
        ("baseline, seed 0", "stopped early"),
    ]


def test_facts_of_a_done_step_are_read_once_unless_it_is_evaluated_again(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    step_id = stored.id_of("baseline", 0)
    stored.finish(step_id, 0.8)
    first = facts_of(stored)
    assert facts_of(stored, first)[step_id] is first[step_id]
    stored.evaluate(step_id, "val-f4-v10x3", 0.9)
    again = facts_of(stored, first)[step_id]
    assert again.record.metrics["test/val-f4-v10x3/top1"] == 0.9


def test_a_step_waits_if_a_run_holds_it_and_has_not_begun_it(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    prepared = Prepared(stored.sweep, stored.store, stored.steps, {})
    begun, ahead = stored.id_of("baseline", 0), stored.id_of("clip-level KL", 0)
    with leases() as held:
        assert all(held.take(stored.store.lease_path(step_id)) for step_id in (begun, ahead))
        stored.start(begun)
        assert waiting_steps(prepared, records_from_store(stored.store, stored.steps)) == {ahead}
    assert waiting_steps(prepared, records_from_store(stored.store, stored.steps)) == set()
