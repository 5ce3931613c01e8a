"""Measures clips per second of a network alone, without decoding.

`python -m reskd.throughput --help` measures a network at several resolutions, plain and tuned.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from reskd.models.video_model import VideoModel, evaluating
from reskd.runtime.device import device_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """One measurement and its conditions. Measurements on different devices or batch sizes cannot be compared."""

    clips_per_s: float
    batch_size: int
    num_frames: int
    resolution: int
    device: str
    """Name of the GPU or of the processor."""
    num_threads: int
    """Number of torch threads on the CPU. It matters little on a GPU."""
    dtype: str
    """Type in which layers compute: the parameters' type, or autocast's."""
    repeats: int
    """Number of timed forwards behind the median."""

    def to_dict(self) -> dict[str, float | int | str]:
        return asdict(self)


def measure_throughput(
    model: VideoModel,
    *,
    resolution: int,
    num_frames: int,
    device: torch.device | str,
    batch_size: int = 8,
    warmup: int = 2,
    repeats: int = 5,
    max_seconds: float = 10.0,
) -> Throughput:
    """Median time of ``repeats`` evaluation forwards on random clips (batch_size, num_frames, 3, r, r).

    The model must be on ``device``; it keeps each module's mode. TF32, autocast, memory format and threads are as the
    caller has set them. After ``max_seconds`` no further forward starts, but at least one is timed. Raises ValueError
    if the model is on another device or a count is below 1.
    """
    device = torch.device(device)
    parameter = next(model.parameters())
    if parameter.device.type != device.type or device.index not in (None, parameter.device.index):
        raise ValueError(f"the model is on {parameter.device}, not on {device}; move it there first")
    if min(resolution, num_frames, batch_size, repeats) < 1:
        raise ValueError(
            "resolution, num_frames, batch_size and repeats must be at least 1, "
            f"got {resolution}, {num_frames}, {batch_size} and {repeats}"
        )
    device = parameter.device
    generator = torch.Generator(device).manual_seed(0)  # its own, so that a training's draws do not change
    shape = (batch_size, num_frames, 3, resolution, resolution)
    clips = torch.randn(shape, generator=generator, device=device).to(parameter.dtype)
    with evaluating(model), torch.inference_mode():
        seconds = time_forwards(
            lambda: model(clips), device=device, warmup=warmup, repeats=repeats, max_seconds=max_seconds
        )
    return Throughput(
        clips_per_s=batch_size / statistics.median(seconds),
        batch_size=batch_size,
        num_frames=num_frames,
        resolution=resolution,
        device=device_name(device),
        num_threads=torch.get_num_threads(),
        dtype=_compute_dtype(parameter),
        repeats=len(seconds),
    )


def time_forwards(
    forward: Callable[[], object],
    *,
    device: torch.device,
    warmup: int,
    repeats: int,
    max_seconds: float,
    min_seconds: float = 0.0,
) -> list[float]:
    """Seconds of one call, measured ``repeats`` times, after ``warmup`` calls that are not counted.

    Each value is the mean over consecutive calls that take at least ``min_seconds`` together, so that the final wait
    for a GPU weighs little. After ``max_seconds`` nothing further starts, but at least one value is returned.
    """
    start = time.perf_counter()
    newest = 0.0
    for _ in range(warmup):
        if time.perf_counter() - start >= max_seconds:
            break
        newest = _seconds(forward, device, num_calls=1)
    num_calls = max(1, math.ceil(min_seconds / newest)) if newest else 1
    seconds: list[float] = []
    while len(seconds) < repeats and (not seconds or time.perf_counter() - start < max_seconds):
        seconds.append(_seconds(forward, device, num_calls=num_calls))
    return seconds


def _seconds(forward: Callable[[], object], device: torch.device, *, num_calls: int) -> float:
    _wait_for(device)
    start = time.perf_counter()
    for _ in range(num_calls):
        forward()
    _wait_for(device)
    return (time.perf_counter() - start) / num_calls


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":  # kernels run behind the Python that launches them
        torch.cuda.synchronize(device)


def _compute_dtype(parameter: torch.nn.Parameter) -> str:
    kind = parameter.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else parameter.dtype
    return str(dtype).removeprefix("torch.")
