"""Publishes the store to MLflow: one experiment per sweep, one run per step. It can be repeated at any time.

The content of a run is read from the store (`orchestrator.store.step_record`). This module writes only what MLflow
lacks, so publishing twice changes nothing, and an outage loses nothing.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from alembic.util import CommandError
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Sweep
from orchestrator.store.shared_folder import closed
from orchestrator.store.step_record import NOTE_TAG, State, StepContent, StepRecord, read_step, record_from_run
from orchestrator.store.store import Store
from orchestrator.tracking.database import client_of, is_sqlite, only_writer, shown, uri_of
from orchestrator.tracking.registry import choose_models, register
from orchestrator.tracking.run_diff import (
    COMPLETE_TAG,
    EPOCH_TAG,
    MetricRow,
    changed_tags,
    dropped_tags,
    new_epochs,
    new_metrics,
)
from orchestrator.tracking.saved_views import view_tags
from orchestrator.tracking.settings import (
    first_line,
    note_of,
    sweep_text,
)
from orchestrator.tracking.urls import QUESTION_TAG, artifact_page, note_links, run_page, runs_page
from reskd.errors import BadInput, reason_of

logger = logging.getLogger(__name__)

FAULTS = (MlflowException, SQLAlchemyError, sqlite3.Error, CommandError, OSError)
"""Exceptions of a tracking server or its database that is away or broken."""

DIGEST_LENGTH = 8
"""Characters of a data set's hash in MLflow. The run's tag reskd.manifest_sha256 has the whole hash."""
ASKED_ONE_BY_ONE = 30
"""Up to this many runs are queried one by one. For more, all runs of the experiment are read."""
JOINED = "joined"
"""Artifact folder of the report run with tables that were joined with other sweeps."""
FIGURES = "figures"
"""Artifact folder with figures of a step or of a sweep."""
REPORT_NOTE = "tables and figure of the sweep, made from its runs; `reskd tables` makes them again"

STATUS: dict[State, str] = {
    "done": "FINISHED",
    "failed": "FAILED",
    "running": "RUNNING",
    "interrupted": "KILLED",
    "pruned": "KILLED",
}
STATES: dict[str, State] = {status: state for state, status in STATUS.items() if state != "pruned"}
"""What a run's status means. A run that was stopped early also has a tag."""


def published_sweeps(store: Store) -> list[tuple[str, str]]:
    """(sweep, experiment id) of all sweeps in the store's database, newest first. Raises BadInput if MLflow cannot read
    it."""
    try:
        experiments = client_of(store, None).search_experiments()
    except FAULTS as error:
        raise BadInput(f"{store.mlflow_db}: MLflow cannot read it ({first_line(error)})") from error
    return [(found.name, found.experiment_id) for found in experiments if QUESTION_TAG in found.tags]


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
                for run in client.search_runs(experiments, f"tags.`reskd.step_id` = '{step_id}'"):
                    for path in paths:
                        client.log_artifact(run.info.run_id, str(path), FIGURES)
                    num_runs += 1
    except FAULTS as error:
        raise BadInput(f"{shown(uri)}: MLflow did not take the figures ({first_line(error)})") from error
    return num_runs


