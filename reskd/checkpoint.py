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
    damaged.json                a file of the finished step, such as its weights, was found to be damaged

The teacher is in none of these files. Each file ends with a digest (`reskd.digest`), which every read compares;
`reskd.step_files` says what each must hold. Beside the steps' folders::

    lost_clips/<clip>.json      a video at which the decoder crashes or hangs; no training opens it
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from reskd.blobs import Blobs, FolderBlobs
from reskd.digest import PUT_BACK, has_digest, with_digest
from reskd.errors import BadInput, Damaged, LeaseLost, ReskdError
from reskd.files import Json, parse_json, read_json, record_bytes, warn_once
from reskd.passwords import without_passwords
from reskd.step_files import (
    CHECKPOINTS,
    DAMAGED,
    DONE,
    FAILED,
    LINES,
    PRUNED,
    SPLIT,
    START,
    WEIGHTS,
    Reason,
    kind_of,
    remedy,
)
from reskd.tensor_bytes import array_bytes, parse, parse_arrays, serialise

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
    import torch  # here, since reading a folder's records does not need torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_weights(path: Path) -> Json:
    """The content of a `weights.pt`: model, model_spec, classes, num_frames, step_id. The file cannot run code.

    Raises Damaged unless it is what was written: by its digest, and by the hash in the DONE record beside it.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such weights file; was the step that makes it removed?")
    done = read_json(path.with_name(DONE))
    way_out = f"{PUT_BACK}. If another program wrote it: {FOREIGN_FILE}"
    if done is not None:
        way_out = remedy(WEIGHTS, str(done.get("step_id") or path.parent.name))
    content = parse(path.read_bytes(), where=str(path), way_out=way_out)
    if not {"model", "model_spec", "classes"} <= set(content):
        raise BadInput(
            f"{path}: not a weights.pt of reskd (it must hold model, model_spec and classes); {FOREIGN_FILE}"
        )
    if done is not None:
        check_state(content, done, where=str(path), way_out=way_out)
    return content


def check_state(weights: Json, done: Json, *, where: str, way_out: str) -> None:
    """Raise Damaged unless the model in the content of a weights file is the one of the DONE record."""
    known = done.get("state_hash")
    if known is not None and state_hash(weights["model"]) != known:
        raise Damaged(where, f"its tensors are not those of state_hash in {DONE}", way_out)


def metrics_line(epoch: int, metrics: Mapping[str, float]) -> Json:
    """The line of one epoch in metrics.jsonl. Values become plain floats, since weights_only cannot load numpy
    scalars."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {"epoch": epoch, "time_ms": int(time.time() * 1000), "metrics": numbers}


