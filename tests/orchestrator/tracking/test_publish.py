"""MLflow as a projection of the store: a real SQLite database, written, deleted and written again."""

from __future__ import annotations

import json
import logging
import math
import shutil
import socket
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.store.lease import Leases
from orchestrator.tables.build import records_from_store
from orchestrator.tables.write_files import write_report
from orchestrator.tracking import publish
from orchestrator.tracking.publish import Publisher
from orchestrator.tracking.run_diff import unlike_store
from orchestrator.tracking.settings import MAX_NOTE, note_of
from orchestrator.tracking.sweep_experiment import published_sweeps
from reskd.errors import BadInput
from tests.support.mlflow_runs import client_of, publisher_of, run_of, runs_of
from tests.support.stored_sweep import MANIFEST_SHA256, PROTOCOL, STARTED_MS, SWEEP, StoredSweep
from tests.support.stored_tables import FILES, finish_all, table_of


def histories(publisher: Publisher) -> dict[tuple[str, str], list[tuple[float, int, int]]]:
    """Every metric row there is: (step id, key) -> (value, time, step)."""
    client = client_of(publisher)
    return {
        (run.data.tags["reskd.step_id"], key): sorted(
            (metric.value, metric.timestamp, metric.step) for metric in client.get_metric_history(run.info.run_id, key)
        )
        for run in runs_of(publisher)
        if "reskd.step_id" in run.data.tags
        for key in run.data.metrics
    }


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: that takes seconds."""
    folder = tmp_path_factory.mktemp("database")
    publisher_of(StoredSweep(folder, name="nothing"))
    return folder / "store" / "mlflow.db"


def stored_with(database: Path, folder: Path, **options) -> StoredSweep:
    stored = StoredSweep(folder, **options)
    stored.store.home.mkdir()
    shutil.copy(database, stored.store.mlflow_db)
    return stored


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> StoredSweep:
    """Every student done, one with damaged clips; the teachers done but one that failed."""
    stored = stored_with(empty_database, tmp_path_factory.mktemp("full"))
    finish_all(stored)
    stored.finish(stored.teacher_of("pixel-level MSE", 0), 0.99)
    stored.start(stored.teacher_of("pixel-level MSE", 1))
    stored.fail(stored.teacher_of("pixel-level MSE", 1))
    damaged = StoredSweep.id_of(stored, "baseline", 1)
    record = stored.store.done(damaged)
    assert record is not None
    record["damaged"] = [{"split": "val", "path": "val/bad.mp4", "reason": "no frames"}]
    stored.store.blobs.write(f"runs/{damaged}/DONE.json", json.dumps(record).encode())
    return stored


@pytest.fixture(scope="module")
def published(full: StoredSweep) -> Publisher:
    publisher = publisher_of(full)
    assert publisher.publish()
    return publisher


def test_a_finished_step_is_one_run_with_identity_epochs_and_results(full: StoredSweep, published: Publisher):
    step_id = full.id_of("pixel-level MSE", 0)
    run = run_of(published, step_id)
    assert run.info.run_name == "pixel-level MSE, seed 0"
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", STARTED_MS, STARTED_MS + 60_000)
    tags = run.data.tags
    assert (tags["reskd.kind"], tags["reskd.complete"], tags["reskd.commit"]) == ("student", "true", "0123abcd")
    assert json.loads(tags["reskd.cells"]) == [["pixel-level MSE", 0]]
    assert tags["reskd.teacher_id"] == full.teacher_of("pixel-level MSE", 0)
    assert json.loads(tags["reskd.versions"]) == {"torch": "2.11.0"}
    params = run.data.params
    assert (params["kd.level"], params["kd.weight"], params["model.resolution"]) == ("pixel", "100.0", "24")
    assert (params["teacher.model.name"], params["teacher.optim.epochs"]) == ("tsn_mini18", "3")
    assert set(run.data.metrics) == {
        *("train/loss", "val/top1", "perf/clips_per_s", "test/top1", "test/top5", "test/mAP"),
        *("GMACs", "GMACs_with_attention", "GFLOPs", "params_M", "clips/s", "data/damaged_clips"),
    }
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("demo", MANIFEST_SHA256[:8])
    assert tags["reskd.manifest_sha256"] == MANIFEST_SHA256
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("levels.yaml", "LOCAL")
    lines = full.store.metrics(step_id)
    history = client_of(published).get_metric_history(run.info.run_id, "train/loss")
    assert [(row.step, row.value, row.timestamp) for row in history] == [
        (line["epoch"], line["metrics"]["train/loss"], line["time_ms"]) for line in lines
    ]


def test_a_teacher_in_no_row_is_named_by_its_network(full: StoredSweep, published: Publisher):
    run = run_of(published, full.teacher_of("pixel-level MSE", 0))
    assert run.info.run_name == "teacher tsn_mini18 at 64 px, seed 0"
    assert (run.data.tags["reskd.kind"], run.data.tags["reskd.cells"]) == ("teacher", "[]")
    assert run_of(published, full.id_of("baseline", 0)).data.tags["reskd.kind"] == "baseline"


def test_a_run_is_described_in_words(full: StoredSweep, published: Publisher):
    def words(step_id: str) -> str:
        return str(run_of(published, step_id).data.tags["mlflow.note.content"])

    assert words(full.id_of("pixel-level MSE", 2)) == (
        "student tsn_mini10 at 24 px, pixel-level KD from tsn_mini18 at 64 px, seed 2"
    )
    assert words(full.id_of("baseline", 1)) == "baseline tsn_mini10 at 24 px, seed 1"
    assert words(full.teacher_of("pixel-level MSE", 0)) == "teacher tsn_mini18 at 64 px, seed 0"
    assert words(full.teacher_of("pixel-level MSE", 1)) == (
        "teacher tsn_mini18 at 64 px, seed 1\n\nnot finished: gradient is not finite"
        "\n\n```\nTraceback: line 1\n```"
        "\n\nwaiting for it: clip-level KL, seed 1; pixel-level MSE, seed 1"
    )


def test_a_description_that_a_person_has_rewritten_stays(empty_database: Path, tmp_path: Path):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    publisher, step_id = publisher_of(stored), stored.id_of("baseline", 0)
    stored.start(step_id)
    stored.fail(step_id)
    assert publisher.publish()
    stored.finish(step_id, 0.8)
    stored.store.forget_failure(step_id)
    assert publisher_of(stored).publish()
    run = run_of(publisher, step_id)
    assert run.data.tags["mlflow.note.content"] == "baseline tsn_mini10 at 24 px, seed 0"  # no longer failed
    client_of(publisher).set_tag(run.info.run_id, "mlflow.note.content", "my own words")
    assert publisher_of(stored).publish()
    assert run_of(publisher, step_id).data.tags["mlflow.note.content"] == "my own words"


def test_a_failed_step_tells_why(full: StoredSweep, published: Publisher):
    run = run_of(published, full.teacher_of("pixel-level MSE", 1))
    assert (run.info.status, run.data.tags["reskd.reason"]) == ("FAILED", "gradient is not finite")
    text = client_of(published).download_artifacts(run.info.run_id, "failure.txt")
    assert "Traceback: line 1" in Path(text).read_text()


def test_damaged_clips_are_counted_and_listed(full: StoredSweep, published: Publisher):
    run = run_of(published, full.id_of("baseline", 1))
    assert run.data.metrics["data/damaged_clips"] == 1
    text = client_of(published).download_artifacts(run.info.run_id, "damaged_clips.txt")
    assert Path(text).read_text() == "split\tpath\treason\nval\tval/bad.mp4\tno frames\n"
    others = client_of(published).list_artifacts(run_of(published, full.id_of("baseline", 0)).info.run_id)
    assert "damaged_clips.txt" not in [file.path for file in others]


def test_a_step_that_was_never_started_has_no_run(full: StoredSweep, published: Publisher):
    records = published.records()
    assert full.teacher_of("pixel-level MSE", 2) not in records
    run_id = run_of(published, full.id_of("baseline", 0)).info.run_id
    assert records[full.id_of("baseline", 0)].url == (
        f"/#/experiments/{published.experiment_id}/runs/{run_id}?workflowType=machine_learning"
    )


def test_mlflow_alone_gives_the_records_and_tables_that_the_store_gives(full: StoredSweep, published: Publisher):
    from_mlflow, from_store = published.records(), records_from_store(full.store, full.steps)
    assert from_mlflow == from_store
    assert table_of(full, from_mlflow) == table_of(full, from_store)


def test_publishing_again_from_a_new_process_changes_nothing(full: StoredSweep, published: Publisher):
    before, rows = {run.info.run_id: run.to_dictionary() for run in runs_of(published)}, histories(published)
    assert publisher_of(full).publish()
    assert {run.info.run_id: run.to_dictionary() for run in runs_of(published)} == before
    assert histories(published) == rows


def test_a_deleted_database_is_built_again_to_the_same_rows(
    full: StoredSweep, published: Publisher, tmp_path: Path, empty_database: Path
):
    table, rows = table_of(full, published.records()), histories(published)
    fresh = tmp_path / "mlflow.db"
    shutil.copy(empty_database, fresh)
    again = publisher_of(full, f"sqlite:///{fresh}")
    assert again.publish()
    assert table_of(full, again.records()) == table
    assert histories(again) == rows


def test_a_run_follows_its_step_through_interruption_failure_and_resume(empty_database: Path, tmp_path: Path):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    publisher, step_id = publisher_of(stored), stored.id_of("baseline", 0)
    leases, lease = Leases(), stored.store.lease_path(stored.id_of("baseline", 0))

    def status() -> str:
        assert step_id in publisher.unsettled
        assert publisher.publish(publisher.unsettled)
        assert publisher.records()[step_id] == records_from_store(stored.store, stored.steps)[step_id]
        return str(run_of(publisher, step_id).info.status)

    assert leases.take(lease)
    assert publisher.publish()
    assert not runs_of(publisher)  # leased, but nothing has started
    stored.start(step_id)
    assert status() == "RUNNING"
    stored.train(step_id, epoch=1)
    assert status() == "RUNNING"
    assert run_of(publisher, step_id).data.metrics["train/loss"] == 1.0
    leases.release([lease])
    assert status() == "KILLED"
    stored.fail(step_id)
    assert status() == "FAILED"
    leases.take(lease)
    stored.store.forget_failure(step_id)
    assert status() == "RUNNING"
    assert "reskd.reason" not in run_of(publisher, step_id).data.tags
    leases.release()
    stored.store.prune(step_id, {"reason": "stopped early after epoch 1", "epoch": 1})
    assert status() == "KILLED"
    assert publisher.records()[step_id].state == "pruned"
    (stored.store.folder(step_id) / "pruned.json").unlink()
    leases.take(lease)
    stored.finish(step_id, 0.8)
    assert status() == "FINISHED"
    leases.release()
    assert len(runs_of(publisher)) == 1
    assert publisher.unsettled == [other for other in stored.steps if other != step_id]


def test_many_steps_at_a_time_are_published_as_few_are(
    empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    finish_all(stored)
    publisher = publisher_of(stored)
    assert publisher.publish()
    before = histories(publisher)
    monkeypatch.setattr(publish, "ASKED_ONE_BY_ONE", 0)  # so the experiment's runs are all read
    assert publisher_of(stored).publish()
    assert histories(publisher) == before


def test_an_epoch_that_a_resume_trained_again_keeps_one_row(empty_database: Path, tmp_path: Path):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    publisher, step_id = publisher_of(stored), stored.id_of("baseline", 0)
    stored.start(step_id)
    stored.train(step_id, epoch=1)
    assert publisher.publish()
    stored.store.rewind(step_id, 0)
    time.sleep(0.002)  # another millisecond, so another row if it were written
    stored.train(step_id, epoch=1)
    assert publisher_of(stored).publish()
    assert len(histories(publisher)[step_id, "train/loss"]) == 1


def test_an_evaluation_after_the_end_is_added_to_the_finished_run(empty_database: Path, tmp_path: Path):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    publisher, step_id = publisher_of(stored), stored.id_of("baseline", 0)
    stored.finish(step_id, 0.8)
    assert publisher.publish()
    stored.evaluate(step_id, "val-f4-v4x1", 0.9)
    stored.store.write_throughput(step_id, {"device": "a new device", "clips_per_s": 7.0})
    assert publisher.publish()
    run = run_of(publisher, step_id)
    assert (run.info.status, run.info.end_time) == ("FINISHED", STARTED_MS + 60_000)
    assert (run.data.metrics["test/val-f4-v4x1/top1"], run.data.metrics["test/top1"]) == (0.9, 0.8)
    assert (run.data.metrics["clips/s"], run.data.tags["reskd.device"]) == (7.0, "a new device")
    assert publisher.records() == records_from_store(stored.store, stored.steps)


@pytest.mark.parametrize("content", [b"[]", b"{}", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", ["DONE.json", "start.json"])
def test_a_record_that_is_none_never_keeps_the_other_steps_from_being_published(
    empty_database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes
):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    bad, good = stored.id_of("baseline", 0), stored.id_of("clip-level KL", 0)
    for step_id in (bad, good):
        stored.finish(step_id, 0.8)
    (stored.store.folder(bad) / name).write_bytes(content)
    publisher = publisher_of(stored)
    for _ in range(2):
        assert publisher.publish()
    assert run_of(publisher, good).info.status == "FINISHED"
    if name == "DONE.json":
        assert run_of(publisher, bad).info.status == "FAILED"
        assert publisher.records()[bad].state == "damaged"
    assert sum(name in record.getMessage() for record in caplog.records) <= 1


def test_damaged_weights_are_never_published_as_good(empty_database: Path, tmp_path: Path):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    finish_all(stored)
    step_id = stored.id_of("pixel-level MSE", 0)
    weights = stored.store.weights(step_id)
    good = weights.read_bytes()
    weights.write_bytes(good[:30] + bytes([good[30] ^ 1]) + good[31:])
    publisher = publisher_of(stored)
    assert publisher.publish()
    assert publisher.register(publisher.records())
    run, client = run_of(publisher, step_id), client_of(publisher)
    assert (run.info.status, "reskd.complete" in run.data.tags) == ("FAILED", False)
    assert [each.path for each in client.list_artifacts(run.info.run_id, "model")] == []
    versions = client.search_model_versions(f"tag.`reskd.step_id` = '{step_id}'")
    assert list(versions) == []
    assert "damaged (0 of 1)" in table_of(stored, publisher.records()).cells("pixel-level MSE")
    weights.write_bytes(good)
    stored.store.check_weights(step_id)
    stored.store.forget_damage(step_id)
    assert publisher.publish()
    assert run_of(publisher, step_id).info.status == "FINISHED"
    assert publisher.records() == records_from_store(stored.store, stored.steps)


def test_a_recipe_that_the_sweep_has_dropped_stays_in_the_experiment_as_stale(empty_database: Path, tmp_path: Path):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    finish_all(stored)
    assert publisher_of(stored).publish()
    changed = StoredSweep(tmp_path, seeds=(0,), text=SWEEP.replace("kd.level: clip}", "kd.level: clip, kd.weight: 3}"))
    publisher = publisher_of(changed)
    assert publisher.publish()
    assert table_of(changed, publisher.records()).cells("clip-level KL")[1] == "stale (0 of 1)"


def test_of_two_runs_that_a_retried_request_made_the_earliest_counts(empty_database: Path, tmp_path: Path):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    publisher, step_id = publisher_of(stored), stored.id_of("baseline", 0)
    tags = {"reskd.step_id": step_id, "reskd.cells": "[]", "reskd.data": "demo"}
    client_of(publisher).create_run(publisher.experiment_id, start_time=STARTED_MS + 1, tags=tags)
    stored.finish(step_id, 0.8)
    first = client_of(publisher).create_run(publisher.experiment_id, start_time=STARTED_MS, tags=tags)
    assert publisher.publish()
    record = publisher.records()[step_id]
    assert f"/{first.info.run_id}?" in record.url
    assert record.metrics["test/top1"] == 0.8


def test_the_report_is_one_run_with_its_files_and_the_experiments_note(
    full: StoredSweep, published: Publisher, tmp_path: Path
):
    client, states = client_of(published), []
    for _ in range(2):
        write_report([table_of(full, published.records())], tmp_path)
        assert published.log_report(tmp_path)
        runs = {run.info.run_id: run.to_dictionary() for run in runs_of(published)}
        states.append((runs, dict(client.get_experiment(published.experiment_id))))
    assert states[0] == states[1]
    (run,) = client.search_runs([published.experiment_id], "tags.`reskd.kind` = 'report'")
    assert run.info.status == "FINISHED"
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    figures = {f"accuracy_vs_gmacs.{kind}" for kind in ("png", "svg", "pdf")}
    assert names == {*FILES, *figures, "report.md", "levels.yaml"}
    experiment = client.get_experiment(published.experiment_id)
    assert experiment.name == "levels"
    assert experiment.tags["reskd.question"] == "Which level helps?"
    assert experiment.tags["reskd.sweep_file"] == full.sweep.path.read_text()
    note = experiment.tags["mlflow.note.content"]
    cells = [cell.strip() for cell in note.split("|")]
    assert cells[cells.index("pixel-level MSE") + 1] == "97.0 ± 6.6"
    page = f"#/experiments/{published.experiment_id}/runs/{run.info.run_id}/artifacts"
    for name in ("table5.csv", "accuracy_vs_gmacs.png"):
        assert f"]({page}/{name}?workflowType=machine_learning)" in note
    assert "![" not in note  # a note would cut the figure
    assert set(published.records()) == set(records_from_store(full.store, full.steps))


def test_an_mlflow_that_dies_later_costs_one_warning_and_no_data(
    empty_database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    stored = stored_with(empty_database, tmp_path, seeds=(0,))
    publisher, database = publisher_of(stored), stored.store.mlflow_db
    stored.finish(stored.id_of("baseline", 0), 0.8)
    whole = database.read_bytes()
    database.write_bytes(b"broken" * 1000)
    with caplog.at_level(logging.WARNING, logger="orchestrator.tracking.publish"):
        assert not publisher.publish()
        assert not publisher.publish()
    assert len([line for line in caplog.records if line.name == "orchestrator.tracking.publish"]) == 1
    database.write_bytes(whole)
    assert publisher.publish()
    assert publisher.records() == records_from_store(stored.store, stored.steps)


def test_a_server_that_is_not_there_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = taken.getsockname()[1]
        with pytest.raises(BadInput) as caught:
            publisher_of(StoredSweep(tmp_path), f"http://user:secret@127.0.0.1:{port}")
    assert f"http://user:***@127.0.0.1:{port}: no MLflow answers there" in str(caught.value)


@pytest.mark.parametrize(("name", "reason"), [("no/such/a.db", "there is no folder"), ("a.db", "not a database")])
def test_a_database_that_cannot_be_is_refused_at_once(tmp_path: Path, name: str, reason: str):
    (tmp_path / "a.db").write_text("something else entirely")
    with pytest.raises(BadInput, match=reason):
        publisher_of(StoredSweep(tmp_path), f"sqlite:///{tmp_path / name}")


def test_a_note_too_long_ends_at_a_line_and_says_where_the_rest_is():
    note = note_of("a line of the report\n" * 2000, page="")
    assert len(note) <= MAX_NOTE
    assert note.endswith("a line of the report\n\nThe whole report is among the artifacts of the run `report`.")


def test_the_link_of_an_experiment_opens_a_view_of_its_tables_columns(full: StoredSweep, published: Publisher):
    address = urlsplit(published.experiment_url.replace("/#", ""))
    assert address.path == f"/experiments/{published.experiment_id}/runs"
    query = parse_qs(address.query)
    assert query["workflowType"] == ["machine_learning"]
    tags = client_of(published).get_experiment(published.experiment_id).tags
    view = json.loads(tags[f"mlflow.sharedViewState.{query['viewStateShareKey'][0]}"])
    state = json.loads(view["state"])
    assert state["selectedColumns"][:3] == ["metrics.`test/top1`", "metrics.`GMACs`", "metrics.`clips/s`"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/top1`", False)
    # What the view names is there to be shown.
    run = run_of(published, full.id_of("pixel-level MSE", 0))
    shown = {f"metrics.`{key}`" for key in run.data.metrics} | {f"params.`{key}`" for key in run.data.params}
    assert set(state["selectedColumns"]) <= shown


def test_every_published_sweep_is_found_in_the_database(full: StoredSweep, published: Publisher):
    assert published_sweeps(full.store)[0] == ("levels", published.experiment_id)
    assert "Default" not in dict(published_sweeps(full.store))  # MLflow's own


def test_the_protocol_of_the_figures_is_a_tag(full: StoredSweep, published: Publisher):
    tags = run_of(published, full.id_of("baseline", 0)).data.tags
    assert (tags["reskd.protocol"], tags["reskd.num_clips"], tags["reskd.num_skipped"]) == (PROTOCOL, "299", "1")


def test_a_run_that_does_not_say_what_the_store_says_is_named_with_the_way_out(
    empty_database: Path, tmp_path: Path
) -> None:
    stored = stored_with(empty_database, tmp_path)
    for seed, value in enumerate((0.9, 0.8, math.nan)):
        stored.finish(stored.id_of("baseline", seed), value)
    records = records_from_store(stored.store, stored.steps)
    publisher = publisher_of(stored)
    unwritten = [f"MLflow: baseline, seed {seed}: it has no run; `reskd publish` writes it" for seed in range(3)]
    assert list(unlike_store(publisher.records(), records)) == unwritten
    assert publisher.publish()
    assert list(unlike_store(publisher.records(), records)) == []
    client, edited = client_of(publisher), run_of(publisher, stored.id_of("baseline", 0)).info.run_id
    client.log_metric(edited, "test/top1", 0.999, step=99)  # the run's newest value by its step
    client.log_metric(edited, "my own", 7.0)
    client.set_tag(edited, "reskd.num_clips", "3")
    (line,) = unlike_store(publisher.records(), records)
    assert line == (
        "MLflow: baseline, seed 0: num_clips is 3, in the store 299, test/top1 is 0.999, in the store 0.9; "
        "`reskd publish` writes it again; if this stays, delete the run in MLflow first"
    )
    assert publisher_of(stored).publish()
    (line,) = unlike_store(publisher.records(), records)
    assert "num_clips" not in line
    client.delete_run(edited)
    assert publisher_of(stored).publish()
    assert list(unlike_store(publisher.records(), records)) == []


def test_tags_that_somebody_broke_are_one_line(empty_database: Path, tmp_path: Path) -> None:
    stored = stored_with(empty_database, tmp_path)
    stored.finish(stored.id_of("baseline", 0), 0.9)
    publisher = publisher_of(stored)
    assert publisher.publish()
    run_id = run_of(publisher, stored.id_of("baseline", 0)).info.run_id
    for tag, text in (("reskd.num_clips", "many"), ("reskd.cells", "[" * 9), ("reskd.evaluations", "1")):
        client_of(publisher).set_tag(run_id, tag, text)
        with pytest.raises(BadInput, match=r"MLflow's run 'baseline, seed 0' of levels: its tags reskd\.\* are not"):
            publisher.records()
        assert publisher_of(stored).publish()
    assert publisher.records().keys() == {stored.id_of("baseline", 0)}
