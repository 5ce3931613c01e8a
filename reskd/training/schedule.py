"""Learning-rate schedules as plain functions of the step, so that a resume needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reskd.recipe import OptimSpec

ONECYCLE_START = 1 / 25
ONECYCLE_END = 1 / 250_000
ONECYCLE_RISING_SHARE = 0.3
WARMUP_START = 0.1


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def cosine_factor(step: int, *, steps_per_epoch: int, epochs: int, warmup_epochs: float) -> float:
    """Factor on the peak rate: cosine to zero per epoch, times a linear warm-up per step.

    The official configs anneal per epoch and warm up per iteration.
    """
    factor = _cosine(1.0, 0.0, (step // steps_per_epoch) / epochs)
    return factor * _warmup(step, warmup_steps=warmup_epochs * steps_per_epoch)


def step_factor(
    step: int, *, steps_per_epoch: int, milestones: Sequence[int], gamma: float, warmup_epochs: float
) -> float:
    """Factor on the peak rate: ``gamma`` to the power of passed milestones, times a linear warm-up per step."""
    num_passed = sum(step // steps_per_epoch >= milestone for milestone in milestones)
    return gamma**num_passed * _warmup(step, warmup_steps=warmup_epochs * steps_per_epoch)


def _warmup(step: int, *, warmup_steps: float) -> float:
    return WARMUP_START + (1 - WARMUP_START) * step / warmup_steps if step < warmup_steps else 1.0


def onecycle_factor(step: int, *, num_steps: int, rising_steps: float) -> float:
    """Factor on the peak rate: cosine rise from 1/25, then cosine fall to 1/250000 (Smith and Topin 2018).

    Equals torch's OneCycleLR without its momentum cycle.
    """
    peak = rising_steps - 1
    if step < peak:
        return _cosine(ONECYCLE_START, 1.0, step / peak)
    return _cosine(1.0, ONECYCLE_END, (step - peak) / (num_steps - 1 - peak))


def learning_rate(spec: OptimSpec, step: int, *, steps_per_epoch: int) -> float:
    """The learning rate of a step. Steps count from 0 over the whole training."""
    if spec.schedule == "cosine":
        factor = cosine_factor(
            step, steps_per_epoch=steps_per_epoch, epochs=spec.epochs, warmup_epochs=spec.warmup_epochs
        )
    elif spec.schedule == "step":
        factor = step_factor(
            step,
            steps_per_epoch=steps_per_epoch,
            milestones=spec.milestones,
            gamma=spec.gamma,
            warmup_epochs=spec.warmup_epochs,
        )
    else:
        num_steps = spec.epochs * steps_per_epoch
        rising = spec.warmup_epochs * steps_per_epoch or ONECYCLE_RISING_SHARE * num_steps
        factor = onecycle_factor(step, num_steps=num_steps, rising_steps=rising)
    return spec.lr * factor
