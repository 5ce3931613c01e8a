"""Results as a DataFrame: the numbers of the records themselves, and what becomes of cells that have none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import orchestrator
from orchestrator.cli.show_results import result_lines
from orchestrator.experiment.results import results
from orchestrator.store.step_record import StepRecord, records_from_store
from orchestrator.tables.published import load_published
from orchestrator.tables.results import FIELDS, results_frame
from reskd.errors import BadInput
from tests.support.command_line import call
from tests.support.stored_sweep import PROTOCOL, SWEEP, StoredSweep
from tests.support.stored_tables import finish_all, table_of


@pytest.fixture
def stored(tmp_path: Path) -> StoredSweep:
    found = StoredSweep(tmp_path)
    finish_all(found)
    return found


def frame_of(stored: StoredSweep) -> pd.DataFrame:
    records = records_from_store(stored.store, stored.steps)
    return results_frame(stored.sweep, steps=stored.steps, records=records, published=load_published())


def test_a_value_is_what_the_steps_own_file_says(stored: StoredSweep) -> None:
    frame = frame_of(stored)
    assert dict(frame.dtypes.astype(str)) == FIELDS
    top1 = frame[frame["metric"] == "test/top1"]
    assert len(top1) == len(stored.sweep.cells)
    for line in top1.itertuples():
        done = json.loads((stored.store.home / "runs" / line.step_id / "DONE.json").read_text())
        assert line.value == pytest.approx(100 * done["metrics"]["test/top1"])
        assert (line.protocol, line.unit, line.state) == (PROTOCOL, "%", "done")
    gmacs = frame[frame["metric"] == "GMACs"].set_index("step_id")["value"]
    for step_id in gmacs.index:
        done = json.loads((stored.store.home / "runs" / step_id / "DONE.json").read_text())
        assert gmacs[step_id] == pytest.approx(done["complexity"]["gmacs"])


def test_means_over_seeds_are_those_of_the_table(stored: StoredSweep) -> None:
    frame = frame_of(stored)
    means = frame[frame["metric"] == "test/top1"].groupby("row")["value"].mean()
    table = table_of(stored)
    assert set(means.index) == set(table.rows)
    for row in table.rows:
        entry = table.entries[row, "test/top1"]
        assert means[row] == pytest.approx(entry.estimate.mean)
        figures = set(frame[(frame["row"] == row) & (frame["metric"] == "test/top1")]["published"].dropna())
        assert figures == (set() if entry.published is None else {entry.published})


def test_a_cell_that_is_not_done_is_there_without_a_value(tmp_path: Path) -> None:
    stored = StoredSweep(tmp_path)
    stored.finish(stored.id_of("baseline", 0), 0.5)
    frame = frame_of(stored)
    asked = {column for spec in stored.sweep.tables.values() for column in spec.columns}
    open_cells = frame[frame["state"] == "missing"]
    assert len(open_cells) == (len(stored.sweep.cells) - 1) * len(asked)
    assert open_cells["value"].isna().all()


def test_a_metric_that_a_table_asks_for_and_a_finished_step_lacks_has_a_row_without_a_value(tmp_path: Path) -> None:
    text = SWEEP.replace("[test/top1,", "[test/top1, test/val-f8-v2x1/top1,")
    assert text != SWEEP
    stored = StoredSweep(tmp_path, text=text)
    finish_all(stored)
    frame = frame_of(stored)
    lacking = frame[frame["metric"] == "test/val-f8-v2x1/top1"]
    assert len(lacking) == len(stored.sweep.cells)
    assert lacking["value"].isna().all()
    assert set(lacking["state"]) == {"done"}
    assert set(lacking["protocol"]) == {"val-f8-v2x1"}
    assert lacking["num_clips"].isna().all(), "the clips of the step's own protocol are not of this one"


def test_cells_that_are_not_done_say_why_and_a_stale_one_is_none_that_is_missing(tmp_path: Path) -> None:
    before = StoredSweep(tmp_path / "before")
    finish_all(before)
    records = records_from_store(before.store, before.steps)
    text = SWEEP.replace("kd.level: clip}", "kd.level: clip, kd.temperature: 3.0}")
    after = StoredSweep(tmp_path / "after", text=text)
    lost, failed = before.id_of("pixel-level MSE", 0), before.id_of("pixel-level MSE", 1)
    teacher = StepRecord(
        step_id=before.teacher_of("clip-level KL", 2), state="failed", cells=(), data_name="demo", note="x"
    )
    del records[lost], records[before.id_of("pixel-level MSE", 2)]
    records |= {failed: replace(records[failed], state="failed", metrics={}), teacher.step_id: teacher}
    frame = results_frame(after.sweep, steps=after.steps, records=records, published=load_published())
    states = frame[frame["metric"] == "test/top1"].groupby("row")["state"].agg(list).to_dict()
    assert states == {
        "baseline": ["done"] * 3,
        "clip-level KL": ["stale", "stale", "teacher failed"],
        "pixel-level MSE": ["missing", "failed", "teacher failed"],
    }


def test_a_metric_that_is_no_column_is_there_as_it_was_recorded(stored: StoredSweep) -> None:
    records = records_from_store(stored.store, stored.steps)
    step_id = stored.id_of("baseline", 0)
    metrics = {**records[step_id].metrics, "test/frames_used": 2.5}
    records[step_id] = replace(records[step_id], metrics=metrics)
    frame = results_frame(stored.sweep, steps=stored.steps, records=records, published=load_published())
    (line,) = frame[frame["metric"] == "test/frames_used"].itertuples()
    assert (line.step_id, line.value, line.unit, line.protocol) == (step_id, 2.5, "", PROTOCOL)


@pytest.mark.parametrize(
    ("data", "published"),
    [("activitynet", "80.0"), ("mini_kinetics", "80.0 (ActivityNet mAP)"), ("fcvid", "80.0 (ActivityNet mAP)")],
)
def test_a_published_figure_of_another_data_set_has_its_name_on_a_terminal_too(
    tmp_path: Path, data: str, published: str
) -> None:
    """Table 4's figures are ActivityNet's: an mAP of 80.0 and 17.4 GMACs at 112 pixels."""
    text = SWEEP.replace("name: demo", f"name: {data}").replace("published: table5,", "published: table4,")
    text = text.replace("columns: [test/top1,", 'published_rows: {baseline: "112"}, columns: [test/mAP,')
    stored = StoredSweep(tmp_path, text=text)
    stored.finish(stored.id_of("baseline", 0), 0.5)
    lines = list(result_lines(frame_of(stored), width=160))
    shown = {line.split()[2]: line for line in lines if line.startswith("baseline  ") and line.split()[1] == "0"}
    assert shown["test/mAP"].endswith(f"  {published.replace('80.0', '80')}")
    assert shown["GMACs"].endswith(f"  {published.replace('80.0', '17.4').replace('mAP', 'GMACs')}")


@pytest.mark.parametrize("width", [56, 80, 160])
def test_lines_on_a_terminal_fit_and_below_them_stands_what_is_left_out(tmp_path: Path, width: int) -> None:
    name = "every level there is with and without the clips of the rare classes"
    stored = StoredSweep(tmp_path, text=SWEEP.replace("pixel-level MSE", name))
    stored.finish(stored.id_of(name, 0), 0.5)
    lines = list(result_lines(frame_of(stored), width=width))
    assert max(map(len, lines)) <= width
    headings = lines[0].split()
    assert headings[:4] == ["row", "seed", "metric", "value"]
    assert any("test/top1" in line and "  50" in line for line in lines)
    whole = any(line.startswith(name) for line in lines)
    missing = [*({"unit", "state", "published"} - set(headings)), *(() if whole else ("ends of row names",))]
    assert whole == (width == 160)
    below = " ".join(lines[1 + len(frame_of(stored)) :])
    assert below.startswith("left out: ") == bool(missing)
    assert all(what in below for what in missing)


def test_the_command_writes_what_the_public_function_gives(
    stored: StoredSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (stored.sweep.path, "--store", stored.store.home)
    files = ("--csv", tmp_path / "a.csv", "--parquet", tmp_path / "a.parquet")
    code, text = call(monkeypatch, capsys, "results", *where, *files)
    assert code == 0, text
    assert orchestrator.results is results
    frame = results(stored.sweep.path, store=stored.store.home)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), frame)
    csv = pd.read_csv(tmp_path / "a.csv")
    assert list(csv.columns) == list(FIELDS)
    assert csv["value"].tolist() == pytest.approx(frame["value"].tolist(), nan_ok=True)
    code, text = call(monkeypatch, capsys, "results", *where)
    assert code == 0
    assert "baseline" in text
    with pytest.raises(BadInput, match="neither mlflow nor store"):
        results(stored.sweep.path, source="ray", store=stored.store.home)
