"""The publisher of a stored sweep, and the runs that it has written."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.tracking.publish import Publisher
from tests.support.stored_sweep import StoredSweep


def publisher_of(stored: StoredSweep, uri: str | None = None) -> Publisher:
    return Publisher(stored.store, sweep=stored.sweep, steps=stored.steps, tracking_uri=uri)


def client_of(publisher: Publisher) -> MlflowClient:
    return MlflowClient(tracking_uri=publisher.tracking_uri)


def runs_of(publisher: Publisher) -> list[Run]:
    return list(client_of(publisher).search_runs([publisher.experiment_id]))


def run_of(publisher: Publisher, step_id: str) -> Run:
    runs = [run for run in runs_of(publisher) if run.data.tags.get("reskd.step_id") == step_id]
    assert len(runs) == 1
    return runs[0]
