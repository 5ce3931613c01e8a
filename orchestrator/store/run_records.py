"""What a `reskd run` says of itself while it lives, for displays: its jobs, and where each running job is.

::

    progress/<run id>/run.json        the run and the state of its jobs; the run's own process writes it
    progress/<run id>/<job id>.json   where a job is; rank 0 of the job's workers writes it, and removes it at the end

Nothing is decided by these records, and results are never read from them. They are removed when the run ends. Those of
a run that was killed stay until the next `reskd run`; the leases say that it does not live.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.store.lease import LOOK_S, StallWatch, read_lease
from orchestrator.store.store import Store

FOLDER = "progress"
RUN = "run.json"

JobState = Literal["waiting", "running", "done", "failed", "blocked", "split"]
"""split: its members continue in two jobs."""
ENDED: frozenset[JobState] = frozenset({"done", "failed", "blocked", "split"})


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberProgress:
    """The last figures of one member."""

    loss: float | None = None
    """Mean total loss of the epoch so far."""
    accuracy: float | None = None
    """Its main metric in the last validation or test, from 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobProgress:
    """Where a running job is, by rank 0 of its workers."""

    phase: Literal["starting", "training", "validation", "test"] = "starting"
    epoch: int = 0
    num_epochs: int = 0
    done: int = 0
    """Training steps of the epoch, or clips of the evaluation, that are done."""
    total: int = 0
    clips_per_s: float = 0.0
    spent_s: float = 0.0
    """Seconds since the workers took the job."""
    members: Mapping[str, MemberProgress] = field(default_factory=dict)

    @property
    def epochs_done(self) -> float:
        """Epochs that are trained, with the share of the current one."""
        if self.phase in ("validation", "test"):
            return float(self.epoch)
        return max(0, self.epoch - 1) + (self.done / self.total if self.total and self.epoch else 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """A job of a run: what is planned, and its state."""

    id: str
    label: str
    """The job in a few words, such as `seed 0: baseline and 3 more`."""
    names: Mapping[str, str]
    """Member's step id -> its row."""
    cost_s: float
    """Estimated seconds, from the epoch ``resume_from`` on."""
    devices: float
    """Devices that the estimate counts for it."""
    after: tuple[str, ...] = ()
    """Jobs that it waits for."""
    resume_from: int = 0
    state: JobState = "waiting"
    started: float | None = None
    """Unix time; like every time here it is only displayed."""
    ended: float | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """Of a job that is done: step id -> its main metric in the final test."""
    reason: str = ""
    """Why it failed."""

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """A `reskd run` and its jobs, in the order in which they are to start."""

    id: str
    """The run's id as the owner of its leases."""
    process: str
    """The process that it is, in words."""
    sweep: str
    files: tuple[str, ...]
    """Names of the sweep files, without their ending."""
    log: str
    """The log on the run's machine."""
    started: float
    num_devices: float
    leased: str
    """A step whose lease the run holds to its end."""
    jobs: tuple[JobRecord, ...]


class RunRecords:
    """The records of the runs of a store."""

    def __init__(self, store: Store) -> None:
        self._store, self._blobs = store, store.blobs

    def run_ids(self) -> list[str]:
        return self._blobs.folders_with(FOLDER, RUN)

    def run(self, run_id: str) -> RunRecord | None:
        """None if there is none, or none that can be read."""
        return _parsed(_RUN, self._blobs.read(f"{FOLDER}/{run_id}/{RUN}"))

    def write_run(self, run: RunRecord) -> None:
        self._blobs.write(f"{FOLDER}/{run.id}/{RUN}", _RUN.dump_json(run))

    def jobs(self, run_id: str) -> dict[str, JobProgress]:
        """Job id -> where it is, for the jobs that workers train now."""
        found = {}
        for entry in self._blobs.entries(f"{FOLDER}/{run_id}"):
            name = Path(entry.key)
            progress = _parsed(_JOB, self._blobs.read(entry.key)) if name.name != RUN else None
            if progress is not None:
                found[name.stem] = progress
        return found

    def job(self, run_id: str, job_id: str) -> JobProgress | None:
        """Where this job is; None if no worker trains it now."""
        return _parsed(_JOB, self._blobs.read(f"{FOLDER}/{run_id}/{job_id}.json"))

    def write_job(self, run_id: str, job_id: str, progress: JobProgress) -> None:
        self._blobs.write(f"{FOLDER}/{run_id}/{job_id}.json", _JOB.dump_json(progress))

    def forget_job(self, run_id: str, job_id: str) -> None:
        self._blobs.delete([f"{FOLDER}/{run_id}/{job_id}.json"])

    def forget_run(self, run_id: str) -> None:
        self._blobs.delete_folder(f"{FOLDER}/{run_id}", last=f"{FOLDER}/{run_id}/{RUN}")

    def lives(self, run: RunRecord, watch: StallWatch) -> bool:
        """Whether the run holds its lease, and its process is not known to have ended.

        ``watch`` remembers the lease from call to call: a run on another machine counts as ended once its lease has not
        changed for the stale time.
        """
        place = self._store.lease_path(run.leased)
        lease = read_lease(place)
        return lease is not None and lease.owner.id == run.id and not watch.is_stale(place, lease)

    def living(
        self, *, file: str | None = None, pause: Callable[[float], None] = time.sleep, watch: StallWatch | None = None
    ) -> list[RunRecord]:
        """The runs that live, the newest first. ``file``: only those of the sweep file with this name.

        If nothing is known of a run's process, such as one on another machine, this waits until the run's lease has
        moved, or has not moved for the stale time.
        """
        watch = watch or StallWatch()
        unclear = [run for run in map(self.run, self.run_ids()) if run is not None and file in (None, *run.files)]
        found = []
        while unclear:
            for run in list(unclear):
                place = self._store.lease_path(run.leased)
                lease = read_lease(place)
                if lease is None or lease.owner.id != run.id:
                    unclear.remove(run)
                elif lease.owner.fate() == "lives" or watch.has_moved(place, lease):
                    found.append(run)
                    unclear.remove(run)
                elif watch.is_stale(place, lease):
                    unclear.remove(run)
            if unclear:
                pause(LOOK_S)
        return sorted(found, key=lambda run: -run.started)

    def forget_dead(self) -> None:
        """Remove the records of runs that have provably ended."""
        for run_id in self.run_ids():
            run = self.run(run_id)
            if run is None or not self.lives(run, StallWatch()):
                self.forget_run(run_id)


_RUN, _JOB = TypeAdapter(RunRecord), TypeAdapter(JobProgress)
Record = TypeVar("Record")


def _parsed(adapter: TypeAdapter[Record], content: bytes | None) -> Record | None:
    """None for a record that another version wrote, or that is damaged: nothing depends on it."""
    try:
        return None if content is None else adapter.validate_json(content)
    except ValidationError:
        return None
