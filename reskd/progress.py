"""What the steps of one epoch add up to: each member's mean losses, and the pace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reskd.cohort import StepReport
from reskd.member import Member
from reskd.recipe import OptimSpec, Recipe


class EpochSums:
    """Losses of the steps that each member took, and seconds in the teacher and in waiting for clips."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._losses = {member.step_id: np.zeros(2) for member in members}
        self._num_taken = dict.fromkeys(self._losses, 0)
        self._num_skipped = dict.fromkeys(self._losses, 0)
        self._teacher_s = 0.0
        self.data_s = 0.0

    def add(self, report: StepReport) -> None:
        self._teacher_s += report.teacher_s
        for step_id, losses in report.losses.items():
            self._losses[step_id] += losses
            self._num_taken[step_id] += 1
        for step_id in report.skipped:
            self._num_skipped[step_id] += 1

    def perf(self, train_s: float, *, num_steps: int, optim: OptimSpec) -> dict[str, float]:
        """Pace of the epoch's ``num_steps`` steps, which took ``train_s`` seconds."""
        perf = {
            "perf/clips_per_s": num_steps * optim.batch_size / train_s,
            "perf/step_ms": 1000 * train_s / num_steps,
            "perf/data_wait_ms": 1000 * self.data_s / num_steps,
        }
        return perf | ({"perf/teacher_ms": 1000 * self._teacher_s / num_steps} if self._teacher_s else {})

    def losses(self, member: Member) -> dict[str, float]:
        """Means over the steps taken; with fp16 also how many were skipped, and no means where all were."""
        step_id = member.step_id
        metrics: dict[str, float] = {}
        if self._num_taken[step_id]:
            metrics = _losses(member.recipe, *(self._losses[step_id] / self._num_taken[step_id]))
        if member.recipe.precision == "fp16":
            metrics["train/skipped_steps"] = float(self._num_skipped[step_id])
        return metrics


def _losses(recipe: Recipe, task_loss: float, kd_loss: float) -> dict[str, float]:
    """The loss and its terms apart, the distillation term before its weight."""
    if not recipe.has_teacher:
        return {"train/loss": task_loss, "train/task_loss": task_loss}
    loss = task_loss + recipe.kd.effective_weight * kd_loss
    return {"train/loss": loss, "train/task_loss": task_loss, "train/kd_loss": kd_loss}
