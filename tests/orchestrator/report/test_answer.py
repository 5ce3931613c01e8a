"""The sentence that answers a sweep, against intervals computed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.report.answer import MINUS, Answer, Comparison, answer_of, main_comparison
from orchestrator.spec.sweep import load
from orchestrator.stats.estimates import Estimate
from orchestrator.tables.table import Entry, SeedState
from tests.support.stored_sweep import SWEEP, StoredSweep
from tests.support.stored_tables import finish_all, table_of

ASKED = Comparison(row="ResKD", reference="plain", column="test/top1")


def answer(
    differences: Mapping[int, float],
    *,
    states: Mapping[str, Sequence[SeedState]] | None = None,
    confidence: float = 0.95,
) -> Answer:
    """The answer where these seeds have a difference. states: row -> the state of seed 0, 1, ...; else all are done."""
    states = states or {row: ("done",) * len(differences) for row in ("ResKD", "plain")}
    entries = {}
    for row, of in states.items():
        values = tuple((seed, 50.0) for seed, state in enumerate(of) if state == "done")
        entries[row, "test/top1"] = Entry(
            row=row,
            column="test/top1",
            unit="%",
            estimate=Estimate(values),
            seed_states=tuple(enumerate(of)),
            step_ids=(),
            delta=Estimate(tuple(differences.items()), confidence=confidence) if row == "ResKD" else None,
        )
    return answer_of(ASKED, entries, heading="top-1 (%)")


# t(2) at 97.5 % is 4.3027, t(3) is 3.1824. Differences 4, 6, 8: mean 6, standard deviation 2, so the half-width is
# 4.3027 * 2 / sqrt(3) = 4.97.
def test_a_difference_above_zero_is_named_with_its_interval():
    found = answer({0: 4.0, 1: 6.0, 2: 8.0})
    assert found.verdict == "higher"
    assert found.sentence == "“ResKD” is 6.0 points above “plain” in top-1 (95 % interval 1.0 to 11.0, 3 seeds)."
    assert found.notes == ("Differences in points: seed 0 +4.0, seed 1 +6.0, seed 2 +8.0.",)


def test_a_difference_below_zero_is_named_as_a_loss():
    found = answer({0: -4.0, 1: -6.0, 2: -8.0})
    assert found.verdict == "lower"
    assert (
        found.sentence
        == f"“ResKD” is 6.0 points below “plain” in top-1 (95 % interval {MINUS}11.0 to {MINUS}1.0, 3 seeds)."
    )


def test_an_interval_that_includes_zero_is_not_resolved_however_large_the_mean():
    # Mean 6, standard deviation 6: half-width 4.3027 * 6 / sqrt(3) = 14.9.
    found = answer({0: 0.0, 1: 6.0, 2: 12.0})
    assert found.verdict == "not resolved"
    assert found.sentence == (
        f"Not resolved: “ResKD” differs from “plain” by +6.0 points in top-1, but the 95 % interval {MINUS}8.9 to 20.9 "
        "(3 seeds) includes zero."
    )


def test_a_corrected_interval_decides_where_looks_share_the_error():
    # At 99 %, t(2) is 9.9248: half-width 9.9248 * 2 / sqrt(3) = 11.5, above the mean of 6.
    assert answer({0: 4.0, 1: 6.0, 2: 8.0}, confidence=0.99).verdict == "not resolved"


@pytest.mark.parametrize(
    ("differences", "told"),
    [({0: 40.0}, "1 seed, and an interval needs 3"), ({0: 40.0, 1: 41.0}, "+40.0 and +41.0 points")],
)
def test_fewer_than_three_seeds_are_never_resolved(differences: dict[int, float], told: str):
    found = answer(differences)
    assert found.verdict == "too few seeds"
    assert found.sentence.startswith("Not resolved: ")
    assert told in found.sentence


def test_seeds_that_are_not_done_are_counted():
    states: dict[str, Sequence[SeedState]] = {"plain": ("done",) * 5, "ResKD": ("done",) * 3 + ("running", "waiting")}
    found = answer({0: 4.0, 1: 6.0, 2: 8.0}, states=states)
    assert "3 of 5 seeds so far" in found.sentence


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ({"plain": ("failed", "failed"), "ResKD": ("done", "done")}, "“plain” has no result yet (seed 0 and 1 failed)"),
        (
            {"plain": ("done", "done"), "ResKD": ("running", "waiting")},
            "“ResKD” has no result yet (seed 0 running, seed 1 waiting)",
        ),
        ({"plain": ("done", "missing"), "ResKD": ("missing", "done")}, "have no seed in common"),
    ],
)
def test_without_a_pair_the_sentence_says_what_is_missing(states: dict[str, Sequence[SeedState]], told: str):
    found = answer({}, states=states)
    assert found.verdict == "no answer yet"
    assert told in found.sentence


def test_a_sweep_that_compares_nothing_says_so(tmp_path: Path):
    path = tmp_path / "plain.yaml"
    path.write_text(SWEEP.replace("SEEDS", "[0]").replace("delta_to: baseline,", ""))
    assert main_comparison(load(path)) is None
    assert answer_of(None, {}, heading="").verdict == "no comparison"


def sweep_with(folder: Path, table: str, *, seeds: str = "[0]"):
    path = folder / "sweep.yaml"
    path.write_text(SWEEP.replace("SEEDS", seeds).replace("delta_to: baseline,", f"delta_to: baseline, {table}"))
    return load(path)


def test_the_row_of_the_answer_is_named_or_the_last_one_and_never_the_best(tmp_path: Path):
    assert main_comparison(sweep_with(tmp_path, "")) == Comparison(
        row="pixel-level MSE", reference="baseline", column="test/top1"
    )
    named = main_comparison(sweep_with(tmp_path, "main_row: clip-level KL,"))
    assert named is not None
    assert named.row == "clip-level KL"
    auto = "{auto: {compare: [clip-level KL, pixel-level MSE], column: test/mAP, start: 3, limit: 5}}"
    assert main_comparison(sweep_with(tmp_path, "", seeds=auto)) == Comparison(
        row="clip-level KL", reference="pixel-level MSE", column="test/mAP"
    )


def test_the_entries_of_a_table_give_the_answer(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    finish_all(stored)
    asked = main_comparison(stored.sweep)
    # 94 - 80, 99 - 82, 98 - 78: mean 17, standard deviation 3, half-width 4.3027 * 3 / sqrt(3) = 7.45.
    found = answer_of(asked, table_of(stored).entries, heading="top-1 (%)")
    assert "17.0 points above “baseline” in top-1 (95 % interval 9.5 to 24.5, 3 seeds)" in found.sentence
