"""`reskd tables --check`: what it finds, its exit code, and which expectations a sweep may state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.spec.sweep import load
from orchestrator.tables.columns import check_tables
from orchestrator.tables.published import load_published
from reskd.errors import BadInput
from tests.support.command_line import call
from tests.support.stored_sweep import SWEEP, StoredSweep

EXPECT = """
           expect: {row: {GMACs: {low: .05, high: .1}},
                    pixel-level MSE: {test/top1: {low: 90, delta_low: 5, delta_high: 30}}},"""


def stored_sweep(folder: Path, expect: str = EXPECT) -> StoredSweep:
    stored = StoredSweep(folder, text=SWEEP.replace("delta_to: baseline,", f"delta_to: baseline,{expect}"))
    stored.steps = prepare(stored.sweep.path, store=stored.store).steps
    for row, values in (("baseline", (0.80, 0.82, 0.78)), ("clip-level KL", (0.81, 0.85, 0.83))):
        for seed, value in enumerate(values):
            stored.finish(stored.id_of(row, seed), value)
    return stored


def finish_pixel(stored: StoredSweep, *values: float) -> None:
    for seed, value in enumerate(values):
        stored.finish(stored.id_of("pixel-level MSE", seed), value)


def tables(
    stored: StoredSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, list[str]]:
    code, text = call(
        monkeypatch, capsys, "tables", stored.sweep.path, "--store", stored.store.home, "--from", "store", *options
    )
    return code, text.splitlines()


def built_and_checked(
    stored: StoredSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, list[str]]:
    """What `--check` finds just after the tables were built. ``options``: those of the check alone."""
    tables(stored, monkeypatch, capsys)
    return tables(stored, monkeypatch, capsys, "--check", *options)


def test_the_folder_of_a_changed_sweep_says_inside_what_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = stored_sweep(tmp_path)
    finish_pixel(stored, 0.94, 0.99, 0.98)
    code, lines = tables(stored, monkeypatch, capsys, "--set", "seeds=[0, 1]")
    (folder,) = (Path(line.removeprefix("tables: ")) for line in lines if line.startswith("tables: "))
    assert (code, folder.parent) == (0, stored.store.home / "tables")
    assert (folder / "sweep.txt").read_text() == "levels+seeds=[0, 1]\n"
    assert tables(stored, monkeypatch, capsys, "--set", "seeds=[0, 1]", "--check")[1][-1].startswith("1 tables: up")
    assert not (stored.store.tables("levels") / "sweep.txt").exists()


@pytest.mark.parametrize("source", ["store", "mlflow"])
def test_a_sweep_that_was_never_run_has_no_tables_and_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    sweep, store = stored_sweep(tmp_path).sweep.path, tmp_path / "another_store"
    options = ("tables", sweep, "--store", store, "--from", source)
    code, text = call(monkeypatch, capsys, *options)
    assert (code, text.count("\n"), f"reskd run {sweep}" in text) == (1, 1, True)
    assert not (store / "tables").exists()
    assert call(monkeypatch, capsys, *options, "--check")[0] == 1


def test_a_table_that_is_complete_up_to_date_and_as_expected_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = stored_sweep(tmp_path)
    finish_pixel(stored, 0.94, 0.99, 0.98)
    assert tables(stored, monkeypatch, capsys)[0] == 0
    assert tables(stored, monkeypatch, capsys, "--check") == (0, ["1 tables: up to date, complete and as expected"])


def test_a_table_that_was_never_built_or_whose_runs_have_changed_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = stored_sweep(tmp_path)
    finish_pixel(stored, 0.94, 0.99, 0.98)
    code, found = tables(stored, monkeypatch, capsys, "--check")
    assert code == 1
    folder = stored.store.tables("levels")
    assert f"{folder / 'table5.md'}: stale, it was never built; run `reskd tables`" in found
    assert not folder.exists(), "a check wrote something"
    tables(stored, monkeypatch, capsys)
    before = (folder / "table5.md").read_bytes()
    (folder / "table5.md").write_bytes(before.replace(b"97.0", b"99.9"))
    code, found = tables(stored, monkeypatch, capsys, "--check")
    assert (code, found) == (
        1,
        [f"{folder / 'table5.md'}: stale, it differs from what would be built now; run `reskd tables`"],
    )


def test_a_missing_cell_is_one_line_with_its_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = stored_sweep(tmp_path)
    finish_pixel(stored, 0.94)
    code, found = built_and_checked(stored, monkeypatch, capsys)
    expected = "table5: pixel-level MSE, test/top1, GMACs, clips/s: missing, seed 1 missing, seed 2 missing"
    assert (code, found) == (1, [expected])


def test_a_mean_a_difference_or_a_cost_outside_what_is_stated_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = stored_sweep(tmp_path, EXPECT.replace("high: .1", "high: .06"))
    finish_pixel(stored, 0.84, 0.85, 0.83)
    code, found = built_and_checked(stored, monkeypatch, capsys)
    assert code == 1
    assert found == [
        "table5: baseline, GMACs: mean 0.0625 is above 0.06, the most that is expected",
        "table5: clip-level KL, GMACs: mean 0.0625 is above 0.06, the most that is expected",
        "table5: pixel-level MSE, test/top1: mean 84.0 is below 90, the least that is expected",
        "table5: pixel-level MSE, test/top1: difference to baseline 4.0 is below 5, the least that is expected",
        "table5: pixel-level MSE, GMACs: mean 0.0625 is above 0.06, the most that is expected",
    ]


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("within: 2", ["mean 75.5 is 3.0 from the published 78.5; at most 2.0 % is expected"]),
        ("within_percent: 4", []),
        pytest.param("within: 6", [], marks=pytest.mark.slow),
        pytest.param(
            "within_percent: 3",
            ["mean 75.5 is 3.0 from the published 78.5; at most 3.0 % of it is expected"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mean_is_held_against_the_published_figure_of_the_same_data_set(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    expected: str,
    found: list[str],
) -> None:
    text = SWEEP.replace("name: demo", "name: activitynet").replace("test/top1,", "test/mAP,")
    text = text.replace("rows: row,", f"rows: [pixel-level MSE], expect: {{row: {{test/mAP: {{{expected}}}}}}},")
    stored = StoredSweep(tmp_path, text=text.replace("delta_to: baseline,", ""))
    monkeypatch.setenv("RESKD_DATA", str(tmp_path / "none"))
    stored.steps = prepare(stored.sweep.path, store=stored.store).steps
    finish_pixel(stored, 0.755, 0.755, 0.755)
    code, lines = built_and_checked(stored, monkeypatch, capsys)
    assert [line.removeprefix("table5: pixel-level MSE, test/mAP: ") for line in lines if "mean" in line] == found
    assert code == bool(found)


def test_a_value_by_another_protocol_than_the_sweep_asks_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = stored_sweep(tmp_path, "")
    finish_pixel(stored, 0.9, 0.9, 0.9)
    views = ("--set", "eval.views=10x3")  # no part of a step's identity
    code, found = built_and_checked(stored, monkeypatch, capsys, *views)
    asked = "but the sweep asks for val-f4-v10x3; test it so with `reskd eval`, for a column test/val-f4-v10x3/<metric>"
    rows = ("baseline", "clip-level KL", "pixel-level MSE")
    assert code == 1
    assert [line for line in found if "stale" not in line] == [
        f"table5: {row}, test/top1: by the protocol val-f4-v1x1, {asked}" for row in rows
    ]


def test_values_by_several_protocols_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = stored_sweep(tmp_path, "")
    finish_pixel(stored, 0.9, 0.9, 0.9)
    step_id = stored.id_of("pixel-level MSE", 1)
    record = {**(stored.store.done(step_id) or {}), "protocol": "val-f4-v2x3"}
    stored.evaluate(step_id, "val-f4-v2x3", 0.9)
    stored.store.blobs.write(f"runs/{step_id}/DONE.json", json.dumps(record).encode())
    code, found = built_and_checked(stored, monkeypatch, capsys)
    assert code == 1
    start = "table5: pixel-level MSE, test/top1: by the protocol val-f4-v1x1 and val-f4-v2x3, but the sweep asks"
    assert [line.startswith(start) for line in found] == [True]


def test_the_published_figure_of_another_task_is_no_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = stored_sweep(tmp_path, " expect: {baseline: {test/top1: {within: 50}}},")
    finish_pixel(stored, 0.9, 0.9, 0.9)
    code, found = built_and_checked(stored, monkeypatch, capsys)
    assert code == 1
    assert "does not compare" in found[0]


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        (
            "{basline: {GMACs: {low: 1}}}",
            "'tables.table5.expect' names 'basline', which is not a row of it; did you mean",
        ),
        ("{baseline: {test/top5: {low: 1}}}", "'tables.table5.expect.baseline.test/top5': not a column of the table"),
        ("{baseline: {GMACs: {}}}", "an expectation is empty; give it one or more of low, high"),
        ("{baseline: {GMACs: {low: 2, high: 1}}}", "'low' must not be above its 'high', got 2 and 1"),
        ("{baseline: {GMACs: {within: 0}}}", "'within' must be positive, got 0"),
        ("{baseline: {GMACs: {lower: 1}}}", "did you mean 'tables.table5.expect.baseline.GMACs.low'?"),
        ("{baseline: {GMACs: {low: high}}}", "'tables.table5.expect.baseline.GMACs.low' must be a number, got 'high'"),
        ("{baseline: {test/top1: {delta_low: 1}}}", "has no difference to expect: it needs 'tables.table5.delta_to'"),
        ("{pixel-level MSE: {GMACs: {delta_low: 1}}}", "has no difference to expect"),
    ],
)
def test_an_expectation_that_could_never_be_met_or_missed_is_refused_at_load(
    tmp_path: Path, expect: str, message: str
) -> None:
    path = tmp_path / "levels.yaml"
    text = SWEEP.replace("SEEDS", "[0]").replace("delta_to: baseline,", f"delta_to: baseline, expect: {expect},")
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load(path)
    assert message in str(caught.value)


def test_an_expectation_about_a_figure_that_nobody_published_is_refused(tmp_path: Path) -> None:
    text = SWEEP.replace("delta_to: baseline,", "delta_to: baseline, expect: {baseline: {GMACs: {within_percent: 1}}},")
    stored = StoredSweep(tmp_path, text=text)
    with pytest.raises(BadInput, match=r"'tables\.table5\.expect\.baseline\.GMACs' is about a published figure"):
        check_tables(stored.sweep, load_published())


def test_an_address_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = tables(stored_sweep(tmp_path), monkeypatch, capsys, "--links", "localhost")
    assert code == 2
    assert "--links: 'localhost' is no address of a web server" in lines[-1]


def test_two_files_of_one_name_are_refused_before_they_write_over_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (StoredSweep(tmp_path / folder, name="levels") for folder in ("one", "two"))
    code, text = call(monkeypatch, capsys, "tables", one.sweep.path, other.sweep.path, "--store", one.store.home)
    assert code == 2
    assert "are both the sweep 'levels'" in text
    assert not one.store.tables("levels").exists()


def test_what_mlflow_says_otherwise_than_the_store_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = StoredSweep(tmp_path, seeds=(0,))
    stored.steps = prepare(stored.sweep.path, store=stored.store).steps
    stored.finish(stored.id_of("baseline", 0), 0.5)
    code, text = call(monkeypatch, capsys, "tables", stored.sweep.path, "--store", stored.store.home, "--check")
    assert code == 1
    assert "MLflow: baseline, seed 0: it has no run; `reskd publish` writes it" in text.splitlines()
