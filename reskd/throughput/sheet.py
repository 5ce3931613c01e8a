"""The measurements of `python -m reskd.throughput`: which are made, and their file and table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from reskd.cost.gpu_peaks import DevicePeaks, peaks_of
from reskd.cost.roofline import BYTES, operators, roofline_clips_per_s
from reskd.models.video_model import VideoModel
from reskd.runtime.device import device_name
from reskd.runtime.precision import tf32
from reskd.throughput.measure import time_forwards
from reskd.throughput.paths import PATHS, EngineRefusal, ReadyNetwork, make_ready, start_engine
from reskd.throughput.record import FORMAT, Measurement

MIN_SECONDS = 0.05
"""Shortest time of one timing, in seconds. Shorter forwards run several times in it."""
WORTH_A_BIGGER_BATCH = 1.02
"""The batch search ends if doubling the batch is not this many times as fast, twice in a row."""
SEARCH_SHARE = 0.25
"""Share of a measurement's seconds for each batch size in the search."""
CHECKED_CLIPS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The measurements to make."""

    model: str
    num_classes: int
    num_frames: int
    resolutions: tuple[int, ...]
    batch_size: int
    max_batch: int
    """Largest batch size of the search; 0: no search."""
    paths: tuple[str, ...]
    seconds: float
    """Longest time of one measurement, without compiling."""
    repeats: int
    dtype: torch.dtype | None
    """Type of the tuned paths; None: `fast_dtype`."""
    compile_mode: str


@dataclass(slots=True)
class Sheet:
    """The measurements so far, and those that were not possible."""

    head: dict[str, Any]
    results: list[Measurement]
    skipped: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return {**self.head, "results": [asdict(one) for one in self.results], "skipped": self.skipped}


def new_sheet(plan: Plan, *, device: torch.device, profiles: Path | None = None) -> Sheet:
    """The head of a sheet: all facts that must agree if two files are compared.

    The roofline uses a GPU's profile in the folder ``profiles``, else the shipped peaks.
    """
    name = device_name(device)
    peaks = peaks_of(name, profiles=profiles) if device.type == "cuda" else None
    head = {
        "format": FORMAT,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "model": plan.model,
        "num_classes": plan.num_classes,
        "num_frames": plan.num_frames,
        "device": name,
        "device_type": device.type,
        "num_threads": torch.get_num_threads(),
        "compile_mode": plan.compile_mode,
        "roofline": asdict(peaks) if peaks else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "cuda": torch.version.cuda if device.type == "cuda" else None,
        },
    }
    return Sheet(head, [], [])


def fill(sheet: Sheet, model: VideoModel, plan: Plan, *, device: torch.device) -> Iterator[str]:
    """Measure path by path. After each path, `sheet` has grown and a line for the user is yielded."""
    reference = make_ready(model, PATHS["fp32"], device=device)
    found = sheet.head["roofline"]
    peaks = DevicePeaks(**found) if found else None
    with torch.inference_mode(), tf32(False):
        for name in plan.paths:
            network = make_ready(model, PATHS[name], device=device, dtype=plan.dtype)
            for resolution in plan.resolutions:
                roofline = None
                if peaks:
                    roofline = roofline_clips_per_s(
                        network.model, peaks, resolution=resolution, num_frames=plan.num_frames
                    )
                for batch_size, is_best in _batches(network, plan, resolution):
                    where = {"path": name, "resolution": resolution, "batch_size": batch_size}
                    label = f"{name}, {resolution} px, batch {batch_size}"
                    try:
                        measured = _measure(network, reference, plan, resolution, batch_size, is_best, roofline)
                    except (torch.OutOfMemoryError, MemoryError) as error:
                        sheet.skipped.append({**where, "reason": f"out of memory: {str(error).splitlines()[0]}"})
                        yield f"{label}: out of memory"
                        continue
                    sheet.results.append(measured)
                    why = f" ({measured.engine}: {measured.refusal})" if measured.refusal else ""
                    yield f"{label}: {measured.clips_per_s:.4g} clips/s{why}"


def _batches(network: ReadyNetwork, plan: Plan, resolution: int) -> Iterator[tuple[int, bool]]:
    """(size, whether it is the best) of the requested batch size, then of the best one if it differs."""
    best = _best_batch(network, plan, resolution) if plan.max_batch else None
    yield plan.batch_size, plan.batch_size == best
    if best is not None and best != plan.batch_size:
        yield best, True


def _best_batch(network: ReadyNetwork, plan: Plan, resolution: int) -> int | None:
    """The best power of two, without compiling: larger batches are no faster or do not fit.

    None if not even one clip fits.
    """
    best_size, best_speed, num_worse, size = None, 0.0, 0, 1
    while size <= plan.max_batch and num_worse < 2:
        try:
            _check_memory(network, plan, resolution, size)
            clips = network.clips(batch_size=size, num_frames=plan.num_frames, resolution=resolution)
            forward = start_engine(network, "eager", clips, compile_mode=plan.compile_mode)
            times = time_forwards(
                forward,
                device=network.device,
                warmup=1,
                repeats=3,
                max_seconds=plan.seconds * SEARCH_SHARE,
                min_seconds=MIN_SECONDS,
            )
        except (torch.OutOfMemoryError, MemoryError):
            break
        speed = size / statistics.median(times)
        is_worth = speed > best_speed * WORTH_A_BIGGER_BATCH
        num_worse = 0 if is_worth else num_worse + 1
        if is_worth:
            best_size, best_speed = size, speed
        size *= 2
    return best_size


def _measure(
    network: ReadyNetwork,
    reference: ReadyNetwork,
    plan: Plan,
    resolution: int,
    batch_size: int,
    is_best: bool,
    roofline: float | None,
) -> Measurement:
    _check_memory(network, plan, resolution, batch_size)
    clips = network.clips(batch_size=batch_size, num_frames=plan.num_frames, resolution=resolution)
    is_cuda = network.device.type == "cuda"
    if is_cuda:
        torch.cuda.empty_cache()  # cached memory of other batch sizes does not fit this one's tensors
        torch.cuda.reset_peak_memory_stats(network.device)
    start = time.perf_counter()
    forward, engine, refusal = _start(network, clips, plan)
    logits = forward()[:CHECKED_CLIPS].float()
    prepare_s = time.perf_counter() - start
    times = time_forwards(
        forward,
        device=network.device,
        warmup=3,
        repeats=plan.repeats,
        max_seconds=plan.seconds,
        min_seconds=MIN_SECONDS,
    )
    peak = torch.cuda.max_memory_allocated(network.device) if is_cuda else None
    expected = reference.logits(clips[:CHECKED_CLIPS].to(torch.float32))
    fast, slow = _quartiles(times)
    speed = batch_size / statistics.median(times)
    return Measurement(
        path=network.path.name,
        resolution=resolution,
        batch_size=batch_size,
        is_best_batch=is_best,
        engine=engine,
        refusal=refusal,
        dtype=str(network.dtype).removeprefix("torch."),
        clips_per_s=speed,
        clips_per_s_low=batch_size / slow,
        clips_per_s_high=batch_size / fast,
        repeats=len(times),
        prepare_s=prepare_s,
        logits_error=float((logits - expected).norm() / expected.norm()),
        peak_bytes=peak,
        roofline_clips_per_s=roofline,
        roofline_share=speed / roofline if roofline else None,
    )


def _start(network: ReadyNetwork, clips: Tensor, plan: Plan) -> tuple[Callable[[], Tensor], str, str | None]:
    """The path's engine; if it does not work here, the next best one, with the reason."""
    wanted = network.path.engine
    refusals: list[str] = []
    for engine in (wanted, *(("graph", "eager") if wanted == "compile" else ("eager",))):
        try:
            forward = start_engine(network, engine, clips, compile_mode=plan.compile_mode)
        except EngineRefusal as error:
            refusals.append(str(error))
        else:
            return forward, engine, "; ".join(refusals) or None
    raise AssertionError("eager is never refused")


