"""Publishes the store to MLflow: one experiment per sweep, one run per step. It can be repeated at any time.

The content of a run is read from the store (`orchestrator.store.step_record`). This module writes only what MLflow
lacks, so publishing twice changes nothing, and an outage loses nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Run

from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Sweep
from orchestrator.store.shared_folder import closed
from orchestrator.store.step_record import StepContent, StepRecord, read_step, record_from_run
from orchestrator.store.store import Store
from orchestrator.tracking.database import FAULTS, client_of, is_sqlite, only_writer, shown, uri_of
from orchestrator.tracking.registry import choose_models, register
from orchestrator.tracking.report_run import FIGURES, JOINED, add_to_report, write_report
from orchestrator.tracking.run_artifacts import RunArtifacts
from orchestrator.tracking.settings import equals, first_line
from orchestrator.tracking.sweep_experiment import open_experiment
from orchestrator.tracking.urls import run_page, runs_page, without_login
from orchestrator.tracking.write_run import STATES, write_run
from reskd.errors import BadInput, Damaged, reason_of
from reskd.files import warn_once

logger = logging.getLogger(__name__)

ASKED_ONE_BY_ONE = 30
"""Up to this many runs are queried one by one. For more, all runs of the experiment are read."""


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
            # A server chooses the artifact folder. Without a server, MLflow would use the current folder.
            artifacts = store.artifacts.as_uri() if self.is_local else None
            with self._only_writer():
                self.experiment_id = open_experiment(self._client, sweep, artifacts=artifacts)
            self._artifacts = RunArtifacts(self._client, store, steps)
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
                news |= self._found_damaged(news, runs)
                written = {
                    step_id: write_run(self._client, self.experiment_id, content, runs.get(step_id))
                    for step_id, content in news.items()
                }
                # Last, so that no other run waits for a store of files that is slow or away.
                self._write_artifacts(news, written)
            return True
        return False

    def _write_artifacts(self, contents: Mapping[str, StepContent], runs: Mapping[str, Run | None]) -> None:
        wrong = []
        for step_id, content in contents.items():
            run = runs[step_id]
            found = self._artifacts.write(content, run) if run is not None else None
            wrong += [found] if found else []
            self._published[step_id] = content
        if wrong:
            text = "%s; %d runs in MLflow lack files for such a reason, `reskd publish` tries again"
            logger.warning(text, wrong[0], len(wrong))

    @property
    def unsettled(self) -> list[str]:
        """Steps that a training may still change. All others are published as done and need not be read again."""
        published = self._published
        return [
            step_id for step_id in self._steps if step_id not in published or published[step_id].record.state != "done"
        ]

    def _found_damaged(self, contents: Mapping[str, StepContent], runs: Mapping[str, Run]) -> dict[str, StepContent]:
        """The contents of finished steps whose weights are damaged. They are read once, before a run gets them."""
        found: dict[str, StepContent] = {}
        for step_id, content in contents.items():
            if content.record.state != "done" or self._artifacts.has_written(content, runs.get(step_id)):
                continue
            try:
                self._store.check_weights(step_id)
            except FileNotFoundError:
                continue  # its run then has no model
            except Damaged as error:
                warn_once(str(error))
                damaged = self._content(step_id, damage=str(error))
                found |= {} if damaged is None else {step_id: damaged}
        return found

    def _content(self, step_id: str, *, damage: str | None = None) -> StepContent | None:
        try:
            content = read_step(self._store, self._steps[step_id], steps=self._steps, damage=damage)
        except Damaged as error:  # the other steps are published
            warn_once(str(error))
            return None
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
        if not (folder / "report.md").is_file():
            return True  # a sweep without tables
        with self._forgiving("`reskd tables` logs the report again"):
            with self._only_writer():
                sweep_file = self._sweep.path
                write_report(self._client, self.experiment_id, folder, sweep_file=sweep_file, tags=self._source)
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
                add_to_report(self._client, self.experiment_id, paths, place, tags=self._source)
            return True
        return False

    def register(self, records: Mapping[str, StepRecord]) -> bool:
        """Enter teachers and best students as registered models. Returns False if MLflow does not answer."""
        chosen = choose_models(self._sweep, self._steps, records)
        with self._forgiving("`reskd publish` registers the models again"):
            with self._only_writer():
                good = [entered for entered in chosen if self._store.damage(entered.step_id) is None]
                runs = self._runs_of([entered.step_id for entered in good])
                register(self._client, good, runs=runs)
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
            return without_login(self._ui_address).rstrip("/")
        is_server = self.tracking_uri.startswith("http")
        return without_login(self.tracking_uri).rstrip("/") if is_server else ""

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
        found = self._search(equals("tags.`reskd.step_id`", step_id) if step_id else "")
        runs: dict[str, Run] = {}
        for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id)):
            if "reskd.step_id" in run.data.tags:
                runs.setdefault(run.data.tags["reskd.step_id"], run)
        return runs