def file_name_of(device: str) -> str:
    """A file name made from a device's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in device)


class StepRecords:
    """The files of steps, as listed at the top of this module, under ``<prefix><step id>/`` in ``blobs``."""

    def __init__(self, blobs: Blobs, *, prefix: str = "") -> None:
        self.blobs = blobs
        self.prefix = prefix
        self._handed_out: dict[str, str] = {}
        """Weights file on this machine -> its step, of all files that `weights` has named."""

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
            self._write(step_id, START, info)
        return before or info

    def started(self, step_id: str) -> Json | None:
        return self._read(step_id, START)

    def is_started(self, step_id: str) -> bool:
        return self.blobs.exists(f"{self._step(step_id)}/{START}")

    def epochs(self, step_id: str) -> tuple[int, ...]:
        """Epochs (counted from 1) with a checkpoint, oldest first."""
        names = [Path(entry.key).name for entry in self.blobs.entries(f"{self._step(step_id)}/{CHECKPOINTS}")]
        return tuple(sorted(int(name[len("epoch_") : -len(".pt")]) for name in names if name.endswith(".pt")))

    def load(self, step_id: str, epoch: int) -> Json:
        """Load a checkpoint. Raises Damaged if it is damaged or belongs to another step."""
        key = self._checkpoint(step_id, epoch)
        content, where = self.blobs.read(key), self.blobs.where(key)
        if content is None:
            raise FileNotFoundError(f"{where}: there is no such checkpoint")
        way_out = remedy(f"{CHECKPOINTS}/", step_id)
        state = parse(content, where=where, way_out=way_out)
        if state.get("step_id") != step_id:
            raise Damaged(where, f"it belongs to step {state.get('step_id')}, another recipe", way_out)
        return state

    def rewind(self, step_id: str, epoch: int) -> None:
        """Delete checkpoints and metrics of later epochs, which a resume from ``epoch`` will train again."""
        self.blobs.delete(self._checkpoint(step_id, held) for held in self.epochs(step_id) if held > epoch)
        self.blobs.delete_leftovers(f"{self._step(step_id)}/{CHECKPOINTS}")
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
        content = self.blobs.read(f"{self._step(step_id)}/{LINES}")
        if content is None:
            return self._lines_of_old_buckets(step_id)
        found = (self.parsed_line(step_id, number, line) for number, line in numbered_lines(content))
        return [line for line in found if line is not None]

    def parsed_line(self, step_id: str, number: int, line: bytes) -> Json | None:
        """A line of metrics.jsonl; None for a damaged one, which is logged: no result depends on it."""
        try:
            return self.parsed(step_id, LINES, line, part=f":{number}")
        except Damaged as error:
            warn_once(str(error))
            return None

    def _lines_of_old_buckets(self, step_id: str) -> list[Json]:
        """Lines of earlier versions, which wrote one object per epoch into a bucket."""
        return list(self._records(step_id, "metrics").values())

    def _write_lines(self, step_id: str, lines: Iterable[Json]) -> None:
        content = b"".join(with_digest(json.dumps(line).encode()) + b"\n" for line in lines)
        self.blobs.write(f"{self._step(step_id)}/{LINES}", content)

    def write_evaluation(self, step_id: str, name: str, record: Json, arrays: Mapping[str, np.ndarray]) -> None:
        """Write an evaluation record and the arrays behind it, under the protocol's name."""
        self.blobs.write(f"{self._step(step_id)}/eval/{name}.npz", array_bytes(arrays))
        self._write(step_id, f"eval/{name}.json", record)

    def evaluations(self, step_id: str) -> dict[str, Json]:
        """Protocol name -> evaluation record."""
        return {Path(name).stem: record for name, record in self._records(step_id, "eval").items()}

    def logits(self, step_id: str, name: str) -> dict[str, np.ndarray]:
        """Arrays of one evaluation: logits (N, K), targets (N, K), indices (N,). Raises Damaged."""
        key = f"{self._step(step_id)}/eval/{name}.npz"
        content = self.blobs.read(key)
        if content is None:
            raise FileNotFoundError(f"{self.blobs.where(key)}: there are no such logits")
        return parse_arrays(content, where=self.blobs.where(key), way_out=remedy("eval/", step_id))

    def write_throughput(self, step_id: str, record: Json) -> None:
        self._write(step_id, f"throughput/{file_name_of(str(record['device']))}.json", record)

    def newest_throughput(self, step_id: str) -> Json | None:
        """The newest measurement. Measurements on different devices are never mixed."""
        found = self.blobs.entries(f"{self._step(step_id)}/throughput")
        newest = max(found, key=lambda entry: (entry.modified, entry.key), default=None)
        return None if newest is None else self._read(step_id, f"throughput/{Path(newest.key).name}")

    def fail(self, step_id: str, record: Json) -> None:
        """Record that a step cannot be trained: ``{reason, traceback, ...}``."""
        texts = {name: without_passwords(value) for name, value in record.items() if isinstance(value, str)}
        self._write(step_id, FAILED, {**record, **texts})

    def failure(self, step_id: str) -> Json | None:
        """The record of why a step cannot be trained; None if there is none."""
        found = self._read(step_id, FAILED)
        return None if found is None or _is_old_split(found) else found

    def split(self, step_id: str, record: Json) -> None:
        """Record that memory was too small for all members of the step's job: ``{reason, together, ...}``."""
        self._write(step_id, SPLIT, record)

    def to_split(self, step_id: str) -> Json | None:
        """The record of why the step's job must be split into smaller jobs; None if there is none."""
        found = self._read(step_id, SPLIT)
        if found is None:
            old = self._read(step_id, FAILED)
            found = old if old is not None and _is_old_split(old) else None
        return found

    def forget_failure(self, step_id: str) -> None:
        """Delete the records of a failure and of a split, so that the step is tried again."""
        self.blobs.delete(f"{self._step(step_id)}/{name}" for name in (FAILED, SPLIT))

    def prune(self, step_id: str, record: Json) -> None:
        """Record that early stopping ended a step: ``{reason, epoch, ...}``. Its checkpoints are deleted."""
        self._write(step_id, PRUNED, record)
        self.blobs.delete_folder(f"{self._step(step_id)}/{CHECKPOINTS}")

    def pruned(self, step_id: str) -> Json | None:
        return self._read(step_id, PRUNED)

    def weights(self, step_id: str) -> Path:
        """The weights file of a finished step, on this machine, and beside it the DONE record with their hash."""
        with suppress(FileNotFoundError):
            self.blobs.local(f"{self._step(step_id)}/{DONE}")
        path = self.blobs.local(f"{self._step(step_id)}/{WEIGHTS}")
        self._handed_out[str(path)] = step_id
        return path

    def finish(self, step_id: str, weights: Json, record: Json) -> None:
        """Write weights, then DONE, then delete the checkpoints. Raises LeaseLost if another run has finished the
        step."""
        done, content = f"{self._step(step_id)}/{DONE}", record_bytes(record)
        taken = LeaseLost(f"{self.blobs.where(done)}: another run has finished this step")
        if self.is_finished(step_id):
            raise taken
        self.blobs.write(f"{self._step(step_id)}/{WEIGHTS}", serialise(weights))
        # Our own DONE may exist although the write was refused: after a lost answer, a write is sent again.
        if not self.blobs.create(done, content) and self.blobs.read(done) != content:
            raise taken
        self.blobs.delete_folder(f"{self._step(step_id)}/{CHECKPOINTS}")
        self.blobs.delete_leftovers(self._step(step_id))

    def done(self, step_id: str) -> Json | None:
        return self._read(step_id, DONE)

    def is_finished(self, step_id: str) -> bool:
        return self.blobs.exists(f"{self._step(step_id)}/{DONE}")

    def note_damage(self, step_id: str, reason: str) -> None:
        """Record that a file of a finished step is damaged, so that nobody takes the step for a good one."""
        self._write(step_id, DAMAGED, {"reason": reason, "found_ms": int(time.time() * 1000)})

    def damage(self, step_id: str) -> str | None:
        """Which file of a finished step is damaged, and the way out; None if nobody has found that one is."""
        found = self._read(step_id, DAMAGED)
        return None if found is None else str(found["reason"])

    def forget_damage(self, step_id: str) -> None:
        """Delete the record of a damaged file, once the file is a good one again."""
        self.blobs.delete([f"{self._step(step_id)}/{DAMAGED}"])

    def step_of(self, place: str) -> str | None:
        """The step of a weights file that `weights` has named; None for any other file."""
        return self._handed_out.get(place)

    @contextmanager
    def noting_damage(self) -> Iterator[None]:
        """If the body finds a weights file damaged that `weights` has named, note it, and raise all the same."""
        try:
            yield
        except Damaged as error:
            step_id = self.step_of(error.where)
            if step_id is not None:
                with suppress(OSError, ReskdError):  # a store that may only be read: the next reader finds it again
                    self.note_damage(step_id, str(error))
            raise

    def check_weights(self, step_id: str) -> bool:
        """Whether the weights of a finished step have a digest, or the DONE record a hash, which fits then.

        Raises Damaged, and notes it, if they are damaged, and FileNotFoundError if there are none.
        """
        key = f"{self._step(step_id)}/{WEIGHTS}"
        where, way_out = self.blobs.where(key), remedy(WEIGHTS, step_id)
        self._handed_out[where] = step_id
        with self.noting_damage():
            content = self.blobs.read(key)
            if content is None:
                raise FileNotFoundError(f"{where}: there is no such file; {way_out}")
            if has_digest(content, where=where, way_out=way_out):
                return True
            done, weights = self.done(step_id) or {}, parse(content, where=where, way_out=way_out)
            check_state(weights, done, where=where, way_out=way_out)
        return "state_hash" in done

    def lost_clips(self) -> dict[str, str]:
        """Names of clips at which a decoder crashes or hangs -> reason. See `reskd.data.damage`."""
        found: dict[str, str] = {}
        for entry in self.blobs.entries(LOST_CLIPS):
            content = self.blobs.read(entry.key)
            try:
                record = parse_json(content or b"", where=self.blobs.where(entry.key), shape=Reason)
                found[Path(entry.key).stem] = record["reason"]
            except BadInput:  # the name alone says what matters
                found[Path(entry.key).stem] = "the decoder crashes or hangs at it"
        return found

    def lose_clip(self, clip: str, record: Json) -> None:
        """Record a clip at which a decoder crashes or hangs: ``{reason, path, ...}``. Every worker may call it."""
        self.blobs.write(f"{LOST_CLIPS}/{clip}.json", record_bytes(record))

    def _step(self, step_id: str) -> str:
        return f"{self.prefix}{step_id}"

    def _checkpoint(self, step_id: str, epoch: int) -> str:
        return f"{self._step(step_id)}/{CHECKPOINTS}/epoch_{epoch:04d}.pt"

    def _read(self, step_id: str, name: str) -> Json | None:
        content = self.blobs.read(f"{self._step(step_id)}/{name}")
        return None if content is None else self.parsed(step_id, name, content)

    def parsed(self, step_id: str, name: str, content: bytes, *, part: str = "") -> Json:
        """The record in a file of the step. Raises Damaged. part: the line, for messages."""
        kind = kind_of(name)
        assert kind is not None, f"{name} is no file of a step"
        where = f"{self.blobs.where(f'{self._step(step_id)}/{name}')}{part}"
        return parse_json(content, where=where, shape=kind.shape, way_out=remedy(name, step_id))

    def _write(self, step_id: str, name: str, value: Json) -> None:
        self.blobs.write(f"{self._step(step_id)}/{name}", record_bytes(value))

    def _records(self, step_id: str, folder: str) -> dict[str, Json]:
        """File name -> content, for the JSON files in a folder of the step."""
        names = [Path(entry.key).name for entry in self.blobs.entries(f"{self._step(step_id)}/{folder}")]
        found = {name: self._read(step_id, f"{folder}/{name}") for name in names if name.endswith(".json")}
        return {name: record for name, record in found.items() if record is not None}


class FolderSink(StepRecords):
    """The files of steps in a folder: ``root/<step id>/...``."""

    def __init__(self, root: Path) -> None:
        super().__init__(FolderBlobs(root))


def numbered_lines(content: bytes) -> list[tuple[int, bytes]]:
    """(number from 1, line) of the lines of a metrics.jsonl, also of one that was cut."""
    return [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line]


def _is_old_split(failure: Json) -> bool:
    """Whether this is a split. Earlier versions recorded a split as a failure of several steps together."""
    return int(failure.get("together", 1)) > 1
