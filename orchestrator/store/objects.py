"""The store in an S3 bucket: the keys are the folder store's paths, so a copy of one is the other but for two things.

::

    runs/<step id>/metrics/epoch_0003.json   one object an epoch in place of metrics.jsonl: none can be appended to
    runs/<step id>/lease.json                changed by If-None-Match and If-Match alone; `null` once it is given back

DONE.json is written by If-None-Match. What only this machine reads (MLflow's database and artifacts, tables, logs,
Ray's bookkeeping, the cache of hashes) and copies of weights and manifests lie in a cache folder that mirrors the keys.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from orchestrator.spec.identity import canonical_json
from orchestrator.store.bucket import Bucket
from orchestrator.store.folder import STORE_VARIABLE, LeasedSink, LeaseLost, Store
from orchestrator.store.lease import leases
from reskd.checkpoint import NUM_KEPT_CHECKPOINTS, file_name_of, metrics_line, packed, parse, serialise
from reskd.data.manifest import Manifest, write_manifest
from reskd.errors import BadInput
from reskd.files import Json, write_atomic

CACHE_VARIABLE = "RESKD_CACHE"


@dataclass(frozen=True)
class LeaseKey:
    """A lease's object. Equal for one key; the bucket is only the way to it."""

    key: str
    bucket: Bucket = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.bucket.url}/{self.key}"

    def read(self) -> Json | None:
        content = self.bucket.read(self.key)
        return None if content is None else _json(content, where=str(self))

    def update(self, decide: Callable[[Json | None], Json | None]) -> Json | None:
        """Compare and set: what was read must still be there when it is written, else all begins anew."""
        while True:
            content, etag = self.bucket.read_version(self.key)
            try:
                present = None if content is None else _json(content, where=str(self))
            except BadInput:
                present = None  # the next taker replaces what somebody else put here
            wanted = decide(present)
            if wanted == present:
                return wanted
            # A lease given back stays as null: not every server takes a condition on a deletion.
            new = json.dumps(wanted).encode()
            if etag is None:
                is_written = self.bucket.write_if_absent(self.key, new)
            else:
                is_written = self.bucket.write_if_match(self.key, new, etag)
            if is_written:
                return wanted


