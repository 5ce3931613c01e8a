"""Writes what an MLflow run lacks of its step's content: parameters, data set, metrics, tags, status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from orchestrator.store.step_record import State, StepContent
from orchestrator.tracking.run_diff import (
    COMPLETE_TAG,
    EPOCH_TAG,
    MetricRow,
    changed_tags,
    dropped_tags,
    new_epochs,
    new_metrics,
)

DIGEST_LENGTH = 8
"""Characters of a data set's hash in MLflow. The run's tag reskd.manifest_sha256 has the whole hash."""
STATUS: dict[State, str] = {
    "done": "FINISHED",
    "failed": "FAILED",
    "running": "RUNNING",
    "interrupted": "KILLED",
    "pruned": "KILLED",
    "damaged": "FAILED",
}
STATES: dict[str, State] = {status: state for state, status in STATUS.items() if state not in ("pruned", "damaged")}
"""What a run's status means. A run that was stopped early, or whose files are damaged, also has a tag."""


def write_run(client: MlflowClient, experiment_id: str, content: StepContent, run: Run | None) -> Run | None:
    """Write the content into its run, which is created if it is None. The tag `complete` is written last.

    Returns the run as it was before; None if it is left as it is.
    """
    state = content.record.state
    if run is None:
        tags = {key: value for key, value in content.tags.items() if key != COMPLETE_TAG}
        run = client.create_run(experiment_id, start_time=content.started_ms, tags=tags, run_name=content.name)
    elif COMPLETE_TAG in run.data.tags and state != "done":
        return None  # it is done, perhaps from another store: equal ids have equal results, so it is not changed
    run_id = run.info.run_id
    _write_identity(client, content, run)
    for epoch, rows in new_epochs(content, run.data.tags):
        _log(client, run_id, rows, {EPOCH_TAG: str(epoch)})
    _log(client, run_id, new_metrics(content, run.data.metrics), changed_tags(content, run.data.tags))
    for key in dropped_tags(content, run.data.tags):
        client.delete_tag(run_id, key)
    if run.info.run_name != content.name:
        client.update_run(run_id, name=content.name)
    if run.info.status != STATUS[state]:
        if state == "running":
            client.update_run(run_id, status="RUNNING")
        else:
            client.set_terminated(run_id, STATUS[state], end_time=content.ended_ms)
    return run


def _log(client: MlflowClient, run_id: str, rows: Sequence[MetricRow], tags: Mapping[str, str]) -> None:
    """Write metrics and tags in one transaction."""
    metrics = [Metric(key, value, time_ms, step) for key, value, time_ms, step in rows]
    client.log_batch(run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])


def _write_identity(client: MlflowClient, content: StepContent, run: Run) -> None:
    """Parameters and data set, once."""
    missing = [Param(key, value) for key, value in content.params.items() if key not in run.data.params]
    client.log_batch(run.info.run_id, params=missing)
    if run.inputs is None or not run.inputs.dataset_inputs:
        source = json.dumps({"manifest_sha256": content.data_sha256})
        data = Dataset(content.record.data_name, content.data_sha256[:DIGEST_LENGTH], "manifest", source)
        context = [InputTag("mlflow.data.context", "training")]
        client.log_inputs(run.info.run_id, [DatasetInput(data, context)])
