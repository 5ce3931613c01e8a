"""A failure as a person meets it: the last lines of its traceback, and who waits for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.store.step_record import last_lines, records_from_store
from tests.support.command_line import call
from tests.support.stored_sweep import StoredSweep

TRACE = (
    "Traceback (most recent call last):\n  File first\n    far away\n  File train.py, line 7\n    go()\nValueError: no"
)


@pytest.fixture
def failed(tmp_path: Path) -> StoredSweep:
    """The teacher of seed 0 has failed, and so has the baseline of seed 1."""
    stored = StoredSweep(tmp_path, seeds=(0, 1))
    stored.steps = prepare(stored.sweep.path, store=stored.store).steps
    for step_id in (stored.teacher_of("pixel-level MSE", 0), stored.id_of("baseline", 1)):
        step = stored.steps[step_id]
        stored.store.record_identity(step_id, full_id=step.full_id, payload=step.payload, recipe={})
        stored.start(step_id)
        stored.store.fail(step_id, {"reason": "ValueError: no", "traceback": TRACE, "epoch": None})
    return stored


def test_status_ends_with_each_failures_last_lines_and_the_steps_that_wait_for_it(
    failed: StoredSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("status", failed.sweep.path, "--store", failed.store.home)
    code, text = call(monkeypatch, capsys, *arguments)
    assert code == 0
    assert text.count("File train.py, line 7") == 2
    assert "far away" not in text
    assert "waiting for it: clip-level KL, seed 0; pixel-level MSE, seed 0" in " ".join(text.split())
    _, text = call(monkeypatch, capsys, *arguments, "--json")
    rows = {row["step"]: row for row in json.loads(text)}
    assert rows[failed.teacher_of("pixel-level MSE", 0)]["waiting"] == [
        "clip-level KL, seed 0",
        "pixel-level MSE, seed 0",
    ]
    assert rows[failed.id_of("baseline", 1)]["waiting"] == []


@pytest.mark.parametrize("source", ["store", "mlflow"])
def test_a_tables_entries_say_why_they_failed_or_what_they_wait_for(
    failed: StoredSweep, source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--store", failed.store.home)
    if source == "mlflow":
        call(monkeypatch, capsys, "publish", failed.sweep.path, *options)
    code, text = call(monkeypatch, capsys, "tables", failed.sweep.path, "--from", source, *options, "--json")
    assert code == 0
    [table] = json.loads(text)
    notes = {entry["row"]: entry["notes"] for entry in table["entries"] if entry["column"] == "test/top1"}
    why = "ValueError: no (File train.py, line 7 | go() | ValueError: no)"
    teacher = failed.teacher_of("pixel-level MSE", 0)
    assert notes == {
        "baseline": [f"baseline, seed 1, failed: {why}"],
        "clip-level KL": [f"clip-level KL, seed 0, waits for its teacher {teacher}, which failed: {why}"],
        "pixel-level MSE": [f"pixel-level MSE, seed 0, waits for its teacher {teacher}, which failed: {why}"],
    }
    assert table["head"].count(f"baseline, seed 1, failed: {why}.") == 1  # once, not once a column


def test_last_lines_of_a_failure_without_a_traceback_are_nothing(failed: StoredSweep) -> None:
    assert last_lines(None) == last_lines("") == ""
    assert len(last_lines("x" * 10_000)) == 300
    assert {record.state for record in records_from_store(failed.store, failed.steps).values()} == {"failed"}