class Publisher:
    """Keeps one sweep's experiment in MLflow equal to the store."""

    def __init__(
        self,
        store: Store,
        *,
        sweep: Sweep,
        steps: Mapping[str, Step],
        tracking_uri: str | None,
        ui_address: str | None = None,
    ) -> None:
        """Connect, and create the experiment if it does not exist. Raises BadInput if nothing answers at the URI.

        `ui_address`: the address of MLflow's pages, if it is not the URI itself; links begin with it.
        """
        self._store, self._sweep, self._steps = store, sweep, steps
        self._ui_address = ui_address
        self.tracking_uri = uri_of(store, tracking_uri)
        self._published: dict[str, StepContent] = {}
        self._is_dead = False
        started = time.monotonic()
        try:
            self._client = client_of(store, tracking_uri)
            with self._only_writer():
                self.experiment_id = self._experiment()
        except FAULTS as error:
            if isinstance(error, PermissionError):
                raise BadInput(self._fault(error)) from error
            raise BadInput(
                f"tracking URI {shown(self.tracking_uri)}: no MLflow answers there, tried for "
                f"{time.monotonic() - started:.0f} s ({first_line(error)}); start `mlflow server` there, "
                f"or leave the URI out to write {store.mlflow_db}"
            ) from error

    def _only_writer(self) -> AbstractContextManager[None]:
        return only_writer(self._store, self.tracking_uri)

    def publish(self, step_ids: Iterable[str] | None = None) -> bool:
        """Write the new content of these steps; None: of all steps. Returns False if MLflow does not answer."""
        ids = self._steps if step_ids is None else list(step_ids)
        contents = {step_id: self._content(step_id) for step_id in ids}
        news = {
            step_id: content
            for step_id, content in contents.items()
            if content is not None and content != self._published.get(step_id)
        }
        with self._forgiving("what it misses is published later"):
            with self._only_writer():
                runs = self._runs_of(list(news))
                for step_id, content in news.items():
                    self._write(content, runs.get(step_id))
                    self._published[step_id] = content
            return True
        return False

    @property
    def unsettled(self) -> list[str]:
        """Steps that a training may still change. All others are published as done and need not be read again."""
        published = self._published
        return [
            step_id for step_id in self._steps if step_id not in published or published[step_id].record.state != "done"
        ]

    def _content(self, step_id: str) -> StepContent | None:
        content = read_step(self._store, self._steps[step_id], steps=self._steps)
        return content and replace(content, tags={**content.tags, **self._source})

    @property
    def _source(self) -> dict[str, str]:
        """The sweep file, which MLflow shows as the source of a run."""
        return {"mlflow.source.name": self._sweep.path.name, "mlflow.source.type": "LOCAL"}

    def records(self) -> dict[str, StepRecord]:
        """The records of all runs in the experiment from MLflow alone, also of steps that the sweep no longer has.

        Raises BadInput if MLflow does not answer. `records_from_store` gives the same from the store.
        """
        try:
            runs = self._runs()
        except FAULTS as error:
            uri = shown(self.tracking_uri)
            raise BadInput(f"MLflow at {uri} does not answer ({first_line(error)}); use `--from store`") from error
        return {step_id: self._record_of(run) for step_id, run in runs.items()}

    def _record_of(self, run: Run) -> StepRecord:
        try:
            return record_from_run(
                run.data.tags,
                run.data.metrics,
                state=STATES.get(run.info.status, "interrupted"),
                url=self._url_of(run.info.run_id),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"MLflow's run {run.info.run_name!r} of {self._sweep.name}: its tags reskd.* are not as they were "
                f"written ({reason_of(error)}); `reskd publish` writes them again"
            ) from error

    def log_report(self, folder: Path) -> bool:
        """Put the report's files into the experiment's report run, and its tables into the experiment's description."""
        report = folder / "report.md"
        if not report.is_file():
            return True  # a sweep without tables
        with self._forgiving("`reskd tables` logs the report again"):
            with self._only_writer():
                run = self._report_run()
                self._client.log_artifacts(run.info.run_id, str(folder))
                if self._sweep.path.is_file():
                    # As a text, since a copy would have the rights of the user's own file.
                    text = self._sweep.path.read_text(encoding="utf-8")
                    self._client.log_text(run.info.run_id, text, self._sweep.path.name)
                if run.info.status != "FINISHED":
                    self._client.set_terminated(run.info.run_id, "FINISHED")
                page = artifact_page(self.experiment_id, run.info.run_id, "{name}")
                note = note_of(report.read_text(encoding="utf-8"), page=page, links=note_links(self.experiment_id))
                self._tag_experiment(self._client.get_experiment(self.experiment_id), {NOTE_TAG: note})
            return True
        return False

    def log_figures(self, paths: Sequence[Path]) -> bool:
        """Put pictures into the experiment's report run, under figures/. Returns False if MLflow does not answer."""
        return self._log_beside_report(paths, FIGURES)

    def log_page(self, path: Path) -> bool:
        """Put the sweep's page into the experiment's report run. Returns False as above."""
        return self._log_beside_report([path], None)

    def log_joined(self, folder: Path) -> bool:
        """Put the joint tables of several sweeps into this sweep's report run, under joined/. Returns False as
        above."""
        return self._log_beside_report(sorted(folder.iterdir()), JOINED)

    def _log_beside_report(self, paths: Sequence[Path], place: str | None) -> bool:
        with self._forgiving("the same command logs them again"):
            with self._only_writer():
                run = self._report_run()
                for path in paths:
                    self._client.log_artifact(run.info.run_id, str(path), place)
                if run.info.status != "FINISHED":
                    self._client.set_terminated(run.info.run_id, "FINISHED")
            return True
        return False

    def _report_run(self) -> Run:
        """The experiment's only report run. It is created when it is first needed."""
        tags = {"reskd.kind": "report", NOTE_TAG: REPORT_NOTE, **self._source}
        run = next(iter(self._search("tags.`reskd.kind` = 'report'")), None)
        run = run or self._client.create_run(self.experiment_id, tags=tags, run_name="report")
        self._log(run.info.run_id, [], {key: tags[key] for key in tags.keys() - run.data.tags.keys()})
        return run

    def register(self, records: Mapping[str, StepRecord]) -> bool:
        """Enter teachers and best students as registered models. Returns False if MLflow does not answer."""
        chosen = choose_models(self._sweep, self._steps, records)
        with self._forgiving("`reskd publish` registers the models again"):
            with self._only_writer():
                runs = self._runs_of([entered.step_id for entered in chosen])
                register(self._client, chosen, runs=runs, store=self._store)
            return True
        return False

    @property
    def experiment_url(self) -> str:
        """Address of the experiment's page; below the address of `reskd ui` if MLflow is a local database."""
        return runs_page(self.experiment_id, base=self._base_url)

    @property
    def is_local(self) -> bool:
        """Whether the runs are in a database file, which has no pages of its own."""
        return is_sqlite(self.tracking_uri)

    @property
    def _base_url(self) -> str:
        if self._ui_address is not None:
            return self._ui_address.rstrip("/")
        is_server = self.tracking_uri.startswith("http")
        return shown(self.tracking_uri).rstrip("/") if is_server else ""

    def _url_of(self, run_id: str) -> str:
        return run_page(self.experiment_id, run_id, base=self._base_url)

    @contextmanager
    def _forgiving(self, promise: str) -> Iterator[None]:
        """If MLflow does not answer, only warn, and only the first time."""
        try:
            yield
        except FAULTS as error:
            if not self._is_dead:
                logger.warning("%s; %s", self._fault(error), promise)
            self._is_dead = True
        else:
            self._is_dead = False

    def _fault(self, error: Exception) -> str:
        """What went wrong, in one line. A file that this user may not write is no fault of MLflow's."""
        if isinstance(error, PermissionError) and error.filename and Path(error.filename).exists():
            return closed(Path(error.filename), store=self._store.home)
        return f"MLflow at {shown(self.tracking_uri)} does not answer ({first_line(error)})"

    def _experiment(self) -> str:
        name, client = self._sweep.name, self._client
        tags = {
            QUESTION_TAG: self._sweep.question,
            "reskd.sweep_file": sweep_text(self._sweep.path),
            **view_tags(self._sweep),
        }
        found = client.get_experiment_by_name(name)
        if found is None:
            # A server chooses the artifact folder. Without a server, MLflow would use the current folder.
            location = self._store.artifacts.as_uri() if self.is_local else None
            try:
                return client.create_experiment(name, artifact_location=location, tags=tags)
            except MlflowException as error:
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise error
        if found.lifecycle_stage != "active":
            raise BadInput(
                f"MLflow's experiment {name!r} is deleted; to restore it, run `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}`, or rename the sweep file"
            )
        self._tag_experiment(found, tags)
        return found.experiment_id

    def _tag_experiment(self, experiment: Experiment, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            if experiment.tags.get(key) != value:
                self._client.set_experiment_tag(experiment.experiment_id, key, value)

    def _search(self, condition: str = "") -> Iterator[Run]:
        token: str | None = None
        while True:
            page = self._client.search_runs([self.experiment_id], condition, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _runs_of(self, step_ids: Sequence[str]) -> dict[str, Run]:
        """The runs of these steps by step id. A few steps are queried one by one."""
        if len(step_ids) > ASKED_ONE_BY_ONE:
            return self._runs()
        return {key: run for step_id in step_ids for key, run in self._runs(step_id).items()}

    def _runs(self, step_id: str | None = None) -> dict[str, Run]:
        """Step id -> run, of one step or all.

        If a run exists twice because an answer of the server was lost: the earlier one.
        """
        found = self._search(f"tags.`reskd.step_id` = '{step_id}'" if step_id else "")
        runs: dict[str, Run] = {}
        for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id)):
            if "reskd.step_id" in run.data.tags:
                runs.setdefault(run.data.tags["reskd.step_id"], run)
        return runs

    def _write(self, content: StepContent, run: Run | None) -> None:
        """Write the content into a run. The tag `complete` is written last."""
        state = content.record.state
        if run is None:
            tags = {key: value for key, value in content.tags.items() if key != COMPLETE_TAG}
            run = self._client.create_run(
                self.experiment_id, start_time=content.started_ms, tags=tags, run_name=content.name
            )
        elif COMPLETE_TAG in run.data.tags and state != "done":
            return  # it is done, perhaps from another store: equal ids have equal results, so it is not changed
        run_id = run.info.run_id
        self._write_identity(content, run)
        for epoch, rows in new_epochs(content, run.data.tags):
            self._log(run_id, rows, {EPOCH_TAG: str(epoch)})
        for name, text in content.texts.items():
            self._client.log_text(run_id, text, name)
        self._log(run_id, new_metrics(content, run.data.metrics), changed_tags(content, run.data.tags))
        for key in dropped_tags(content, run.data.tags):
            self._client.delete_tag(run_id, key)
        if run.info.run_name != content.name:
            self._client.update_run(run_id, name=content.name)
        if run.info.status != STATUS[state]:
            if state == "running":
                self._client.update_run(run_id, status="RUNNING")
            else:
                self._client.set_terminated(run_id, STATUS[state], end_time=content.ended_ms)

    def _log(self, run_id: str, rows: Sequence[MetricRow], tags: Mapping[str, str]) -> None:
        """Write metrics and tags in one transaction."""
        metrics = [Metric(key, value, time_ms, step) for key, value, time_ms, step in rows]
        self._client.log_batch(run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])

    def _write_identity(self, content: StepContent, run: Run) -> None:
        """Parameters and data set, once."""
        missing = [Param(key, value) for key, value in content.params.items() if key not in run.data.params]
        self._client.log_batch(run.info.run_id, params=missing)
        if run.inputs is None or not run.inputs.dataset_inputs:
            source = json.dumps({"manifest_sha256": content.data_sha256})
            data = Dataset(content.record.data_name, content.data_sha256[:DIGEST_LENGTH], "manifest", source)
            context = [InputTag("mlflow.data.context", "training")]
            self._client.log_inputs(run.info.run_id, [DatasetInput(data, context)])
