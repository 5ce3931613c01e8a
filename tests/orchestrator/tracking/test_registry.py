"""Teachers and best students in MLflow's model registry, on a real SQLite database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.store.step_record import records_from_store
from orchestrator.tracking.publish import Publisher
from orchestrator.tracking.registry import choose_models
from orchestrator.tracking.saved_views import COST, view_tag
from tests.support.mlflow_runs import publisher_of
from tests.support.stored_sweep import SWEEP, StoredSweep

# A second resolution, so that "best" is asked for each network and resolution.
TEXT = SWEEP.replace(
    "seeds: SEEDS",
    "  zip: {row: [32 px, 32 px clip], model.resolution: [32, 32], kd.level: [pixel, clip]}\nseeds: SEEDS",
)
TOP1 = {"baseline": 0.99, "clip-level KL": 0.7, "pixel-level MSE": 0.9, "32 px": 0.8, "32 px clip": 0.95}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredSweep:
    """Everything done but one seed of `32 px clip`, whose other seeds are the best of their resolution."""
    stored = StoredSweep(tmp_path_factory.mktemp("registry"), text=TEXT)
    for step in stored.steps.values():
        stored.store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe={})
        row, seed = step.cells[0] if step.cells else ("teacher", 0)
        if (row, seed) != ("32 px clip", 2):
            stored.finish(step.id, TOP1.get(row, 0.97) - 0.01 * seed)
    return stored


@pytest.fixture(scope="module")
def publisher(stored: StoredSweep) -> Publisher:
    publisher = publisher_of(stored)
    assert publisher.publish()
    assert publisher.register(publisher.records())
    return publisher


def test_teachers_and_the_best_complete_row_of_each_resolution_are_chosen(stored: StoredSweep):
    chosen = choose_models(stored.sweep, stored.steps, records_from_store(stored.store, stored.steps))
    found = {(entered.name, entered.alias): entered.step_id for entered in chosen}
    expected = {
        ("levels-teacher-tsn_mini18-64px", f"seed-{seed}"): stored.teacher_of("32 px", seed) for seed in (0, 1, 2)
    }
    # A baseline is better than both, and no student; `32 px clip` misses a seed.
    for name, row in (("24px", "pixel-level MSE"), ("32px", "32 px")):
        for seed in (0, 1, 2):
            expected[f"levels-student-tsn_mini10-{name}", f"seed-{seed}"] = stored.id_of(row, seed)
    assert found == expected


def test_a_registered_version_leads_to_its_run_weights_recipe_and_teacher(
    stored: StoredSweep, publisher: Publisher, tmp_path: Path
):
    client = MlflowClient(tracking_uri=publisher.tracking_uri)
    version = client.get_model_version_by_alias("levels-student-tsn_mini10-24px", "seed-1")
    step_id = stored.id_of("pixel-level MSE", 1)
    assert version.tags["reskd.step_id"] == step_id
    assert version.tags["reskd.teacher_id"] == stored.teacher_of("pixel-level MSE", 1)
    assert client.get_run(version.run_id).data.tags["reskd.step_id"] == step_id
    assert version.description == "student tsn_mini10 at 24 px, pixel-level KD from tsn_mini18 at 64 px, seed 1"
    folder = Path(client.download_artifacts(version.run_id, "model", str(tmp_path)))
    assert (folder / "weights.pt").read_bytes() == stored.store.weights(step_id).read_bytes()
    assert json.loads((folder / "recipe.json").read_text()) == stored.store.identity(step_id)


def test_registering_again_adds_nothing_and_a_better_row_takes_the_alias(stored: StoredSweep, publisher: Publisher):
    client = MlflowClient(tracking_uri=publisher.tracking_uri)

    def versions() -> list[tuple[str, str]]:
        return sorted((found.name, found.version) for found in client.search_model_versions())

    before = versions()
    assert publisher.register(publisher.records())
    assert versions() == before
    stored.finish(stored.id_of("32 px clip", 2), TOP1["32 px clip"])
    publisher.publish()
    assert publisher.register(publisher.records())
    assert len(versions()) == len(before) + 3
    now = client.get_model_version_by_alias("levels-student-tsn_mini10-32px", "seed-0")
    assert now.tags["reskd.step_id"] == stored.id_of("32 px clip", 0)


@pytest.mark.parametrize("view", [COST])
def test_the_views_filter_finds_students_and_baselines_and_every_axis_is_a_field_of_theirs(
    stored: StoredSweep, publisher: Publisher, view: str
):
    client = MlflowClient(tracking_uri=publisher.tracking_uri)
    tags = client.get_experiment(publisher.experiment_id).tags
    state = json.loads(json.loads(tags[view_tag(view)])["state"])
    runs = client.search_runs([publisher.experiment_id], state["searchFilter"])
    assert {run.data.tags["reskd.kind"] for run in runs} == {"student", "baseline"}
    fields = {key for run in runs for key in (*run.data.params, *run.data.metrics)}
    axes = [chart[axis]["key"] for chart in state.get("compareRunCharts", []) for axis in ("xaxis", "yaxis")]
    assert set(axes) <= fields
    assert {run.data.params["kd.level"] for run in runs} == {"none", "clip", "pixel"}  # what the runs are grouped by
