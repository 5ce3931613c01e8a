"""A lane: workers that train one job after another, so that a short job does not pay for their start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from orchestrator.run.lanes.job_config import JobConfig
from orchestrator.run.lanes.worker import hand_over

IDLE_S = 60.0
"""A lane without a job gives its CPUs and GPUs back after this time, so that a cluster can send a machine home."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The workers of a lane: how many, and what each of them takes. Jobs of an equal shape can share a lane."""

    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float


def shape_of(job: JobConfig) -> Shape:
    """The workers that the job needs."""
    return Shape(job.num_workers, job.cpus_per_worker, job.gpus_per_worker)


class LaneClosed(Exception):
    """The lane's workers have ended."""


class Lane:
    """Workers of one shape. ``give`` them a job, then ``wait_for_end``.

    ``run`` starts the workers, tells the lane when they start and end and which job they have ended, and returns when
    they have ended. It runs in a thread of its own (`lanes.train_run`). The lock guards what both threads write.
    """

    def __init__(self, shape: Shape, run: Callable[[Lane], None], *, idle_s: float = IDLE_S) -> None:
        self.shape = shape
        self._run, self._idle_s = run, idle_s
        self._job: JobConfig | None = None
        self._is_closed = False
        self._workers: Any = None
        self._ended: SimpleQueue[str | Exception] = SimpleQueue()
        self._rest: threading.Timer | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._to_the_end, name="lane", daemon=True)
        self._thread.start()

    def give(self, job: JobConfig) -> bool:
        """Hand the job to the workers, now or as soon as they have started. Returns False if the lane is closed."""
        with self._lock:
            if self._rest is not None:
                self._rest.cancel()
            if self._is_closed:
                return False
            self._job = job
            self._send()
        return True

    def wait_for_end(self, timeout_s: float) -> bool:
        """Whether the workers end the current job within this time, whatever became of its members.

        Raises ray.train.TrainingFailedError if the workers failed more often than Train starts them again, and
        LaneClosed if they ended although they had a job.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                ended = self._ended.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return False
            if isinstance(ended, Exception):
                raise ended
            if self._job is None or ended != self._job.id:
                continue  # an earlier job
            with self._lock:
                self._job = None
                self._rest = threading.Timer(self._idle_s, self.close)
                self._rest.daemon = True
                self._rest.start()
            return True

    def close(self) -> None:
        """End the workers of a lane that has no job. Workers with a job end when the trial's process does."""
        with self._lock:
            if self._rest is not None:
                self._rest.cancel()
            if self._job is not None or self._is_closed:
                return
            self._is_closed = True
            self._send()
        self._thread.join()

    @property
    def has_workers(self) -> bool:
        """Whether the workers have started, so that a job can go on."""
        return self._workers is not None

    def workers_started(self, workers: Any) -> None:
        """Take note that workers have started, also in place of others that failed: they get the current job."""
        with self._lock:
            self._workers = workers
            self._send()

    def workers_ended(self) -> None:
        """Take note that the workers are gone. A job waits until others have started."""
        with self._lock:
            self._workers = None

    def job_ended(self, job_id: str) -> None:
        """Take note that rank 0 has ended this job."""
        self._ended.put(job_id)

    def _send(self) -> None:
        """Send the job, or the word to end. Called with the lock held, so that no workers get a job twice."""
        if self._workers is not None and (self._job is not None or self._is_closed):
            self._workers.execute_async(hand_over, self._job)

    def _to_the_end(self) -> None:
        ended: Exception = LaneClosed("the lane's workers ended by themselves")
        try:
            self._run(self)
        except Exception as error:  # whatever ends the workers must end the wait for their reports
            ended = error
        with self._lock:
            self._is_closed = True
        self._ended.put(ended)
