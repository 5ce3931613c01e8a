"""Measures the peak speeds of a device (products, memory, kernel launch) and passes of whole networks."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from reskd.cost.layer_traffic import NUM_CLASSES
from reskd.distill.teacher import Teacher
from reskd.models.catalogue import build_model
from reskd.models.memory_format import in_fast_memory_format
from reskd.recipe import ModelSpec, Precision, Recipe
from reskd.runtime.precision import autocast, autocast_dtype, dtype_of, tf32
from reskd.throughput.measure import time_forwards

Mode = Literal["eval", "batch", "train"]
"""eval: a teacher's forward with folded batch norm. batch: with batch statistics. train: a student's forward and
backward."""
REPEATS = 5
FIRST_SIDE = 256
"""Side of the first square matrices; it is doubled until a product takes long enough."""
LAST_SIDE = 16_384
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Number of copied bytes; more than any cache holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peaks:
    """The largest measured speeds of a device."""

    flops: dict[Precision, float]
    """Operations per second of a square matrix product; two per multiply-accumulate."""
    bytes_per_s: float
    """Bytes per second that a copy reads and writes."""
    launch_s: float
    """Seconds from one tiny operation to the next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredPass:
    """The measured time of one group through one network."""

    spec: ModelSpec
    num_frames: int
    num_clips: int
    precision: Precision
    mode: Mode
    seconds: float


def measure_peaks(device: torch.device, *, precisions: Sequence[Precision], seconds: float) -> Peaks:
    """Measure the peaks, each for about ``seconds``. On a CPU they are those of torch's threads together."""
    return Peaks(
        flops={precision: _product_flops(device, precision, seconds=seconds) for precision in precisions},
        bytes_per_s=_copied_bytes_per_s(device, seconds=seconds),
        launch_s=_launch_s(device, seconds=seconds),
    )


def _product_flops(device: torch.device, precision: Precision, *, seconds: float) -> float:
    recipe = Recipe(precision=precision)
    dtype = autocast_dtype(recipe) or dtype_of(recipe)
    side, best = FIRST_SIDE, 0.0
    with tf32(allowed=precision == "tf32"):
        while side <= LAST_SIDE:
            left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
            took = _median(partial(torch.mm, left, right), device, seconds=seconds / 4)
            best = max(best, 2 * side**3 / took)
            if 8 * took > seconds / REPEATS:
                break  # a larger product could not be repeated within the time
            side *= 2
    return best


def _copied_bytes_per_s(device: torch.device, *, seconds: float) -> float:
    source = torch.zeros(COPIED_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    took = _median(lambda: target.copy_(source), device, seconds=seconds)
    return 2 * 4 * source.numel() / took


def _launch_s(device: torch.device, *, seconds: float) -> float:
    number = torch.zeros(1, device=device)
    return _median(lambda: number.add_(1), device, seconds=seconds, min_seconds=seconds / 10)


def measure_pass(
    spec: ModelSpec,
    *,
    mode: Mode,
    precision: Precision,
    num_frames: int,
    num_clips: int,
    device: torch.device,
    seconds: float,
) -> MeasuredPass:
    """Measure one group of random clips: a teacher's forward (mode eval or batch) or a student's forward and
    backward."""
    recipe = Recipe(model=spec, precision=precision)
    dtype = dtype_of(recipe)
    shape = (num_clips, num_frames, 3, spec.input_size, spec.input_size)
    clips = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    model = build_model(spec, num_classes=NUM_CLASSES, num_frames=num_frames).to(device, dtype)
    if mode == "train":
        network = in_fast_memory_format(model).train()
    else:
        network = Teacher(model, spec, mode=mode).for_students
    labels = torch.zeros(num_clips, dtype=torch.int64, device=device)

    def run() -> Tensor:
        with torch.set_grad_enabled(mode == "train"):
            with autocast(device, autocast_dtype(recipe)):
                output = network(clips)
            if mode == "train":
                network.task_loss(output.to(dtype), labels).backward()
            return output.clip_logits

    with tf32(allowed=precision == "tf32"):
        took = _median(run, device, seconds=seconds)
    return MeasuredPass(
        spec=spec, num_frames=num_frames, num_clips=num_clips, precision=precision, mode=mode, seconds=took
    )


def _median(call: Callable[[], object], device: torch.device, *, seconds: float, min_seconds: float = 0.0) -> float:
    times = time_forwards(call, device=device, warmup=2, repeats=REPEATS, max_seconds=seconds, min_seconds=min_seconds)
    return statistics.median(times)
