"""The files of runs in a real MLflow, of steps that were really trained."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.spec.sweep import recipe_from_dict
from orchestrator.store.evaluations import stored_judgement
from orchestrator.tracking.publish import Publisher
from orchestrator.tracking.registry import OURS
from orchestrator.tracking.saved_views import OLD_VIEWS, view_tag
from reskd.evaluation.metrics import top_k
from tests.support.command_line import call
from tests.support.mlflow_runs import client_of, publisher_of, run_of
from tests.support.stored_sweep import MANIFEST, StoredSweep
from tests.support.trained_sweep import copy_of

WHOLE = {"recipe.yaml", "predictions.csv", "model/MLmodel", "model/recipe.json", "model/weights.pt"}
STUDENT, TEACHER = "views-student-tsn_mini10-24px", "views-teacher-tsn_mini18-32px"


@pytest.fixture(scope="module")
def trained(trained_sweep: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return copy_of(trained_sweep, tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def publisher(trained: Prepared) -> Publisher:
    publisher = publisher_again(trained)
    assert publisher.publish()
    assert publisher.register(publisher.records())
    return publisher


def publisher_again(trained: Prepared) -> Publisher:
    return Publisher(trained.store, sweep=trained.sweep, steps=trained.steps, tracking_uri=None)


def files_of(publisher: Publisher, step_id: str) -> dict[str, Path]:
    """The files of a step's run by their names in it."""
    folder = Path(client_of(publisher).download_artifacts(run_of(publisher, step_id).info.run_id, ""))
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def one_of(trained: Prepared, row: str) -> str:
    return next(step.id for step in trained.steps.values() if (row, 0) in step.cells)


def stored_with_manifest(folder: Path) -> StoredSweep:
    stored = StoredSweep(folder, seeds=(0,))
    stored.store.write_manifest(MANIFEST)
    return stored


def test_every_run_has_recipe_model_and_predictions_teachers_too(trained: Prepared, publisher: Publisher) -> None:
    for step in trained.steps.values():
        files = files_of(publisher, step.id)
        assert files.keys() == WHOLE
        assert recipe_from_dict(yaml.safe_load(files["recipe.yaml"].read_text())) == step.recipe
        assert json.loads(files["model/recipe.json"].read_text()) == trained.store.identity(step.id)
        assert files["model/weights.pt"].samefile(trained.store.weights(step.id))  # no copy
        run = run_of(publisher, step.id)
        row = "; ".join(row for row, _ in step.cells) or "teacher tsn_mini18 at 32 px"
        assert (run.data.params["row"], run.data.tags["row"], run.data.params["seed"]) == (row, row, "0")
        assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100
        assert 0 < run.data.metrics["system/system_memory_usage_percentage"] < 100


def test_the_predictions_are_those_of_the_final_test(trained: Prepared, publisher: Publisher) -> None:
    step_id = one_of(trained, "pixel")
    judged = stored_judgement(trained.store, step_id)
    lines = list(csv.DictReader(io.StringIO(files_of(publisher, step_id)["predictions.csv"].read_text())))
    clips = trained.manifest(trained.steps[step_id]).val
    assert [line["path"] for line in lines] == [clips[number].path for number in judged.indices]
    right = sum(line["label"] == line["predicted"] for line in lines) / len(lines)
    assert right == pytest.approx(top_k(judged.logits, judged.targets, k=1))
    assert right == trained.store.done(step_id)["metrics"]["test/top1"]


LOADED = """
import json, sys
import mlflow
for uri in sys.argv[2:]:
    model = mlflow.pyfunc.load_model(uri)
    print(json.dumps(model.predict([sys.argv[1]]).iloc[0].to_dict()))
print(json.dumps(model.metadata.signature.outputs.input_names()))
"""


def test_a_new_process_loads_the_model_without_the_store_and_predicts_as_the_command_does(
    trained: Prepared, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    step_id, store = one_of(trained, "pixel"), trained.store
    step = trained.steps[step_id]
    video = Path(step.recipe.data.root) / trained.manifest(step).val[2].path
    code, text = call(monkeypatch, capsys, "predict", step_id, video, "--top", 9, "--json", "--store", store.home)
    assert code == 0
    expected = {found["class"]: found["probability"] for found in json.loads(text)["videos"][0]["top"]}
    run_id = run_of(publisher, step_id).info.run_id
    away = store.home / "away"
    (store.home / "runs").rename(away)
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                LOADED,
                video,
                f"runs:/{run_id}/model",
                "models:/views-student-tsn_mini10-24px@seed-0",
            ],
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_TRACKING_URI": publisher.tracking_uri},
            capture_output=True,
            text=True,
        )
    finally:
        away.rename(store.home / "runs")
    assert done.returncode == 0, done.stderr
    of_run, of_registry, classes = map(json.loads, done.stdout.splitlines())
    assert of_run == of_registry == pytest.approx(expected, rel=1e-6)
    assert classes == list(of_run)


def test_publishing_again_writes_no_file(trained: Prepared, publisher: Publisher) -> None:
    def state() -> dict[str, tuple[int, int]]:
        found = trained.store.artifacts.rglob("*")
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    before = state()
    again = publisher_again(trained)
    assert again.publish()
    assert again.publish()
    assert state() == before


