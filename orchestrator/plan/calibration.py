"""`reskd bench calibrate`: measures this machine and makes a device profile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import yaml

from orchestrator.plan.cost import BYTES, FRAMES_OF_DECODE, network_key, num_kernels, roofline_seconds
from orchestrator.plan.cost_inputs import clip_kind
from orchestrator.plan.device_profiles import ClipKind, DeviceProfile, Mode
from reskd.files import write_atomic
from reskd.recipe import DataSpec, ModelSpec, Precision

if TYPE_CHECKING:
    import torch

    from reskd.throughput.device_peaks import MeasuredPass, Peaks

NETWORKS = ("tsn_resnet50", "tsn_resnet18", "tsn_mobilenet_v2")
NUM_CLIPS = 32
"""Number of clips that are decoded to measure the cost of one."""
LAUNCH_BOUND = 0.5
"""If starting the kernels takes at least this share of a pass, the pass is not used to measure their efficiency."""


def measure_here(
    device: torch.device, *, seconds: float, on_progress: Callable[[str], None]
) -> tuple[Peaks, list[MeasuredPass]]:
    """Measure the peaks of this device, and passes of the paper's networks. Each measurement takes about ``seconds``.

    On a CPU the passes use small groups in float32; on a GPU, groups of 8 clips of 16 frames in bfloat16.
    """
    from reskd.throughput.device_peaks import measure_pass, measure_peaks

    is_cpu = device.type == "cpu"
    precision: Precision = "fp32" if is_cpu else "bf16"
    num_frames, num_clips, resolutions = (4, 2, (112,)) if is_cpu else (16, 8, (224, 112, 56))
    on_progress("peaks")
    peaks = measure_peaks(device, precisions=get_args(Precision), seconds=seconds)
    passes = []
    for name, resolution, mode in product(NETWORKS, resolutions, get_args(Mode)):
        on_progress(f"{name} at {resolution} px, {mode}")
        found = measure_pass(
            ModelSpec(name=name, resolution=resolution),
            mode=mode,
            precision=precision,
            num_frames=num_frames,
            num_clips=num_clips,
            device=device,
            seconds=seconds,
        )
        passes.append(found)
    return peaks, passes


def calibrated(
    base: DeviceProfile,
    peaks: Peaks,
    passes: Sequence[MeasuredPass],
    *,
    decode_core_ms: Mapping[ClipKind, float],
    source: str,
) -> DeviceProfile:
    """``base`` with the measured values.

    A mode's efficiency is the median of roofline time / measured time over its passes.

    Passes that mostly start kernels are left out, since plans count launches separately.
    """
    profile = replace(
        base,
        flops={**base.flops, **peaks.flops},
        bytes_per_s=peaks.bytes_per_s,
        launch_s=peaks.launch_s,
        decode_core_ms={**base.decode_core_ms, **decode_core_ms},
        source=source,
    )
    shares: dict[Mode, list[float]] = {}
    for one in passes:
        key, flops = network_key(one.spec, one.num_frames), profile.flops[one.precision]
        if num_kernels(key, one.mode) * profile.launch_s < LAUNCH_BOUND * one.seconds:
            size, moved = BYTES[one.precision], profile.bytes_per_s
            ideal = roofline_seconds(key, one.num_clips, size, one.mode, flops, moved)
            shares.setdefault(one.mode, []).append(ideal / one.seconds)
    efficiency = {mode: statistics.median(found) for mode, found in shares.items()}
    return replace(profile, efficiency={**base.efficiency, **efficiency})


def write_profile(profile: DeviceProfile, path: Path) -> None:
    """Write a profile as a file that `orchestrator.plan.device_profiles` reads."""
    values = asdict(profile) | {"matches": list(profile.matches)}
    head = "# Written by `reskd bench calibrate`; remove it to go back to the shipped profile. Fields: devices.yaml.\n"
    write_atomic(path, head + yaml.safe_dump(_rounded(values), sort_keys=False))


def _rounded(value: object) -> object:
    """Rounded to four digits, since the measurement is not more exact."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def decode_cost(spec: DataSpec) -> dict[ClipKind, float]:
    """Core-milliseconds for 16 frames of a data set's training clips, by the profile's kinds of clips."""
    from reskd.data.clip_cost import measure_split
    from reskd.data.manifest import build_manifest

    manifest = build_manifest(spec)
    cost = measure_split(manifest, spec, num_clips=NUM_CLIPS)
    return {clip_kind(spec, manifest): cost.total_ms * FRAMES_OF_DECODE / spec.num_frames}


def source_of(device_name: str, *, is_gpu: bool) -> str:
    """The profile's note about where and when it was measured."""
    import torch

    how = "" if is_gpu else ", one core"
    return f"measured on {device_name}{how}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"
