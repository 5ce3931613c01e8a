"""The store: one folder that is the record of everything; Ray and MLflow are projections of it.

::

    runs/<step id>/        what reskd.checkpoint lists, and recipe.json (identity in full), lease.json
    manifests/             what each data set is: plan with the right ids where the videos are not
    mlflow.db artifacts/   MLflow's own store, unless a tracking server is named
    tables/<sweep>/        the tables, rebuilt when a run ends
    devices/               device profiles of its own
    ray/ logs/             Ray's bookkeeping; nothing is ever resumed from it
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.spec.identity import canonical_json
from orchestrator.spec.steps import StepStatus
from orchestrator.store.lease import Lease, LeasePlace, leases, read_lease
from reskd.checkpoint import FolderSink
from reskd.data.manifest import Manifest, write_manifest
from reskd.errors import BadInput, ReskdError
from reskd.files import Json, json_files, read_json, write_json
from reskd.runtime.execution import Execution

DEFAULT_STORE = "store"
STORE_VARIABLE = "RESKD_STORE"


class LeaseLost(ReskdError):
    """Another process has taken this step over; whatever we would write now is not ours to write."""


class Store(FolderSink):
    """Runs, leases, manifests and the places of everything else in one folder."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        super().__init__(self.home / "runs")

    @property
    def is_default(self) -> bool:
        """Whether a command without --store would use this store."""
        return self.home == Path(os.environ.get(STORE_VARIABLE) or DEFAULT_STORE).absolute()

    @property
    def address(self) -> str:
        """What --store takes to come here again."""
        return str(self.home)

    def reference(self, path: Path) -> str:
        """A file as a worker on another machine may ask for it, with `local`."""
        return str(path)

    def local(self, reference: str) -> Path:
        """The file on this machine that a reference means."""
        return Path(reference)

    def weights(self, step_id: str) -> Path:
        """A finished step's trained model, as a file on this machine."""
        return self.local(self.reference(self.weights_path(step_id)))

    def place(self, step_id: str) -> str:
        """Where a step lies, for people."""
        return str(self.folder(step_id))

    @property
    def mlflow_db(self) -> Path:
        return self.home / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def devices(self) -> Path:
        """Device profiles of this store's own."""
        return self.home / "devices"

    def tables(self, sweep_name: str) -> Path:
        return self.home / "tables" / sweep_name.replace("/", "_")

    def ray_folder(self, run_id: str) -> Path:
        """Ray's own bookkeeping of one `reskd run`; nothing is ever resumed from it."""
        return self.home / "ray" / run_id

    def manifest_path(self, data_name: str, sha256: str) -> Path:
        return self.home / "manifests" / f"{data_name}-{sha256[:16]}.json"

    def newest_manifest(self, data_name: str) -> Path | None:
        """The manifest last written under a data set's name, for a machine without the videos."""
        found = (self.home / "manifests").glob(f"{data_name}-{'?' * 16}.json")
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep a manifest under its data set's name and hash, unless it is there.

        The missing are in the file and not in the hash, so one with missing videos takes the place of an older file.
        """
        path = self.manifest_path(manifest.name, manifest.sha256)
        if manifest.missing or not path.exists():
            write_manifest(manifest, path)

    @property
    def hash_cache(self) -> Path:
        return self.home / "manifests" / "hashes.json"

    def step_ids(self) -> tuple[str, ...]:
        if not self.root.exists():
            return ()
        return tuple(sorted(path.name for path in self.root.iterdir() if (path / "recipe.json").exists()))

    def find_step(self, prefix: str) -> str:
        """The one step whose id begins so; BadInput for none or several."""
        found = [step_id for step_id in self.step_ids() if prefix and step_id.startswith(prefix)]
        if len(found) != 1:
            several = f" ({', '.join(found[:5])})" if found else ""
            raise BadInput(
                f"{prefix!r} names {len(found)} steps in {self.address}{several}; give a step id of `reskd status`"
            )
        return found[0]

    def identity(self, step_id: str) -> Json | None:
        """``{full_id, payload, recipe}`` as first recorded."""
        return read_json(self.folder(step_id) / "recipe.json")

    def record_identity(self, step_id: str, *, full_id: str, payload: Json, recipe: Json) -> None:
        """Write who a step is, or check that the one on record is the same to the letter."""
        before = self.identity(step_id)
        if before is None:
            write_json(self.folder(step_id) / "recipe.json", {"full_id": full_id, "payload": payload, "recipe": recipe})
        elif canonical_json(before["payload"]) != canonical_json(payload):
            raise BadInput(
                f"{self.folder(step_id) / 'recipe.json'}: step {step_id} is on record with another recipe; "
                f"two recipes must never share an id. Move the folder away and report it"
            )

    def newest_throughput(self, step_id: str) -> Json | None:
        """The last measurement; figures of two devices are never mixed."""
        paths = json_files(self.folder(step_id) / "throughput")
        if len(paths) > 1:
            paths = [max(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))]
        return read_json(paths[0]) if paths else None

    def lease_path(self, step_id: str) -> LeasePlace:
        return self.folder(step_id) / "lease.json"

    def lease(self, step_id: str) -> Lease | None:
        """The lease of somebody who, as far as this host can tell, still lives."""
        lease = read_lease(self.lease_path(step_id))
        return None if lease is None or lease.owner.is_gone() else lease

    def status(self, step_id: str, *, own: str | None = None) -> StepStatus:
        """What the store says of a step; leases of the owner `own` do not count as held."""
        started = self.started(step_id)
        start: dict[str, Any] = (
            {"workers": started["workers"], "execution": Execution.of_record(started)} if started else {}
        )
        done = self.done(step_id)
        if done is not None:
            return StepStatus(state="done", done=done, **start)
        lease = self.lease(step_id)
        epochs = self.epochs(step_id)
        if lease is not None and lease.owner.id != own:
            return StepStatus(state="held", epochs=epochs, holder=str(lease.owner), **start)
        pruned = self.pruned(step_id)
        if pruned is not None:
            return StepStatus(state="pruned", reason=pruned["reason"], **start)
        failure = self.failure(step_id)
        if failure is not None and not is_too_many(failure):
            return StepStatus(state="failed", epochs=epochs, reason=failure["reason"], **start)
        return StepStatus(epochs=epochs, **start)

    def remove(self, step_id: str) -> None:
        """Delete a step that nobody holds, holding it meanwhile."""
        with leases() as held:
            if not held.take(self.lease_path(step_id)):
                raise BadInput(f"step {step_id} is being trained by {self.lease(step_id)}; stop it first")
            shutil.rmtree(self.folder(step_id))


class LeasedSink(Store):
    """The store as a job's workers see it: every write first checks that the step is still theirs."""

    def __init__(self, home: Path, *, owner_id: str) -> None:
        super().__init__(home)
        self.owner_id = owner_id

    def holds(self, step_id: str) -> bool:
        lease = read_lease(self.lease_path(step_id))
        return lease is not None and lease.owner.id == self.owner_id

    def _check(self, step_id: str) -> None:
        if not self.holds(step_id):
            raise LeaseLost(f"step {step_id}: another run has taken it over from run {self.owner_id}, or it ended")

    def start(self, step_id: str, info: Json, *, afresh: bool) -> Json:
        self._check(step_id)
        return super().start(step_id, info, afresh=afresh)

    def rewind(self, step_id: str, epoch: int) -> None:
        self._check(step_id)
        super().rewind(step_id, epoch)

    def save(self, step_id: str, epoch: int, state: Json, metrics: Mapping[str, float]) -> None:
        self._check(step_id)
        super().save(step_id, epoch, state, metrics)

    def write_evaluation(self, step_id: str, name: str, record: Json, arrays: Mapping[str, np.ndarray]) -> None:
        self._check(step_id)
        super().write_evaluation(step_id, name, record, arrays)

    def write_throughput(self, step_id: str, record: Json) -> None:
        self._check(step_id)
        super().write_throughput(step_id, record)

    def fail(self, step_id: str, record: Json) -> None:
        self._check(step_id)
        super().fail(step_id, record)

    def prune(self, step_id: str, record: Json) -> None:
        self._check(step_id)
        super().prune(step_id, record)

    def finish(self, step_id: str, weights: Json, record: Json) -> None:
        self._check(step_id)
        super().finish(step_id, weights, record)


def is_too_many(failure: Json) -> bool:
    """Whether a failure's record says that memory did not do for all of a job, of which a part may yet fit."""
    return int(failure.get("together", 1)) > 1
