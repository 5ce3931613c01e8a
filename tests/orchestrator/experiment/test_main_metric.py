"""What a sweep is about: the cost plot, its figure, the saved views and the registry all take the same metric."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.sweep_figures import write_sweep_figures
from orchestrator.spec.columns import COLUMNS
from orchestrator.store.step_record import records_from_store
from orchestrator.tracking.registry import choose_models
from orchestrator.tracking.saved_views import RESULTS, view_tag, view_tags
from tests.support.stored_sweep import SWEEP, StoredSweep
from tests.support.stored_tables import VALUES, finish_all, table_of

BEFORE = "  teachers: {rows: row, columns: [test/agreement]}\n"
"""A table with no accuracy, above the one with the agreement and an accuracy."""


@pytest.fixture
def stored(tmp_path: Path) -> StoredSweep:
    text = SWEEP.replace("[test/top1,", "[test/agreement, test/top1,").replace("tables:\n", f"tables:\n{BEFORE}")
    found = StoredSweep(tmp_path, text=text)
    finish_all(found)
    return found


def order_of(stored: StoredSweep) -> tuple[str, bool]:
    """The metric that the first saved view is sorted by, and whether upwards."""
    view = json.loads(json.loads(view_tags(stored.sweep)[view_tag(RESULTS)])["state"])
    return view["orderByKey"], view["orderByAsc"]


def students(stored: StoredSweep) -> set[str]:
    """Rows whose steps go into the registry."""
    chosen = choose_models(stored.sweep, stored.steps, records_from_store(stored.store, stored.steps))
    found = {entered.step_id for entered in chosen if "-student-" in entered.name}
    return {row for row in VALUES if {stored.id_of(row, seed) for seed in stored.sweep.seeds} <= found}


def test_the_agreement_with_a_teacher_is_passed_over_everywhere(stored: StoredSweep, tmp_path: Path) -> None:
    plot = table_of(stored).plot
    assert plot is not None
    assert plot.heading == "top-1 (%)"
    prepared = Prepared(stored.sweep, stored.store, stored.steps, {})
    (path,) = write_sweep_figures(prepared, "accuracy_vs_gmacs", tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert order_of(stored) == ("metrics.`test/top1`", False)
    assert students(stored) == {"pixel-level MSE"}  # the best mean of the two that are taught


def test_where_lower_is_better_the_lowest_is_first(stored: StoredSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COLUMNS, "test/top1", replace(COLUMNS["test/top1"], higher_is_better=False))
    assert order_of(stored) == ("metrics.`test/top1`", True)
    assert students(stored) == {"clip-level KL"}
