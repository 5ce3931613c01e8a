"""What a step leaves, and how it is written and read, in a folder as in an object store.

A step's folder, in the order in which it fills::

    start.json                  workers, threads and time of the first start; a resume uses the same workers
    checkpoints/epoch_0003.pt   model, optimiser and the epoch's metrics; the newest two are kept
    metrics.jsonl               one line an epoch, written after the checkpoint that backs it
    eval/<protocol>.json .npz   an evaluation record and each clip's logits
    throughput/<device>.json    clips/s of the network alone
    weights.pt                  the trained model alone: what a student's job loads as its teacher
    failed.json, pruned.json or DONE.json    published last; pruned: stopped early, on purpose
    split.json                  memory did not do for the step beside the others of its job

The teacher is in none of these files. Beside the steps' folders::

    lost_clips/<clip>.json      a video at which the decoder crashes or hangs; no training opens it
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from reskd.blobs import Blobs, FolderBlobs
from reskd.errors import BadInput, LeaseLost
from reskd.files import Json, json_bytes, parse_json

if TYPE_CHECKING:
    from torch import Tensor

NUM_KEPT_CHECKPOINTS = 2
LOST_CLIPS = "lost_clips"
FOREIGN_FILE = (
    "a teacher that was trained elsewhere needs its network beside the file: "
    "teacher: {checkpoint: FILE, model: {name: ..., resolution: ...}}"
)


class Sink(Protocol):
    """The place where a training stores its results. Rank 0 alone writes; all ranks may read."""

    def start(self, step_id: str, info: Json, *, afresh: bool) -> Json: ...
    def epochs(self, step_id: str) -> tuple[int, ...]: ...
    def load(self, step_id: str, epoch: int) -> Json: ...
    def rewind(self, step_id: str, epoch: int) -> None: ...
    def save(self, step_id: str, epoch: int, state: Json, metrics: Mapping[str, float]) -> None: ...
    def write_evaluation(self, step_id: str, name: str, record: Json, arrays: Mapping[str, np.ndarray]) -> None: ...
    def write_throughput(self, step_id: str, record: Json) -> None: ...
    def fail(self, step_id: str, record: Json) -> None: ...
    def prune(self, step_id: str, record: Json) -> None: ...
    def finish(self, step_id: str, weights: Json, record: Json) -> None: ...
    def is_finished(self, step_id: str) -> bool: ...
    def lost_clips(self) -> dict[str, str]: ...
    def lose_clip(self, clip: str, record: Json) -> None: ...


def state_hash(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes of all parameters and buffers. Equal only if every bit is equal."""
    import torch  # here and below, since reading a folder's records does not need torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def serialise(value: Json) -> bytes:
    """Bytes that `parse` can read."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def parse(content: bytes, *, where: str, what: str) -> Json:
    """The dict that `serialise` wrote. Raises BadInput for anything else; ``where`` names its source in the message."""
    import torch

    try:
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises pickle, zip, runtime and EOF errors for damaged files alike
        raise BadInput(f"{where}: damaged {what} ({str(error).partition('.')[0]}); remove the file") from error
    if not isinstance(value, dict):
        raise BadInput(f"{where}: not a {what}: it holds a {type(value).__name__}; remove the file")
    return value


def load_weights(path: Path) -> Json:
    """The content of a `weights.pt`: model, model_spec, classes, num_frames, step_id. The file cannot run code."""
    if not path.is_file():
        raise BadInput(f"{path}: no such weights file; was the step that makes it removed?")
    try:
        content = parse(path.read_bytes(), where=str(path), what="weights file")
    except BadInput as error:
        raise BadInput(f"{error}. If another program wrote it: {FOREIGN_FILE}") from error
    if not {"model", "model_spec", "classes"} <= set(content):
        raise BadInput(
            f"{path}: not a weights.pt of reskd (it must hold model, model_spec and classes); {FOREIGN_FILE}"
        )
    return content


def metrics_line(epoch: int, metrics: Mapping[str, float]) -> Json:
    """The line of one epoch in metrics.jsonl. Values become plain floats, since weights_only cannot load numpy
    scalars."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {"epoch": epoch, "time_ms": int(time.time() * 1000), "metrics": numbers}


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an .npz file with these arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def file_name_of(device: str) -> str:
    """A file name made from a device's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in device)


class StepRecords:
    """The files of steps, as listed at the top of this module, under ``<prefix><step id>/`` in ``blobs``."""

    def __init__(self, blobs: Blobs, *, prefix: str = "") -> None:
        self.blobs = blobs
        self.prefix = prefix

    def place(self, step_id: str) -> str:
        """The place of a step's files, for messages."""
        return self.blobs.where(self._step(step_id))

    def folder(self, step_id: str) -> Path:
        """A step's folder. Only for records that are known to be in a folder, not in a bucket."""
        assert isinstance(self.blobs, FolderBlobs), f"{self.blobs.address} is no folder"
        return self.blobs.path(self._step(step_id))

    def start(self, step_id: str, info: Json, *, afresh: bool) -> Json:
        """Record the start of a step, and return the record.

        With ``afresh`` false (a resume), return the first start's record.
        """
        before = None if afresh else self.started(step_id)
        if before is None:
            self._write(step_id, "start.json", info)
        return before or info

    def started(self, step_id: str) -> Json | None:
        return self._read(step_id, "start.json")

    def epochs(self, step_id: str) -> tuple[int, ...]:
        """Epochs (counted from 1) with a checkpoint, oldest first."""
        names = [Path(entry.key).name for entry in self.blobs.entries(f"{self._step(step_id)}/checkpoints")]
        return tuple(sorted(int(name[len("epoch_") : -len(".pt")]) for name in names if name.endswith(".pt")))

    def load(self, step_id: str, epoch: int) -> Json:
        """Load a checkpoint. Raises BadInput if it is damaged or belongs to another step."""
        key = self._checkpoint(step_id, epoch)
        content, where = self.blobs.read(key), self.blobs.where(key)
        if content is None:
            raise FileNotFoundError(f"{where}: there is no such checkpoint")
        state = parse(content, where=where, what="checkpoint")
        if state["step_id"] != step_id:
            raise BadInput(f"{where}: belongs to step {state['step_id']}, another recipe; remove the file")
        return state

    def rewind(self, step_id: str, epoch: int) -> None:
        """Delete checkpoints and metrics of later epochs, which a resume from ``epoch`` will train again."""
        self.blobs.delete(self._checkpoint(step_id, held) for held in self.epochs(step_id) if held > epoch)
        self.blobs.delete_leftovers(f"{self._step(step_id)}/checkpoints")
        lines = [line for line in self._lines(step_id) if line["epoch"] <= epoch]
        if epoch and not any(line["epoch"] == epoch for line in lines):
            lines.append(self.load(step_id, epoch)["line"])  # the crash came between checkpoint and line
        self._write_lines(step_id, lines)

    def save(self, step_id: str, epoch: int, state: Json, metrics: Mapping[str, float]) -> None:
        """Write the checkpoint, then its line of metrics, then delete the oldest checkpoints."""
        line = metrics_line(epoch, metrics)
        self.blobs.write(self._checkpoint(step_id, epoch), serialise({**state, "step_id": step_id, "line": line}))
        self._write_lines(step_id, [*self._lines(step_id), line])
        self.blobs.delete(self._checkpoint(step_id, old) for old in self.epochs(step_id)[:-NUM_KEPT_CHECKPOINTS])

    def metrics(self, step_id: str) -> list[Json]:
        """Lines ``{epoch, time_ms, metrics}`` up to the newest checkpoint; all lines if the step has ended."""
        newest = max(self.epochs(step_id), default=0)
        has_ended = self.is_finished(step_id) or self.pruned(step_id) is not None
        return [line for line in self._lines(step_id) if has_ended or line["epoch"] <= newest]

    def _lines(self, step_id: str) -> list[Json]:
        key = f"{self._step(step_id)}/metrics.jsonl"
        content = self.blobs.read(key)
        if content is None:
            return self._lines_of_old_buckets(step_id)
        where = self.blobs.where(key)
        *lines, _ = content.split(b"\n")  # an incomplete last line is ignored
        return [parse_json(line, where=where) for line in lines]

    def _lines_of_old_buckets(self, step_id: str) -> list[Json]:
        """Lines of earlier versions, which wrote one object per epoch into a bucket."""
        keys = [entry.key for entry in self.blobs.entries(f"{self._step(step_id)}/metrics")]
        found = [(key, self.blobs.read(key)) for key in keys]
        return [parse_json(content, where=self.blobs.where(key)) for key, content in found if content is not None]

    def _write_lines(self, step_id: str, lines: Iterable[Json]) -> None:
        content = "".join(json.dumps(line) + "\n" for line in lines)
        self.blobs.write(f"{self._step(step_id)}/metrics.jsonl", content.encode())

    def write_evaluation(self, step_id: str, name: str, record: Json, arrays: Mapping[str, np.ndarray]) -> None:
        """Write an evaluation record and the arrays behind it, under the protocol's name."""
        self.blobs.write(f"{self._step(step_id)}/eval/{name}.npz", packed(arrays))
        self._write(step_id, f"eval/{name}.json", record)

    def evaluations(self, step_id: str) -> dict[str, Json]:
        """Protocol name -> evaluation record."""
        return {Path(name).stem: record for name, record in self._records(step_id, "eval").items()}

    def logits(self, step_id: str, name: str) -> dict[str, np.ndarray]:
        """Arrays of one evaluation: logits (N, K), targets (N, K), indices (N,)."""
        key = f"{self._step(step_id)}/eval/{name}.npz"
        content = self.blobs.read(key)
        if content is None:
            raise FileNotFoundError(f"{self.blobs.where(key)}: there are no such logits")
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays)

    def write_throughput(self, step_id: str, record: Json) -> None:
        self._write(step_id, f"throughput/{file_name_of(str(record['device']))}.json", record)

    def newest_throughput(self, step_id: str) -> Json | None:
        """The newest measurement. Measurements on different devices are never mixed."""
        found = self.blobs.entries(f"{self._step(step_id)}/throughput")
        newest = max(found, key=lambda entry: (entry.modified, entry.key), default=None)
        return None if newest is None else self._json(newest.key)

    def fail(self, step_id: str, record: Json) -> None:
        """Record that a step cannot be trained: ``{reason, traceback, ...}``."""
        self._write(step_id, "failed.json", record)

    def failure(self, step_id: str) -> Json | None:
        """The record of why a step cannot be trained; None if there is none."""
        found = self._read(step_id, "failed.json")
        return None if found is None or _is_old_split(found) else found

    def split(self, step_id: str, record: Json) -> None:
        """Record that memory was too small for all members of the step's job: ``{reason, together, ...}``."""
        self._write(step_id, "split.json", record)

    def to_split(self, step_id: str) -> Json | None:
        """The record of why the step's job must be split into smaller jobs; None if there is none."""
        found = self._read(step_id, "split.json")
        if found is None:
            old = self._read(step_id, "failed.json")
            found = old if old is not None and _is_old_split(old) else None
        return found

    def forget_failure(self, step_id: str) -> None:
        """Delete the records of a failure and of a split, so that the step is tried again."""
        self.blobs.delete(f"{self._step(step_id)}/{name}" for name in ("failed.json", "split.json"))

    def prune(self, step_id: str, record: Json) -> None:
        """Record that early stopping ended a step: ``{reason, epoch, ...}``. Its checkpoints are deleted."""
        self._write(step_id, "pruned.json", record)
        self.blobs.delete_folder(f"{self._step(step_id)}/checkpoints")

    def pruned(self, step_id: str) -> Json | None:
        return self._read(step_id, "pruned.json")

    def weights(self, step_id: str) -> Path:
        """The weights file of a finished step, on this machine."""
        return self.blobs.local(f"{self._step(step_id)}/weights.pt")

    def finish(self, step_id: str, weights: Json, record: Json) -> None:
        """Write weights, then DONE, then delete the checkpoints. Raises LeaseLost if another run has finished the
        step."""
        done, content = f"{self._step(step_id)}/DONE.json", json_bytes(record)
        taken = LeaseLost(f"{self.blobs.where(done)}: another run has finished this step")
        if self.is_finished(step_id):
            raise taken
        self.blobs.write(f"{self._step(step_id)}/weights.pt", serialise(weights))
        # Our own DONE may exist although the write was refused: after a lost answer, a write is sent again.
        if not self.blobs.create(done, content) and self.blobs.read(done) != content:
            raise taken
        self.blobs.delete_folder(f"{self._step(step_id)}/checkpoints")
        self.blobs.delete_leftovers(self._step(step_id))

    def done(self, step_id: str) -> Json | None:
        return self._read(step_id, "DONE.json")

    def is_finished(self, step_id: str) -> bool:
        return self.blobs.exists(f"{self._step(step_id)}/DONE.json")

    def lost_clips(self) -> dict[str, str]:
        """Names of clips at which a decoder crashes or hangs -> reason. See `reskd.data.damage`."""
        found: dict[str, str] = {}
        for entry in self.blobs.entries(LOST_CLIPS):
            try:
                reason = (self._json(entry.key) or {})["reason"]
            except (BadInput, KeyError, TypeError):  # the name alone says what matters
                reason = "the decoder crashes or hangs at it"
            found[Path(entry.key).stem] = str(reason)
        return found

    def lose_clip(self, clip: str, record: Json) -> None:
        """Record a clip at which a decoder crashes or hangs: ``{reason, path, ...}``. Every worker may call it."""
        self.blobs.write(f"{LOST_CLIPS}/{clip}.json", json_bytes(record))

    def _step(self, step_id: str) -> str:
        return f"{self.prefix}{step_id}"

    def _checkpoint(self, step_id: str, epoch: int) -> str:
        return f"{self._step(step_id)}/checkpoints/epoch_{epoch:04d}.pt"

    def _read(self, step_id: str, name: str) -> Json | None:
        return self._json(f"{self._step(step_id)}/{name}")

    def _json(self, key: str) -> Json | None:
        content = self.blobs.read(key)
        return None if content is None else parse_json(content, where=self.blobs.where(key))

    def _write(self, step_id: str, name: str, value: Json) -> None:
        self.blobs.write(f"{self._step(step_id)}/{name}", json_bytes(value))

    def _records(self, step_id: str, folder: str) -> dict[str, Json]:
        """File name -> content, for the JSON files in a folder of the step."""
        keys = [entry.key for entry in self.blobs.entries(f"{self._step(step_id)}/{folder}")]
        return {Path(key).name: self._json(key) or {} for key in keys if key.endswith(".json")}


class FolderSink(StepRecords):
    """The files of steps in a folder: ``root/<step id>/...``."""

    def __init__(self, root: Path) -> None:
        super().__init__(FolderBlobs(root))


def _is_old_split(failure: Json) -> bool:
    """Whether this is a split. Earlier versions recorded a split as a failure of several steps together."""
    return int(failure.get("together", 1)) > 1
