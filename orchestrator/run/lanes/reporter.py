"""Writes where a job is into the store, for displays. Training only leaves its newest word; a thread writes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType

from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.store.run_records import JobProgress, MemberProgress, RunRecords
from orchestrator.store.store import Store
from reskd.errors import ReskdError
from reskd.training.fit_progress import FitProgress
from reskd.training.member_spec import MemberSpec

logger = logging.getLogger(__name__)

EVERY_S = 2.0
"""Seconds between two writes. A word that is not new is not written again."""
END_S = 10.0
"""Longest wait for a store that does not answer at the job's end."""


class Reporter:
    """The record of one job while it trains: call it with each word of the training.

    The training waits for no write, and a write that fails is tried again with the next word. The record is removed at
    the end.
    """

    def __init__(
        self, store: Store, job: JobConfig, members: Iterable[MemberSpec], *, every_s: float = EVERY_S
    ) -> None:
        self._store, self._records = store, RunRecords(store)
        self._run_id, self._job_id = job.owner_id, job.id
        self._metrics = {member.step_id: member.recipe.eval.metric for member in members}
        self._every_s, self._started = every_s, time.monotonic()
        self._accuracies: dict[str, float] = {}
        self._newest: FitProgress | None = None
        self._is_failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="progress", daemon=True)

    def __call__(self, progress: FitProgress) -> None:
        self._newest = progress

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(END_S)

    def _loop(self) -> None:
        self._try(self._recall)
        written: FitProgress | None = None
        while not self._stop.wait(self._every_s):
            newest = self._newest
            if newest is not None and newest is not written and self._try(partial(self._write, newest)):
                written = newest
        self._try(partial(self._records.forget_job, self._run_id, self._job_id))

    def _recall(self) -> None:
        """Take the last accuracies of a job that resumes from its metrics."""
        for step_id, metric in self._metrics.items():
            found = [line["metrics"].get(f"val/{metric}") for line in self._store.metrics(step_id)]
            known = [value for value in found if value is not None]
            if known:
                self._accuracies[step_id] = known[-1]

    def _write(self, progress: FitProgress) -> None:
        for step_id, metrics in progress.metrics.items():
            if (accuracy := metrics.get(self._metrics[step_id])) is not None:
                self._accuracies[step_id] = accuracy
        self._records.write_job(
            self._run_id,
            self._job_id,
            JobProgress(
                phase=progress.phase,
                epoch=progress.epoch,
                num_epochs=progress.num_epochs,
                done=progress.done,
                total=progress.total,
                clips_per_s=progress.clips_per_s,
                spent_s=time.monotonic() - self._started,
                members={
                    step_id: MemberProgress(loss=progress.losses.get(step_id), accuracy=self._accuracies.get(step_id))
                    for step_id in self._metrics
                },
            ),
        )

    def _try(self, action: Callable[[], None]) -> bool:
        """Whether the store took it. The first failure of several in a row is logged."""
        try:
            action()
        except (OSError, ReskdError) as error:
            if not self._is_failing:
                logger.warning("where job %s is cannot be written for displays: %s", self._job_id, error)
            self._is_failing = True
            return False
        self._is_failing = False
        return True
