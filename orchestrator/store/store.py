"""The store: the record of everything; Ray and MLflow are projections of it. In a folder, or in a bucket.

::

    runs/<step id>/        what reskd.checkpoint lists, and recipe.json (identity in full), lease.json
    manifests/             what each data set is: plan with the right ids where the videos are not
    progress/<run id>/     what a run says of itself while it lives (run_records.py)

and, in the folder itself or, of a store in a bucket, in a cache folder of each machine::

    mlflow.db artifacts/   MLflow's own store, unless a tracking server is named
    tables/<sweep>/        the tables, rebuilt when a run ends
    devices/ bench/        device profiles and imported speeds of its own
    ray/ logs/             Ray's bookkeeping; nothing is ever resumed from it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from orchestrator.spec.identity import canonical_json
from orchestrator.spec.overrides import shell_name
from orchestrator.spec.steps import StepStatus
from orchestrator.store.lease import Lease, LeaseBlob, leases, read_lease
from orchestrator.store.shared_folder import refuse_closed, write_for_group
from reskd.blobs import LOCK, Blobs, FolderBlobs
from reskd.checkpoint import StepRecords
from reskd.data.manifest import Manifest, manifest_bytes, read_manifest
from reskd.errors import BadInput, Damaged, LeaseLost
from reskd.files import Json
from reskd.runtime.execution import Execution
from reskd.step_files import IDENTITY, WEIGHTS
from reskd.text import file_name_of

DEFAULT_STORE = "store"
STORE_VARIABLE = "RESKD_STORE"
SCHEMES = ("s3", "gs", "az")
"""How the addresses of buckets begin."""


class Store(StepRecords):
    """Steps, leases and manifests in ``blobs``; everything else in a folder of this machine, ``home``.

    Without ``blobs`` the store is a folder, and everything lies in ``home``. If the folder's group may write into it,
    the group may change everything that this process writes from then on.
    """

    def __init__(self, home: Path, blobs: Blobs | None = None) -> None:
        self.home = home.absolute()
        if blobs is None:
            write_for_group(self.home)
        super().__init__(blobs or FolderBlobs(self.home), prefix="runs/")
        self._manifests: dict[str, Manifest] = {}

    @property
    def address(self) -> str:
        """The value of --store that opens this store again."""
        return self.blobs.address

    @property
    def is_default(self) -> bool:
        """Whether a command without --store would use this store."""
        default = os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
        return self.address == (default.rstrip("/") if "://" in default else str(Path(default).absolute()))

    def local(self, reference: str) -> Path:
        """The file on this machine for a reference of `weights_reference` or `manifest_reference`.

        Any other path is returned unchanged. It must have the same meaning on all machines.
        """
        start = f"{self.address}/"
        if not reference.startswith(start):
            return Path(reference)
        key = reference.removeprefix(start)
        step_id = self._step_of_weights(key)
        return self.blobs.local(key) if step_id is None else self.weights(step_id)

    def _step_of_weights(self, key: str) -> str | None:
        folder, *rest = key.removeprefix(self.prefix).split("/")
        return folder if key.startswith(self.prefix) and rest == [WEIGHTS] else None

    def weights_reference(self, step_id: str) -> str:
        """The reference by which a worker on another machine gets a step's weights, with `local`."""
        return self.blobs.where(f"{self._step(step_id)}/{WEIGHTS}")

    @property
    def mlflow_db(self) -> Path:
        return self.home / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def devices(self) -> Path:
        """Folder of the device profiles in this store."""
        return self.home / "devices"

    def tables(self, sweep_name: str) -> Path:
        """Folder of a sweep's tables. Where an earlier version has made one by the whole name, it stays that one."""
        folders = self.home / "tables"
        before = folders / file_name_of(sweep_name)
        return before if before.is_dir() else folders / file_name_of(shell_name(sweep_name))

    def ray_folder(self, run_id: str) -> Path:
        """Folder for Ray's files of one `reskd run`. Nothing is ever resumed from it."""
        return self.home / "ray" / run_id

    @property
    def hash_cache(self) -> Path:
        return self.home / "manifests" / "hashes.json"

    def manifest_reference(self, data_name: str, sha256: str) -> str:
        """The reference by which a worker on another machine gets a manifest, with `local`."""
        return self.blobs.where(_manifest_key(data_name, sha256))

    def manifest(self, data_name: str, sha256: str) -> Manifest | None:
        """The manifest with this hash; None if the store does not have it. It is read once in a process."""
        key = _manifest_key(data_name, sha256)
        if sha256 not in self._manifests and self.blobs.exists(key):
            self._manifests[sha256] = read_manifest(self.blobs.local(key))
        return self._manifests.get(sha256)

    def newest_manifest(self, data_name: str) -> Path | None:
        """The newest manifest of a data set's name, as a file on this machine."""
        length = len(_manifest_key(data_name, "?" * 16))  # another data set's name may begin with ours
        start = f"manifests/{data_name}-"
        found = [
            each for each in self.blobs.entries("manifests") if each.key.startswith(start) and len(each.key) == length
        ]
        newest = max(found, key=lambda entry: (entry.modified, entry.key), default=None)
        return None if newest is None else self.blobs.local(newest.key)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write a manifest under its data set's name and hash, unless it exists.

        The hash does not cover the list of missing videos. So a manifest with missing videos replaces an older file.
        """
        key = _manifest_key(manifest.name, manifest.sha256)
        if manifest.missing or not self.blobs.exists(key):
            self.blobs.write(key, manifest_bytes(manifest))

    def step_ids(self) -> tuple[str, ...]:
        return tuple(self.blobs.folders_with("runs", IDENTITY))

    def find_step(self, prefix: str) -> str:
        """The step whose id begins with ``prefix``. Raises BadInput unless there is exactly one."""
        found = [step_id for step_id in self.step_ids() if prefix and step_id.startswith(prefix)]
        if len(found) != 1:
            several = f" ({', '.join(found[:5])})" if found else ""
            raise BadInput(
                f"{prefix!r} names {len(found)} steps in {self.address}{several}; give a step id of `reskd status`"
            )
        return found[0]

    def identity(self, step_id: str) -> Json | None:
        """``{full_id, payload, recipe}`` as it was first recorded."""
        return self._read(step_id, IDENTITY)

    def record_identity(self, step_id: str, *, full_id: str, payload: Json, recipe: Json) -> None:
        """Write the identity of a step, or check that the stored one is equal."""
        before = self.identity(step_id)
        if before is None:
            self._write(step_id, IDENTITY, {"full_id": full_id, "payload": payload, "recipe": recipe})
        elif canonical_json(before["payload"]) != canonical_json(payload):
            raise BadInput(
                f"{self.place(step_id)}/recipe.json: step {step_id} is on record with another recipe; "
                f"two recipes must never share an id. Move the step away and report it"
            )

    def lease_path(self, step_id: str) -> LeaseBlob:
        return LeaseBlob(f"{self._step(step_id)}/lease.json", self.blobs)

    def lease(self, step_id: str) -> Lease | None:
        """The step's lease; None if there is none, or if its owner has provably ended."""
        lease = read_lease(self.lease_path(step_id))
        return None if lease is None or lease.owner.is_gone() else lease

    def status(self, step_id: str, *, own: str | None = None) -> StepStatus:
        """The state of a step. Leases of the owner ``own`` do not count as held.

        A step is damaged if one of its records cannot be read, or if its weights were found to be damaged.
        """
        try:
            return self._status(step_id, own=own)
        except Damaged as error:
            return StepStatus(state="damaged", reason=str(error))

    def _status(self, step_id: str, *, own: str | None) -> StepStatus:
        started = self.started(step_id)
        start: dict[str, Any] = (
            {"workers": started["workers"], "execution": Execution.of_record(started)} if started else {}
        )
        done = self.done(step_id)
        if done is not None:
            damage = self.damage(step_id)
            if damage is not None:
                return StepStatus(state="damaged", reason=damage, **start)
            return StepStatus(state="done", done=done, **start)
        lease = self.lease(step_id)
        epochs = self.epochs(step_id)
        if lease is not None and lease.owner.id != own:
            return StepStatus(state="held", epochs=epochs, holder=str(lease.owner), **start)
        pruned = self.pruned(step_id)
        if pruned is not None:
            return StepStatus(state="pruned", reason=pruned["reason"], **start)
        failure = self.failure(step_id)
        if failure is not None:
            return StepStatus(state="failed", epochs=epochs, reason=failure["reason"], **start)
        return StepStatus(epochs=epochs, **start)

    def refuse_closed(self, step_ids: Iterable[str]) -> None:
        """Raise BadInput if another user has closed the folder of one of these steps to this user."""
        if isinstance(self.blobs, FolderBlobs):
            folders = [self.blobs.path(self._step(step_id)) for step_id in step_ids]
            inside = (folder / name for folder in folders for name in ("", LOCK, "checkpoints", "eval", "throughput"))
            refuse_closed(inside, store=self.home)

    def remove(self, step_id: str) -> None:
        """Delete a step that nobody holds. Its lease is held meanwhile."""
        with leases() as held:
            lease = self.lease_path(step_id)
            if not held.take_when_still(lease):
                raise BadInput(f"step {step_id} is being trained by {self.lease(step_id)}; stop it first")
            self.blobs.delete_folder(self._step(step_id), last=lease.key)


