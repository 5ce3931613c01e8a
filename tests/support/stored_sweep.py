"""A small sweep and a store that holds what its trainings would have left, written as a training writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.spec.steps import Step, build_steps
from orchestrator.spec.sweep import Sweep, load, recipe_to_dict
from orchestrator.store.store import Store
from reskd.data.manifest import Clip, Manifest

SWEEP = """
question: Which level helps?
base:
  data: {name: demo, num_frames: 4, short_side: 64, crop_size: 64}
  model: {name: tsn_mini10, resolution: 24}
  optim: {epochs: 2, batch_size: 16}
  teacher: {model.name: tsn_mini18, model.resolution: 64, optim.epochs: 3}
rows:
  chain:
    - {row: baseline, kd.level: none}
    - {row: clip-level KL, kd.level: clip}
    - {row: pixel-level MSE, kd.level: pixel}
seeds: SEEDS
tables:
  table5: {title: Level of distillation, rows: row, columns: [test/top1, GMACs, clips/s], delta_to: baseline,
           published: table5, plot: accuracy_vs_gmacs}
"""
MANIFEST = Manifest(
    "demo",
    ("left", "right"),
    train=(Clip("train/a.mp4", 1, "aa", (0,)),),
    val=(Clip("val/b.mp4", 1, "bb", (0,)), Clip("val/c, d.mp4", 1, "cc", (1,)), Clip("val/bad.mp4", 1, "dd", (0,))),
)
"""Of the sweep's data. It is in no store unless a test writes it."""
MANIFEST_SHA256 = MANIFEST.sha256
ARRAYS = {
    "logits": np.log(np.array([[0.75, 0.25], [0.9, 0.1]], dtype=np.float32)),
    "targets": np.eye(2, dtype=bool),
    "indices": np.arange(2),
}
"""Of each evaluation: the second clip is taken for the first class."""
STARTED_MS = 1_700_000_000_000
PROTOCOL = "val-f4-v1x1"
COMPLEXITY = {"gmacs": 0.0625, "gmacs_layers": 0.06, "gflops": 0.125, "num_params": 500_000}
DONE: dict[str, Any] = {
    "metrics": {},
    "damaged": [],
    "protocol": PROTOCOL,
    "complexity": COMPLEXITY,
    "epochs": 1,
    "finished_ms": STARTED_MS,
}
"""The least that a DONE record holds."""


class StoredSweep:
    """A sweep, its steps, its store, and the moves of a training in it."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "levels",
        seeds: tuple[int, ...] = (0, 1, 2),
        text: str = SWEEP,
        num_missing: int = 0,
        packed: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.yaml"
        path.write_text(text.replace("SEEDS", str(list(seeds))))
        self.sweep: Sweep = load(path)
        self.steps: dict[str, Step] = build_steps(self.sweep, manifest_of=lambda spec: MANIFEST_SHA256)
        self.store = Store(folder / "store")
        self.num_missing = num_missing
        self.packed = packed

    def id_of(self, row: str, seed: int) -> str:
        return next(step.id for step in self.steps.values() if (row, seed) in step.cells)

    def teacher_of(self, row: str, seed: int) -> str:
        teacher_id = self.steps[self.id_of(row, seed)].teacher_id
        assert teacher_id is not None
        return teacher_id

    def start(self, step_id: str) -> None:
        step = self.steps[step_id]
        recipe = recipe_to_dict(step.recipe)
        self.store.record_identity(step_id, full_id=step.full_id, payload=step.payload, recipe=recipe)
        info = {"workers": 1, "threads": 1, "started_ms": STARTED_MS, "host": "here"}
        self.store.start(step_id, info, afresh=True)

    def train(self, step_id: str, *, epoch: int) -> None:
        metrics = {"train/loss": 1 / epoch, "val/top1": 0.1 * epoch, "perf/clips_per_s": 50.0, "perf/step_ms": 9.0}
        self.store.save(step_id, epoch, {}, metrics)

    def fail(self, step_id: str) -> None:
        self.store.fail(step_id, {"reason": "gradient is not finite", "traceback": "Traceback: line 1", "epoch": 1})

    def finish(
        self,
        step_id: str,
        top1: float,
        *,
        device: str = "Testing CPU",
        damaged: tuple[str, ...] = (),
        evaluations: Mapping[str, float] | None = None,
    ) -> None:
        """All the epochs and everything that a finished step leaves; evaluations: further protocols -> top1."""
        self.start(step_id)
        num_epochs = self.steps[step_id].recipe.optim.epochs
        for epoch in range(max(self.store.epochs(step_id), default=0) + 1, num_epochs + 1):
            self.train(step_id, epoch=epoch)
        for protocol, value in {PROTOCOL: top1, **(evaluations or {})}.items():
            self.evaluate(step_id, protocol, value)
        self.store.write_throughput(step_id, {"device": device, "clips_per_s": 123.4})
        metrics = {"test/top1": top1, "test/top5": 1.0, "test/mAP": top1}
        record: dict[str, Any] = {
            "step_id": step_id,
            "metrics": metrics,
            "protocol": PROTOCOL,
            "complexity": COMPLEXITY,
            "epochs": num_epochs,
            "damaged": [{"split": "val", "path": path, "reason": "no frames"} for path in damaged],
            "versions": {"torch": "2.11.0"},
            "commit": "0123abcd",
            "host": "here",
            "started_ms": STARTED_MS,
            "finished_ms": STARTED_MS + 60_000,
        }
        self.store.finish(step_id, {}, record)

    def evaluate(self, step_id: str, protocol: str, top1: float) -> None:
        record = {
            "protocol": {"split": "val", "num_frames": 4, "views": 1, "crops": 1},
            "metrics": {"top1": top1},
            "num_clips": 299,
            "num_skipped": 1,
            "num_missing": self.num_missing,
            "packed": self.packed,
            "skipped": ["val/bad.mp4"],
        }
        self.store.write_evaluation(step_id, protocol, record, ARRAYS)
