"""The report run of a sweep's experiment: its tables and figures. And figures in the runs of steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.store.step_record import NOTE_TAG
from orchestrator.store.store import Store
from orchestrator.tracking.database import FAULTS, client_of, only_writer, shown, uri_of
from orchestrator.tracking.settings import equals, first_line, note_of
from orchestrator.tracking.sweep_experiment import tag_experiment
from orchestrator.tracking.urls import artifact_page, note_links
from reskd.errors import BadInput

FIGURES = "figures"
"""Artifact folder with figures of a step or of a sweep."""
JOINED = "joined"
"""Artifact folder of the report run with tables that were joined with other sweeps."""
NOTE = "tables and figure of the sweep, made from its runs; `reskd tables` makes them again"


def write_report(
    client: MlflowClient, experiment_id: str, folder: Path, *, sweep_file: Path, tags: Mapping[str, str]
) -> None:
    """Put the report's files into the report run, and its tables into the experiment's description."""
    run = _report_run(client, experiment_id, tags)
    client.log_artifacts(run.info.run_id, str(folder))
    if sweep_file.is_file():
        # As a text, since a copy would have the rights of the user's own file.
        client.log_text(run.info.run_id, sweep_file.read_text(encoding="utf-8"), sweep_file.name)
    _finish(client, run)
    page = artifact_page(experiment_id, run.info.run_id, "{name}")
    report = (folder / "report.md").read_text(encoding="utf-8")
    note = note_of(report, page=page, links=note_links(experiment_id))
    tag_experiment(client, client.get_experiment(experiment_id), {NOTE_TAG: note})


def add_to_report(
    client: MlflowClient, experiment_id: str, paths: Sequence[Path], place: str | None, *, tags: Mapping[str, str]
) -> None:
    """Put files into a folder of the report run; None: beside its report."""
    run = _report_run(client, experiment_id, tags)
    for path in paths:
        client.log_artifact(run.info.run_id, str(path), place)
    _finish(client, run)


def log_step_figures(store: Store, step_ids: Iterable[str], paths: Sequence[Path], *, tracking_uri: str | None) -> int:
    """Add pictures under figures/ to every run of these steps, in every sweep. Returns the number of runs.

    Raises BadInput if MLflow does not answer.
    """
    uri = uri_of(store, tracking_uri)
    if tracking_uri is None and not store.mlflow_db.is_file():
        return 0
    num_runs = 0
    try:
        client = client_of(store, tracking_uri)
        with only_writer(store, uri):
            experiments = [found.experiment_id for found in client.search_experiments()]
            for step_id in step_ids:
                for run in client.search_runs(experiments, equals("tags.`reskd.step_id`", step_id)):
                    for path in paths:
                        client.log_artifact(run.info.run_id, str(path), FIGURES)
                    num_runs += 1
    except FAULTS as error:
        raise BadInput(f"{shown(uri)}: MLflow did not take the figures ({first_line(error)})") from error
    return num_runs


def _report_run(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> Run:
    """The experiment's only report run. It is created when it is first needed."""
    tags = {"reskd.kind": "report", NOTE_TAG: NOTE, **tags}
    found = client.search_runs([experiment_id], equals("tags.`reskd.kind`", "report"), max_results=1)
    run = found[0] if found else client.create_run(experiment_id, tags=tags, run_name="report")
    for key in tags.keys() - run.data.tags.keys():
        client.set_tag(run.info.run_id, key, tags[key])
    return run


def _finish(client: MlflowClient, run: Run) -> None:
    if run.info.status != "FINISHED":
        client.set_terminated(run.info.run_id, "FINISHED")