def _quartiles(times: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; for fewer than four times, the shortest and the longest."""
    if len(times) < 4:
        return min(times), max(times)
    first, _, third = statistics.quantiles(times, n=4)
    return first, third


def _check_memory(network: ReadyNetwork, plan: Plan, resolution: int, batch_size: int) -> None:
    """Raise MemoryError before Linux kills the process on the CPU. (A GPU raises by itself.)

    The limit is twice what the largest operator reads and writes, since a block's shortcut is kept meanwhile.
    """
    meminfo = Path("/proc/meminfo")
    if network.device.type != "cpu" or not meminfo.is_file():
        return
    found = operators(network.model, resolution=resolution, num_frames=plan.num_frames, batch_size=batch_size)
    needed = 2 * max(one.num_bytes for one in found) * network.dtype.itemsize / BYTES
    available = next(
        1024 * int(line.split()[1])
        for line in meminfo.read_text(encoding="utf-8").splitlines()
        if line.startswith("MemAvailable")
    )
    if needed > available:
        raise MemoryError(f"about {needed / 2**30:.1f} GiB for {batch_size} clips, {available / 2**30:.1f} are free")


def table_of(sheet: Sheet) -> str:
    """Plain text with one line per measurement."""
    head = sheet.head
    lines = [f"{head['model']}, {head['num_frames']} frames, on {head['device']}, torch {head['versions']['torch']}"]
    if found := head["roofline"]:
        peaks = f"{found['flops_per_s'] / 1e12:.4g} TFLOP/s of bf16, {found['bytes_per_s'] / 1e12:.4g} TB/s"
        lines.append(f"roofline: profile {found['name']} ({found['source']}), {peaks}")
    lines.append("")
    rows = [["path", "px", "batch", "clips/s", "quartiles", "of roofline", "type", "engine", "logits off by"]]
    for one in sheet.results:
        share = f"{100 * one.roofline_share:.0f} % of {one.roofline_clips_per_s:,.0f}" if one.roofline_share else "-"
        rows.append(
            [
                one.path,
                str(one.resolution),
                f"{one.batch_size}{' best' if one.is_best_batch else ''}",
                f"{one.clips_per_s:,.4g}" if one.clips_per_s < 1000 else f"{one.clips_per_s:,.0f}",
                f"{one.clips_per_s_low:.4g}..{one.clips_per_s_high:.4g}",
                share,
                one.dtype,
                one.engine + ("*" if one.refusal else ""),
                f"{one.logits_error:.1e}",
            ]
        )
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for reason in dict.fromkeys(one.refusal for one in sheet.results if one.refusal):
        lines.append(f"* {reason}")
    lines += [f"not measured: {one['path']}, {one['resolution']} px: {one['reason']}" for one in sheet.skipped]
    return "\n".join(lines)
