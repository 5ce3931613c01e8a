"""What a step leaves on disk, and the folder that holds it.

A step's folder, in the order in which it fills::

    start.json                  workers, threads and time of the first start; a resume uses the same workers
    checkpoints/epoch_0003.pt   model, optimiser and the epoch's metrics; the newest two are kept
    metrics.jsonl               one line an epoch, written after the checkpoint that backs it
    eval/<protocol>.json .npz   an evaluation record and each clip's logits
    throughput/<device>.json    clips/s of the network alone
    weights.pt                  the trained model alone: what a student's job loads as its teacher
    failed.json, pruned.json or DONE.json    published last; pruned: stopped early, on purpose

The teacher is in none of these files.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from reskd.errors import BadInput
from reskd.files import Json, json_files, read_json, write_atomic, write_json

if TYPE_CHECKING:
    from torch import Tensor

NUM_KEPT_CHECKPOINTS = 2


class Sink(Protocol):
    """Where a training puts what it has; called by rank 0 alone, except for the readers."""

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


def state_hash(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes of parameters and buffers: equal only when every bit is."""
    import torch  # here and below: whoever only asks what is in a folder need not wait for it

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def serialise(value: Json) -> bytes:
    """What `parse` reads back."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _parse(path: Path, *, what: str) -> Json:
    """The dict in a file that torch.save wrote. Reading comes first: a share that is gone is no damage."""
    return parse(path.read_bytes(), where=str(path), what=what)


def parse(content: bytes, *, where: str, what: str) -> Json:
    """The dict that `serialise` made bytes of; BadInput, naming `where` it came from, for anything else."""
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
    """The content of a `weights.pt`: model, model_spec, classes, num_frames, step_id. Runs no code from the file."""
    if not path.is_file():
        raise BadInput(f"{path}: no such weights file; was the step that makes it removed?")
    content = _parse(path, what="weights file")
    if not {"model", "model_spec", "classes"} <= set(content):
        raise BadInput(f"{path}: not a reskd weights file; expected model, model_spec and classes in it")
    return content


def metrics_line(epoch: int, metrics: Mapping[str, float]) -> Json:
    """An epoch's line. Plain floats: a checkpoint is read with weights_only, which takes no numpy scalars."""
    numbers = {name: float(value) for name, value in metrics.items()}
    return {"epoch": epoch, "time_ms": int(time.time() * 1000), "metrics": numbers}


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the content of an .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def file_name_of(device: str) -> str:
    """A device's name as a file's."""
    return "".join(letter if letter.isalnum() else "-" for letter in device)