def test_an_older_database_gets_the_files_and_loses_the_old_view(trained: Prepared, publisher: Publisher) -> None:
    client, step_id = client_of(publisher), one_of(trained, "baseline")
    run = run_of(publisher, step_id)
    files = files_of(publisher, step_id)
    for name in ("recipe.yaml", "predictions.csv", "model/MLmodel"):
        files[name].unlink()
    weights = files["model/weights.pt"].read_bytes()
    files["model/weights.pt"].unlink()
    files["model/weights.pt"].write_bytes(weights)  # earlier versions copied it
    client.delete_tag(run.info.run_id, "reskd.artifacts")
    client.set_experiment_tag(publisher.experiment_id, view_tag(OLD_VIEWS[0]), "{}")
    client.set_experiment_tag(publisher.experiment_id, view_tag("mine"), "{}")
    again = publisher_again(trained)
    assert again.publish()
    assert files_of(again, step_id).keys() == WHOLE
    assert files["model/weights.pt"].samefile(trained.store.weights(step_id))
    tags = client.get_experiment(publisher.experiment_id).tags
    assert (view_tag(OLD_VIEWS[0]) in tags, tags[view_tag("mine")]) == (False, "{}")


def test_a_model_on_another_disk_is_a_copy(trained: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    uri = f"sqlite:///{tmp_path}/other.db"
    other = Publisher(trained.store, sweep=trained.sweep, steps=trained.steps, tracking_uri=uri)
    step_id = one_of(trained, "baseline")
    assert other.publish([step_id])
    files = files_of(other, step_id)
    assert files.keys() == WHOLE
    assert not files["model/weights.pt"].samefile(trained.store.weights(step_id))
    assert files["model/weights.pt"].read_bytes() == trained.store.weights(step_id).read_bytes()


def test_a_step_that_is_not_done_has_what_there_is_and_the_rest_once_it_is(tmp_path: Path) -> None:
    stored = stored_with_manifest(tmp_path)
    step_id = stored.id_of("baseline", 0)
    stored.start(step_id)
    stored.fail(step_id)
    publisher = publisher_of(stored)
    assert publisher.publish()
    assert files_of(publisher, step_id).keys() == {"recipe.yaml", "failure.txt"}
    stored.store.forget_failure(step_id)
    stored.finish(step_id, 0.5)
    assert publisher.publish()
    assert files_of(publisher, step_id).keys() == WHOLE | {"failure.txt"}


def test_what_the_store_lost_is_named_and_written_once_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = stored_with_manifest(tmp_path)
    damaged, bare = stored.id_of("baseline", 0), stored.id_of("clip-level KL", 0)
    for step_id in (damaged, bare):
        stored.finish(step_id, 0.5)
    (arrays,) = (stored.store.folder(damaged) / "eval").glob("*.npz")
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:40])
    stored.store.weights(bare).unlink()
    publisher = publisher_of(stored)
    with caplog.at_level(logging.WARNING):
        assert publisher.publish()
    assert str(arrays) in caplog.text
    assert run_of(publisher, damaged).data.tags["reskd.complete"] == "true"
    assert files_of(publisher, damaged).keys() == WHOLE - {"predictions.csv"}
    assert files_of(publisher, bare).keys() == {"recipe.yaml", "predictions.csv"}
    arrays.write_bytes(whole)
    assert publisher_of(stored).publish()
    assert files_of(publisher, damaged).keys() == WHOLE


def test_the_registry_says_which_row_and_how_it_was_chosen(trained: Prepared, publisher: Publisher) -> None:
    client: MlflowClient = client_of(publisher)
    words = client.get_registered_model(STUDENT).description
    assert "'pixel'" in words
    assert "validation of the last epoch" in words
    assert "'teacher tsn_mini18 at 32 px'" in client.get_registered_model(TEACHER).description
    assert client.get_model_version_by_alias(STUDENT, "seed-0").tags["row"] == "pixel"
    client.update_registered_model(STUDENT, f"Row 'another'. {OURS[1]} and so on")  # as an earlier version wrote it
    client.update_registered_model(TEACHER, "my own words")
    assert publisher.register(publisher.records())
    assert client.get_registered_model(STUDENT).description == words
    assert client.get_registered_model(TEACHER).description == "my own words"


def test_a_store_of_files_that_is_away_delays_no_metrics(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = stored_with_manifest(tmp_path)
    first, second = stored.id_of("baseline", 0), stored.id_of("clip-level KL", 0)
    publisher = publisher_of(stored)
    stored.store.artifacts.write_text("a file where a folder should be")
    for step_id in (first, second):
        stored.finish(step_id, 0.5)
    assert not publisher.publish()
    runs: list[Run] = [run_of(publisher, step_id) for step_id in (first, second)]
    assert [run.data.metrics["test/top1"] for run in runs] == [0.5, 0.5]
    stored.store.artifacts.unlink()
    assert publisher.publish(publisher.unsettled)
    assert files_of(publisher, first).keys() == files_of(publisher, second).keys() == WHOLE