class LeasedStore(Store):
    """The store for a job's workers. Each write to a step needs the run's lease on it."""

    def __init__(self, store: Store, *, owner_id: str) -> None:
        super().__init__(store.home, _LeasedBlobs(store.blobs, check=self._check))
        self.owner_id = owner_id
        self._store = store

    def lease_path(self, step_id: str) -> LeaseBlob:
        """The place of the lease itself, which every process may write."""
        return self._store.lease_path(step_id)

    def holds(self, step_id: str) -> bool:
        """Whether the run holds the step's lease."""
        lease = read_lease(self.lease_path(step_id))
        return lease is not None and lease.owner.id == self.owner_id

    def note_damage(self, step_id: str, reason: str) -> None:
        """As of every store: the step is a teacher, whose lease nobody needs."""
        self._store.note_damage(step_id, reason)

    def lose_clip(self, clip: str, record: Json) -> None:
        """See `StepRecords.lose_clip`. It belongs to no step."""
        self._store.lose_clip(clip, record)

    def _check(self, key: str) -> None:
        """Raise LeaseLost unless the run holds the lease of the step that the key belongs to."""
        step_id = key.split("/")[1]
        if not self.holds(step_id):
            raise LeaseLost(f"step {step_id}: another run has taken it over from run {self.owner_id}, or it ended")