class FolderSink:
    """A sink in a folder: ``root/<step id>/...`` as this module's head lists it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, step_id: str) -> Path:
        return self.root / step_id

    def start(self, step_id: str, info: Json, *, afresh: bool) -> Json:
        """Record how a step started; a resume, which is not afresh, gets the record of that start back."""
        path = self.folder(step_id) / "start.json"
        before = None if afresh else read_json(path)
        if before is None:
            write_json(path, info)
        return before or info

    def started(self, step_id: str) -> Json | None:
        return read_json(self.folder(step_id) / "start.json")

    def epochs(self, step_id: str) -> tuple[int, ...]:
        """Finished epochs (counted from 1) whose checkpoints are held, oldest first."""
        folder = self.folder(step_id) / "checkpoints"
        return tuple(sorted(int(path.stem.removeprefix("epoch_")) for path in folder.glob("epoch_*.pt")))

    def _checkpoint(self, step_id: str, epoch: int) -> Path:
        return self.folder(step_id) / "checkpoints" / f"epoch_{epoch:04d}.pt"

    def load(self, step_id: str, epoch: int) -> Json:
        """A checkpoint; BadInput when it is damaged or was written by another recipe."""
        path = self._checkpoint(step_id, epoch)
        state = _parse(path, what="checkpoint")
        if state["step_id"] != step_id:
            raise BadInput(f"{path}: belongs to step {state['step_id']}, another recipe; remove the file")
        return state

    def rewind(self, step_id: str, epoch: int) -> None:
        """Forget everything after an epoch: what a resume from that epoch will do again."""
        for held in self.epochs(step_id):
            if held > epoch:
                self._checkpoint(step_id, held).unlink()
        self._sweep(step_id)
        lines = [line for line in self._lines(step_id) if line["epoch"] <= epoch]
        if epoch and not any(line["epoch"] == epoch for line in lines):
            lines.append(self.load(step_id, epoch)["line"])  # the crash came between checkpoint and line
        content = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomic(self.folder(step_id) / "metrics.jsonl", content)

    def _lines(self, step_id: str) -> list[Json]:
        path = self.folder(step_id) / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]  # a torn last line is no line

    def save(self, step_id: str, epoch: int, state: Json, metrics: Mapping[str, float]) -> None:
        """Checkpoint, then its line, then the oldest checkpoints go."""
        line = metrics_line(epoch, metrics)
        write_atomic(self._checkpoint(step_id, epoch), serialise({**state, "step_id": step_id, "line": line}))
        with open(self.folder(step_id) / "metrics.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        for old in self.epochs(step_id)[:-NUM_KEPT_CHECKPOINTS]:
            self._checkpoint(step_id, old).unlink()

    def metrics(self, step_id: str) -> list[Json]:
        """Lines ``{epoch, time_ms, metrics}`` that a checkpoint backs, or all of a step that has ended."""
        newest = max(self.epochs(step_id), default=0)
        has_ended = self.is_finished(step_id) or self.pruned(step_id) is not None
        return [line for line in self._lines(step_id) if has_ended or line["epoch"] <= newest]

    def write_evaluation(self, step_id: str, name: str, record: Json, arrays: Mapping[str, np.ndarray]) -> None:
        """An evaluation record under its protocol's name, and what it was computed from."""
        folder = self.folder(step_id) / "eval"
        write_atomic(folder / f"{name}.npz", packed(arrays))
        write_json(folder / f"{name}.json", record)

    def evaluations(self, step_id: str) -> dict[str, Json]:
        """Protocol name -> record."""
        folder = self.folder(step_id) / "eval"
        return {path.stem: read_json(path) or {} for path in json_files(folder)}

    def logits(self, step_id: str, name: str) -> dict[str, np.ndarray]:
        """Arrays of one evaluation: logits (N, K), targets (N, K), indices (N,)."""
        with np.load(self.folder(step_id) / "eval" / f"{name}.npz") as arrays:
            return dict(arrays)

    def write_throughput(self, step_id: str, record: Json) -> None:
        write_json(self.folder(step_id) / "throughput" / f"{file_name_of(str(record['device']))}.json", record)

    def throughputs(self, step_id: str) -> dict[str, Json]:
        """Device name -> record."""
        folder = self.folder(step_id) / "throughput"
        records = [read_json(path) or {} for path in json_files(folder)]
        return {record["device"]: record for record in records}

    def fail(self, step_id: str, record: Json) -> None:
        """Record that a step cannot be trained: ``{reason, traceback, ...}``."""
        write_json(self.folder(step_id) / "failed.json", record)

    def failure(self, step_id: str) -> Json | None:
        return read_json(self.folder(step_id) / "failed.json")

    def prune(self, step_id: str, record: Json) -> None:
        """Record that a step was stopped early, on purpose: ``{reason, epoch, ...}``. Its checkpoints go."""
        write_json(self.folder(step_id) / "pruned.json", record)
        shutil.rmtree(self.folder(step_id) / "checkpoints", ignore_errors=True)

    def pruned(self, step_id: str) -> Json | None:
        return read_json(self.folder(step_id) / "pruned.json")

    def forget_failure(self, step_id: str) -> None:
        (self.folder(step_id) / "failed.json").unlink(missing_ok=True)

    def weights_path(self, step_id: str) -> Path:
        return self.folder(step_id) / "weights.pt"

    def finish(self, step_id: str, weights: Json, record: Json) -> None:
        """Weights, then DONE; after that the checkpoints are of no use."""
        write_atomic(self.weights_path(step_id), serialise(weights))
        write_json(self.folder(step_id) / "DONE.json", record)
        shutil.rmtree(self.folder(step_id) / "checkpoints", ignore_errors=True)
        self._sweep(step_id)

    def _sweep(self, step_id: str) -> None:
        """Remove what killed writes of large files left behind; the lease's own are somebody else's."""
        for pattern in ("checkpoints/.*.tmp", ".weights.pt.*.tmp"):
            for left in self.folder(step_id).glob(pattern):
                left.unlink(missing_ok=True)

    def done(self, step_id: str) -> Json | None:
        return read_json(self.folder(step_id) / "DONE.json")

    def is_finished(self, step_id: str) -> bool:
        return (self.folder(step_id) / "DONE.json").exists()
