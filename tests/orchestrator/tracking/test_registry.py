"""Teachers and best students in MLflow's model registry, on a real SQLite database."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.store.step_record import records_from_store
from orchestrator.tracking.publish import Publisher
from orchestrator.tracking.registry import choose_models
from orchestrator.tracking.saved_views import BY_ROW, COST, CURVES, RESULTS, view_tag
from tests.support.mlflow_runs import publisher_of, run_of
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


def state_of(publisher: Publisher, view: str) -> dict[str, Any]:
    client = MlflowClient(tracking_uri=publisher.tracking_uri)
    tags = client.get_experiment(publisher.experiment_id).tags
    state: dict[str, Any] = json.loads(json.loads(tags[view_tag(view)])["state"])
    return state


def runs_in(publisher: Publisher, state: dict[str, Any]) -> list[Run]:
    client = MlflowClient(tracking_uri=publisher.tracking_uri)
    return list(client.search_runs([publisher.experiment_id], state["searchFilter"]))


def test_the_view_of_cost_has_students_and_baselines_and_every_axis_is_a_field_of_theirs(
    stored: StoredSweep, publisher: Publisher
):
    state = state_of(publisher, COST)
    runs = runs_in(publisher, state)
    assert {run.data.tags["reskd.kind"] for run in runs} == {"student", "baseline"}
    fields = {key for run in runs for key in (*run.data.params, *run.data.metrics)}
    axes = [chart[axis]["key"] for chart in state["compareRunCharts"] for axis in ("xaxis", "yaxis")]
    assert {"model.resolution", "test/top1"} <= set(axes) <= fields


def test_the_view_by_row_has_one_recipe_in_each_group_and_teachers_apart(stored: StoredSweep, publisher: Publisher):
    state = state_of(publisher, BY_ROW)
    groups = defaultdict(list)
    for run in runs_in(publisher, state):
        groups[tuple(run.data.tags[key["groupByData"]] for key in state["groupBy"]["groupByKeys"])].append(run)
    expected = {(row, "baseline" if row == "baseline" else "student"): 3 for row in TOP1}
    expected["teacher tsn_mini18 at 64 px", "teacher"] = 3
    expected["32 px clip", "student"] = len(groups["32 px clip", "student"])  # a test above finishes one more
    assert {group: len(runs) for group, runs in groups.items()} == expected
    for runs in groups.values():
        assert len({(run.data.params["model.resolution"], run.data.params["kd.level"]) for run in runs}) == 1
        assert len({run.data.params["seed"] for run in runs}) == len(runs)


@pytest.mark.parametrize("view", [RESULTS, BY_ROW, CURVES])
def test_charts_begin_with_the_validation_of_the_sweeps_metric_and_the_loss(publisher: Publisher, view: str):
    state = state_of(publisher, view)
    first = [chart["metricKey"] for chart in state["compareRunCharts"]]
    assert first[:2] == ["val/top1", "train/loss"]
    (section,) = state["compareRunSections"]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {section["uuid"]}


def test_a_row_that_gets_another_name_is_another_group_at_once(tmp_path: Path):
    first = StoredSweep(tmp_path, seeds=(0,))
    step_id = first.id_of("pixel-level MSE", 0)
    first.finish(step_id, 0.5)
    assert publisher_of(first).publish()
    text = SWEEP.replace("{row: pixel-level MSE,", "{row: ResKD,").replace(
        "    - {row: clip", "    - {row: again, kd.level: pixel}\n    - {row: clip"
    )
    publisher = publisher_of(StoredSweep(tmp_path, seeds=(0,), text=text))
    assert publisher.publish()
    assert run_of(publisher, step_id).data.tags["row"] == "again; ResKD"