class _LeasedBlobs:
    """Blobs that call ``check`` with the key before each change."""

    def __init__(self, blobs: Blobs, *, check: Callable[[str], None]) -> None:
        self._blobs, self._check = blobs, check
        self.where, self.local, self.read, self.read_version = blobs.where, blobs.local, blobs.read, blobs.read_version
        self.exists, self.entries, self.folders_with = blobs.exists, blobs.entries, blobs.folders_with

    @property
    def address(self) -> str:
        return self._blobs.address

    def write(self, key: str, content: bytes) -> None:
        self._check(key)
        self._blobs.write(key, content)

    def create(self, key: str, content: bytes) -> bool:
        self._check(key)
        return self._blobs.create(key, content)

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        self._check(key)
        return self._blobs.replace(key, content, version)

    def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)
        for key in doomed[:1]:  # all keys belong to one step, as in every deletion of a training
            self._check(key)
        self._blobs.delete(doomed)

    def delete_folder(self, folder: str, *, last: str | None = None) -> None:
        self._check(folder)
        self._blobs.delete_folder(folder, last=last)

    def delete_leftovers(self, folder: str) -> None:
        self._check(folder)
        self._blobs.delete_leftovers(folder)


def _manifest_key(data_name: str, sha256: str) -> str:
    return f"manifests/{data_name}-{sha256[:16]}.json"
