"""Tells whoever watches a training where it is: epoch, training step, losses, last accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from reskd.training.epoch_sums import EpochSums
from reskd.training.member import Member

EVERY_S = 1.0
"""Least seconds between two words about the same phase, so that short training steps do not pay for them."""

Phase = Literal["training", "validation", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FitProgress:
    """Where a training is. Epochs count from 1."""

    phase: Phase
    epoch: int
    num_epochs: int
    done: int
    """Training steps of this epoch that are taken; in the other phases, clips that this worker has evaluated."""
    total: int
    """What ``done`` will be at the end of the phase."""
    clips_per_s: float
    """Clips of all workers per second of this epoch's training; 0 before the first training step."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Step id -> mean total loss over the training steps of the epoch so far."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Step id -> metrics of the last validation or test of this call."""


OnProgress = Callable[[FitProgress], None]


class Teller:
    """Calls ``on_progress`` during a training: at most once in ``every_s`` seconds within a phase.

    It reads no tensor and waits for no other worker.
    """

    def __init__(self, on_progress: OnProgress | None, *, num_epochs: int, every_s: float = EVERY_S) -> None:
        self._on_progress, self._num_epochs, self._every_s = on_progress, num_epochs, every_s
        self._told = -every_s
        self._began = 0.0
        self._epoch = self._total = 0
        self._speed = 0.0
        self._losses: dict[str, float] = {}
        self._metrics: dict[str, Mapping[str, float]] = {}

    def begin_epoch(self, epoch: int, *, num_steps: int) -> None:
        """Take note that an epoch's training begins now."""
        self._epoch, self._total, self._began = epoch, num_steps, time.perf_counter()

    def step(self, done: int, sums: EpochSums, members: Sequence[Member]) -> None:
        """Tell of a training step, if it is due or the epoch's last. ``done``: steps of this epoch so far."""
        now = time.perf_counter()
        if self._on_progress is None or (now - self._told < self._every_s and done < self._total):
            return
        self._speed = done * members[0].recipe.optim.batch_size / (now - self._began)
        found = {member.step_id: sums.losses(member).get("train/loss") for member in members if member.failure is None}
        self._losses = {step_id: loss for step_id, loss in found.items() if loss is not None}
        self._tell("training", done, self._total)

    def evaluation(self, phase: Phase, *, epoch: int, num_clips: int) -> Callable[[int], None]:
        """Tell that an evaluation begins. Returns a function that takes the number of clips that are done."""
        self._epoch = epoch
        self._tell(phase, 0, num_clips)

        def tell(done: int) -> None:
            if time.perf_counter() - self._told >= self._every_s:
                self._tell(phase, done, num_clips)

        return tell

    def judged(self, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Take note of the metrics of an evaluation, by step id. The next word says them."""
        self._metrics |= {step_id: found for step_id, found in metrics.items() if found}

    def _tell(self, phase: Phase, done: int, total: int) -> None:
        if self._on_progress is None:
            return
        self._told = time.perf_counter()
        self._on_progress(
            FitProgress(
                phase=phase,
                epoch=self._epoch,
                num_epochs=self._num_epochs,
                done=done,
                total=total,
                clips_per_s=self._speed,
                losses=dict(self._losses),
                metrics=dict(self._metrics),
            )
        )
