"""`reskd bench import`: a file of measurements into the store, MLflow and Table 4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.store.imported_speeds import BENCH, keep_bench, read_bench, read_bench_file
from orchestrator.store.store import Store
from orchestrator.tables.build import build_table
from orchestrator.tables.check import findings
from orchestrator.tables.published import load_published
from orchestrator.tables.results import results_frame
from orchestrator.tables.write_files import table_csv, table_markdown
from reskd.errors import BadInput
from reskd.throughput.__main__ import main as measure
from tests.support.command_line import call
from tests.support.stored_sweep import SWEEP, StoredSweep

TEXT = SWEEP.replace("[test/top1, GMACs, clips/s], delta_to: baseline,", "[GMACs, bench/clips/s],").replace(
    ", plot: accuracy_vs_gmacs", ""
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real file, of the network, frames and one of the resolutions of the sweep below."""
    file = tmp_path_factory.mktemp("measured") / "speed.json"
    what = ["--model", "tsn_mini10", "--classes", "6", "--frames", "4", "--resolutions", "24", "32"]
    how = ["--batch", "2", "--max-batch", "0", "--seconds", "0.2", "--device", "cpu", "--paths", "fp32", "tuned-eager"]
    measure([*what, *how, "--json", str(file)])
    return file


def test_an_import_is_a_record_and_one_mlflow_run_a_path_however_often_it_is_typed(
    tmp_path, measured, monkeypatch, capsys
):
    for new in (2, 0):
        code, text = call(monkeypatch, capsys, "bench", "import", measured, "--store", tmp_path)
        assert code == 0
        assert f"MLflow: {new} new runs" in text
    (record,) = (tmp_path / "bench").iterdir()
    content = json.loads(measured.read_text())
    assert json.loads(record.read_text()) == content
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("throughput")
    assert experiment is not None
    runs = {run.data.params["path"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"fp32", "tuned-eager"}
    assert runs["fp32"].data.params["device"] == content["device"]
    plain = next(one for one in content["results"] if (one["path"], one["resolution"]) == ("fp32", 24))
    assert runs["fp32"].data.metrics["clips_per_s/24px/batch_2"] == plain["clips_per_s"]


def test_a_table_shows_the_fastest_measurement_of_its_network_and_names_the_device(tmp_path, measured):
    stored = StoredSweep(tmp_path, text=TEXT)
    _, content = read_bench_file(measured)
    keep_bench(stored.store, content)
    table = _table(stored)
    fastest = max(one["clips_per_s"] for one in content["results"] if one["resolution"] == 24)
    assert table.entries["baseline", BENCH].estimate.values == (fastest,)
    (said,) = [sentence for sentence in table.head if sentence.startswith("clips/s, measured alone")]
    assert content["device"] in said
    assert "batch 2" in said
    assert "clips/s, measured alone" in table_markdown(table)
    assert str(fastest) in table_csv(table)


def test_every_cell_of_a_measured_network_has_the_speed_among_the_results(tmp_path, measured):
    stored = StoredSweep(tmp_path, text=TEXT)
    _, content = read_bench_file(measured)
    keep_bench(stored.store, content)
    fastest = max(one["clips_per_s"] for one in content["results"] if one["resolution"] == 24)
    frame = results_frame(
        stored.sweep, steps=stored.steps, records={}, published=load_published(), bench=read_bench(stored.store)
    )
    speeds = frame[frame["metric"] == BENCH]
    assert len(speeds) == len(stored.sweep.cells)
    assert set(zip(speeds["value"], speeds["device"], strict=True)) == {(fastest, content["device"])}


@pytest.mark.parametrize("change", [{"model": "tsn_mini18"}, {"num_frames": 8}])
def test_a_measurement_of_another_network_or_clip_is_never_shown(tmp_path, measured, change):
    stored = StoredSweep(tmp_path, text=TEXT)
    keep_bench(stored.store, {**json.loads(measured.read_text()), **change})
    table = _table(stored)
    assert table.entries["baseline", BENCH].text == "not measured"
    assert any("nothing imported fits" in sentence for sentence in table.head)


def test_what_was_not_imported_is_nothing_that_a_check_misses(tmp_path):
    stored = StoredSweep(tmp_path, text=TEXT.replace("[GMACs, bench/clips/s]", "[bench/clips/s]"))
    tables = [_table(stored)]
    asked = dict.fromkeys(stored.sweep.rows, "val-f4-v1x1")
    found = list(findings(tables, stored.sweep.tables, {}, tmp_path, asked=asked))
    assert found == []


def test_of_two_files_the_newest_counts(tmp_path, measured):
    store = Store(tmp_path)
    content = json.loads(measured.read_text())
    for created, device in (("2026-01-02T00:00:00Z", "new"), ("2026-01-01T00:00:00Z", "old")):
        keep_bench(store, {**content, "created": created, "device": device})
    assert [file.device for file in read_bench(store)] == ["new", "old"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content | {"format": "reskd.throughput/0"}, "'format' is 'reskd.throughput/0'"),
        (lambda content: {"clips": 1}, "'format' is None"),
        (lambda content: [content], "'format' is None"),
        (lambda content: content | {"num_frames": "16"}, "'num_frames' must be a whole number, got '16'"),
        (lambda content: content | {"colour": "red"}, "'colour' is not a field"),
        (lambda content: {key: value for key, value in content.items() if key != "device"}, "'device' is missing"),
        (lambda content: content | {"results": []}, "'results' is empty"),
        (lambda content: content | {"results": [content["results"][0] | {"clips_per_s": -1.0}]}, "must be positive"),
        (lambda content: content | {"results": [{"path": "fp32"}]}, "is missing"),
    ],
)
def test_a_wrong_file_is_refused_by_its_name_and_field(tmp_path, measured, damage, words):
    file = tmp_path / "bad.json"
    content: Any = damage(json.loads(measured.read_text()))
    file.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"bad\.json") as refused:
        read_bench_file(file)
    assert words in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_a_torn_file_is_refused(tmp_path, text):
    file = tmp_path / "torn.json"
    file.write_text(text)
    with pytest.raises(BadInput, match=r"torn\.json: not valid JSON"):
        read_bench_file(file)


def test_a_file_that_is_not_there_is_named(monkeypatch, capsys, tmp_path):
    code, text = call(monkeypatch, capsys, "bench", "import", tmp_path / "none.json", "--store", tmp_path)
    assert (code, "none.json" in text) == (2, True)


def _table(stored: StoredSweep) -> Any:
    (key, spec), *_ = stored.sweep.tables.items()
    return build_table(
        key,
        spec,
        sweep=stored.sweep,
        steps=stored.steps,
        records={},
        published=load_published(),
        bench=read_bench(stored.store),
    )
