"""Sums over the training steps of one epoch: losses of each member, and times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reskd.recipe import Recipe
from reskd.training.cohort import StepReport
from reskd.training.member import Member


class EpochSums:
    """Sums of each member's losses and of the seconds spent in each part of a step."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._losses = {member.step_id: np.zeros(2) for member in members}
        self._num_taken = dict.fromkeys(self._losses, 0)
        self._num_skipped = dict.fromkeys(self._losses, 0)
        self._student_s = dict.fromkeys(self._losses, 0.0)
        self._teacher_s = self._all_reduce_s = 0.0
        self.data_s = 0.0

    def add(self, report: StepReport) -> None:
        self._teacher_s += report.teacher_s
        self._all_reduce_s += report.all_reduce_s
        for step_id, seconds in report.student_s.items():
            self._student_s[step_id] += seconds
        for step_id, losses in report.losses.items():
            self._losses[step_id] += losses
            self._num_taken[step_id] += 1
        for step_id in report.skipped:
            self._num_skipped[step_id] += 1

    def perf(self, member: Member, train_s: float, *, num_steps: int) -> dict[str, float]:
        """Speed of an epoch with ``num_steps`` steps in ``train_s`` seconds. perf/student_ms is the member's own."""
        seconds = {
            "perf/step_ms": train_s,
            "perf/data_wait_ms": self.data_s,
            "perf/teacher_ms": self._teacher_s,
            "perf/all_reduce_ms": self._all_reduce_s,
            "perf/student_ms": self._student_s[member.step_id],
        }
        pace = {"perf/clips_per_s": num_steps * member.recipe.optim.batch_size / train_s}
        return pace | {name: 1000 * spent / num_steps for name, spent in seconds.items() if spent}

    def losses(self, member: Member) -> dict[str, float]:
        """Mean losses over the taken steps; empty if all were skipped. With fp16, also the number of skipped steps."""
        step_id = member.step_id
        metrics: dict[str, float] = {}
        if self._num_taken[step_id]:
            metrics = _losses(member.recipe, *(self._losses[step_id] / self._num_taken[step_id]))
        if member.recipe.precision == "fp16":
            metrics["train/skipped_steps"] = float(self._num_skipped[step_id])
        return metrics


def _losses(recipe: Recipe, task_loss: float, kd_loss: float) -> dict[str, float]:
    """The total loss and its terms. The distillation term is unweighted."""
    if not recipe.has_teacher:
        return {"train/loss": task_loss, "train/task_loss": task_loss}
    loss = task_loss + recipe.kd.effective_weight * kd_loss
    return {"train/loss": loss, "train/task_loss": task_loss, "train/kd_loss": kd_loss}
