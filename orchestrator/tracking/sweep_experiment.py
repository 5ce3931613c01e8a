"""A sweep's experiment in MLflow: found or created, with its tags and saved views."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from orchestrator.spec.sweep import Sweep
from orchestrator.store.store import Store
from orchestrator.tracking.database import FAULTS, client_of
from orchestrator.tracking.saved_views import OLD_VIEWS, view_tag, view_tags
from orchestrator.tracking.settings import first_line, sweep_text
from orchestrator.tracking.urls import QUESTION_TAG
from reskd.errors import BadInput


def published_sweeps(store: Store) -> list[tuple[str, str]]:
    """(sweep, experiment id) of all sweeps in the store's database, newest first. Raises BadInput if MLflow cannot read
    it."""
    try:
        experiments = client_of(store, None).search_experiments()
    except FAULTS as error:
        raise BadInput(f"{store.mlflow_db}: MLflow cannot read it ({first_line(error)})") from error
    return [(found.name, found.experiment_id) for found in experiments if QUESTION_TAG in found.tags]


def open_experiment(client: MlflowClient, sweep: Sweep, *, artifacts: str | None) -> str:
    """The id of the sweep's experiment, which gets its tags and views, and is created if there is none.

    artifacts: where its files go; None: where the server puts them. Raises BadInput if somebody deleted the experiment.
    """
    tags = {
        QUESTION_TAG: sweep.question,
        "reskd.sweep_file": sweep_text(sweep.path),
        **view_tags(sweep),
    }
    found = client.get_experiment_by_name(sweep.name)
    if found is None:
        try:
            return client.create_experiment(sweep.name, artifact_location=artifacts, tags=tags)
        except MlflowException as error:
            found = client.get_experiment_by_name(sweep.name)
            if found is None:
                raise error
    if found.lifecycle_stage != "active":
        raise BadInput(
            f"MLflow's experiment {sweep.name!r} is deleted; to restore it, run `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or rename the sweep file"
        )
    tag_experiment(client, found, tags)
    for tag in map(view_tag, OLD_VIEWS):
        if tag in found.tags:
            client.delete_experiment_tag(found.experiment_id, tag)
    return found.experiment_id


def tag_experiment(client: MlflowClient, experiment: Experiment, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if experiment.tags.get(key) != value:
            client.set_experiment_tag(experiment.experiment_id, key, value)