class S3Store(Store):
    """The store under ``s3://bucket/prefix``; `home` is its cache folder on this machine."""

    def __init__(self, url: str) -> None:
        self.bucket = Bucket(url)
        self._lines_seen: dict[str, tuple[str, Json]] = {}
        name = hashlib.sha256(f"{self.bucket.endpoint} {self.bucket.url}".encode()).hexdigest()[:16]
        super().__init__(_cache() / name)

    def check(self) -> None:
        """BadInput unless the bucket answers and heeds conditions, and the cache folder can be written."""
        self.bucket.check()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            (self.home / "url").write_text(f"{self.bucket.url} at {self.bucket.endpoint}\n")
        except OSError as error:
            raise BadInput(f"{self.home}: cannot be written ({error.strerror}); set {CACHE_VARIABLE}") from error

    @property
    def is_default(self) -> bool:
        return os.environ.get(STORE_VARIABLE, "").rstrip("/") == self.bucket.url

    @property
    def address(self) -> str:
        return self.bucket.url

    def reference(self, path: Path) -> str:
        """The object that a path in the cache mirrors; a path elsewhere is the same on all machines."""
        return f"{self.bucket.url}/{self._key(path)}" if path.is_relative_to(self.home) else str(path)

    def local(self, reference: str) -> Path:
        """The object's copy in this machine's cache, fetched anew: a step may have been removed and trained again."""
        prefix = f"{self.bucket.url}/"
        if not reference.startswith(prefix):
            return Path(reference)
        key = reference.removeprefix(prefix)
        content = self.bucket.read(key)
        if content is None:
            raise BadInput(f"{reference}: no such object; was the step that makes it removed?")
        write_atomic(self.home / key, content)
        return self.home / key

    def place(self, step_id: str) -> str:
        return f"{self.bucket.url}/{self._step(step_id)}"

    def write_manifest(self, manifest: Manifest) -> None:
        path = self.manifest_path(manifest.name, manifest.sha256)
        if manifest.missing or not path.exists():
            write_manifest(manifest, path)
        if manifest.missing or not self.bucket.exists(self._key(path)):
            self.bucket.write(self._key(path), path.read_bytes())

    def newest_manifest(self, data_name: str) -> Path | None:
        start = f"manifests/{data_name}-"
        length = len(start) + 16 + len(".json")  # another data set's name may go on after ours
        found = [entry for entry in self.bucket.list(start) if len(entry.key) == length]
        newest = max(found, key=lambda entry: (entry.modified, entry.key), default=None)
        return None if newest is None else self.local(f"{self.bucket.url}/{newest.key}")

    def step_ids(self) -> tuple[str, ...]:
        keys = [entry.key.split("/") for entry in self.bucket.list("runs/")]
        return tuple(sorted(parts[1] for parts in keys if len(parts) == 3 and parts[2] == "recipe.json"))

    def identity(self, step_id: str) -> Json | None:
        return self._read(step_id, "recipe.json")

    def record_identity(self, step_id: str, *, full_id: str, payload: Json, recipe: Json) -> None:
        before = self.identity(step_id)
        if before is None:
            self._write(step_id, "recipe.json", {"full_id": full_id, "payload": payload, "recipe": recipe})
        elif canonical_json(before["payload"]) != canonical_json(payload):
            raise BadInput(
                f"{self.place(step_id)}/recipe.json: step {step_id} is on record with another recipe; "
                f"two recipes must never share an id. Move the objects away and report it"
            )

    def lease_path(self, step_id: str) -> LeaseKey:
        return LeaseKey(f"{self._step(step_id)}/lease.json", self.bucket)

    def remove(self, step_id: str) -> None:
        with leases() as held:
            lease = self.lease_path(step_id)
            if not held.take(lease):
                raise BadInput(f"step {step_id} is being trained by {self.lease(step_id)}; stop it first")
            keys = [entry.key for entry in self.bucket.list(f"{self._step(step_id)}/") if entry.key != lease.key]
            self.bucket.delete(keys)
            self.bucket.delete([lease.key])  # last, and while it is ours
            shutil.rmtree(self.folder(step_id), ignore_errors=True)

    # What a training writes and everybody reads: reskd.checkpoint.Sink, by key.

    def start(self, step_id: str, info: Json, *, afresh: bool) -> Json:
        before = None if afresh else self.started(step_id)
        if before is None:
            self._write(step_id, "start.json", info)
        return before or info

    def started(self, step_id: str) -> Json | None:
        return self._read(step_id, "start.json")

    def epochs(self, step_id: str) -> tuple[int, ...]:
        prefix = f"{self._step(step_id)}/checkpoints/epoch_"
        return tuple(int(entry.key.removeprefix(prefix).removesuffix(".pt")) for entry in self.bucket.list(prefix))

    def load(self, step_id: str, epoch: int) -> Json:
        key = self._checkpoint_key(step_id, epoch)
        content, where = self.bucket.read(key), f"{self.bucket.url}/{key}"
        if content is None:
            raise FileNotFoundError(f"{where}: no such object")
        state = parse(content, where=where, what="checkpoint")
        if state["step_id"] != step_id:
            raise BadInput(f"{where}: belongs to step {state['step_id']}, another recipe; remove the object")
        return state

    def rewind(self, step_id: str, epoch: int) -> None:
        doomed = [self._checkpoint_key(step_id, held) for held in self.epochs(step_id) if held > epoch]
        lines = [line["epoch"] for line in self._lines(step_id)]
        self.bucket.delete([*doomed, *(self._line_key(step_id, held) for held in lines if held > epoch)])
        if epoch and epoch not in lines:  # the crash came between checkpoint and line
            self._write_line(step_id, self.load(step_id, epoch)["line"])

    def save(self, step_id: str, epoch: int, state: Json, metrics: Mapping[str, float]) -> None:
        line = metrics_line(epoch, metrics)
        content = serialise({**state, "step_id": step_id, "line": line})
        self.bucket.write(self._checkpoint_key(step_id, epoch), content)
        self._write_line(step_id, line)
        self.bucket.delete(self._checkpoint_key(step_id, old) for old in self.epochs(step_id)[:-NUM_KEPT_CHECKPOINTS])

    def _lines(self, step_id: str) -> list[Json]:
        """By epoch; an object that has not changed is read once."""
        lines = []
        for entry in self.bucket.list(f"{self._step(step_id)}/metrics/epoch_"):
            etag, line = self._lines_seen.get(entry.key, ("", {}))
            if etag != entry.etag:
                content = self.bucket.read(entry.key)
                if content is None:
                    continue  # rewound meanwhile
                line = _json(content, where=f"{self.bucket.url}/{entry.key}") or {}
                self._lines_seen[entry.key] = (entry.etag, line)
            lines.append(line)
        return lines

    def write_evaluation(self, step_id: str, name: str, record: Json, arrays: Mapping[str, np.ndarray]) -> None:
        self.bucket.write(f"{self._step(step_id)}/eval/{name}.npz", packed(arrays))
        self._write(step_id, f"eval/{name}.json", record)

    def evaluations(self, step_id: str) -> dict[str, Json]:
        return {Path(key).stem: record for key, record in self._records(step_id, "eval").items()}

    def logits(self, step_id: str, name: str) -> dict[str, np.ndarray]:
        key = f"{self._step(step_id)}/eval/{name}.npz"
        content = self.bucket.read(key)
        if content is None:
            raise FileNotFoundError(f"{self.bucket.url}/{key}: no such object")
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays)

    def write_throughput(self, step_id: str, record: Json) -> None:
        self._write(step_id, f"throughput/{file_name_of(str(record['device']))}.json", record)

    def throughputs(self, step_id: str) -> dict[str, Json]:
        return {record["device"]: record for record in self._records(step_id, "throughput").values()}

    def newest_throughput(self, step_id: str) -> Json | None:
        found = self.bucket.list(f"{self._step(step_id)}/throughput/")
        newest = max(found, key=lambda entry: (entry.modified, entry.key), default=None)
        return self._read(step_id, newest.key.removeprefix(f"{self._step(step_id)}/")) if newest else None

    def fail(self, step_id: str, record: Json) -> None:
        self._write(step_id, "failed.json", record)

    def failure(self, step_id: str) -> Json | None:
        return self._read(step_id, "failed.json")

    def prune(self, step_id: str, record: Json) -> None:
        self._write(step_id, "pruned.json", record)
        self.bucket.delete(entry.key for entry in self.bucket.list(f"{self._step(step_id)}/checkpoints/"))

    def pruned(self, step_id: str) -> Json | None:
        return self._read(step_id, "pruned.json")

    def forget_failure(self, step_id: str) -> None:
        self.bucket.delete([f"{self._step(step_id)}/failed.json"])

    def finish(self, step_id: str, weights: Json, record: Json) -> None:
        """Weights, then DONE, once; LeaseLost where another run's is there."""
        done = f"{self._step(step_id)}/DONE.json"
        content = _dump(record)
        if self.is_finished(step_id):
            raise LeaseLost(f"{self.bucket.url}/{done}: another run has finished this step")
        self.bucket.write(f"{self._step(step_id)}/weights.pt", serialise(weights))
        # Ours may be there although it was refused: a write whose answer was lost is sent again.
        if not self.bucket.write_if_absent(done, content) and self.bucket.read(done) != content:
            raise LeaseLost(f"{self.bucket.url}/{done}: another run has finished this step")
        self.bucket.delete(entry.key for entry in self.bucket.list(f"{self._step(step_id)}/checkpoints/"))

    def done(self, step_id: str) -> Json | None:
        return self._read(step_id, "DONE.json")

    def is_finished(self, step_id: str) -> bool:
        return self.bucket.exists(f"{self._step(step_id)}/DONE.json")

    def _step(self, step_id: str) -> str:
        return f"runs/{step_id}"

    def _key(self, path: Path) -> str:
        return path.relative_to(self.home).as_posix()

    def _checkpoint_key(self, step_id: str, epoch: int) -> str:
        return f"{self._step(step_id)}/checkpoints/epoch_{epoch:04d}.pt"

    def _line_key(self, step_id: str, epoch: int) -> str:
        return f"{self._step(step_id)}/metrics/epoch_{epoch:04d}.json"

    def _write_line(self, step_id: str, line: Json) -> None:
        self.bucket.write(self._line_key(step_id, line["epoch"]), json.dumps(line).encode())

    def _read(self, step_id: str, name: str) -> Json | None:
        key = f"{self._step(step_id)}/{name}"
        content = self.bucket.read(key)
        return None if content is None else _json(content, where=f"{self.bucket.url}/{key}")

    def _write(self, step_id: str, name: str, value: Json) -> None:
        self.bucket.write(f"{self._step(step_id)}/{name}", _dump(value))

    def _records(self, step_id: str, folder: str) -> dict[str, Json]:
        start = f"{self._step(step_id)}/"
        keys = [entry.key.removeprefix(start) for entry in self.bucket.list(f"{start}{folder}/")]
        return {key: self._read(step_id, key) or {} for key in keys if key.endswith(".json")}


class LeasedS3Sink(LeasedSink, S3Store):
    """LeasedSink's checks before S3Store's writes."""

    def __init__(self, url: str, *, owner_id: str) -> None:
        S3Store.__init__(self, url)
        self.owner_id = owner_id


def _cache() -> Path:
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reskd"


def _dump(value: Json) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


def _json(content: bytes, *, where: str) -> Json | None:
    try:
        value: Json | None = json.loads(content)
    except ValueError as error:
        raise BadInput(f"{where}: not valid JSON ({error}); remove the object or restore it") from error
    return value
