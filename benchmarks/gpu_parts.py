"""The parts of benchmarks/gpu.py: what each measures, and the goal that each figure is held against.

Every part takes under a minute on an H100. Goals are those of docs/performance.md; none of them was measured on a GPU
when it was set. Shares of the roofline need a device whose peaks are known (reskd.cost.roofline).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch

from benchmarks import cohort, identity, worker
from reskd.cost.gpu_peaks import peaks_of
from reskd.models.catalogue import build_model
from reskd.recipe import ModelSpec, Precision
from reskd.runtime.determinism import deterministic
from reskd.runtime.device import device_name
from reskd.throughput.device_peaks import Mode, measure_pass, measure_peaks
from reskd.throughput.sheet import Plan, fill, new_sheet

H200_CLIPS_PER_S = {224: 1900, 144: 4500, 112: 7400, 96: 10400, 72: 16100, 56: 27500}
"""The goal for ResNet-50 by resolution on an H200: half of its roofline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One result, and what it should be."""

    what: str
    value: float | str
    goal: str = ""
    is_met: bool | None = None
    """None where there is no goal, or none that holds for this device."""

    @property
    def line(self) -> str:
        shown = self.value if isinstance(self.value, str) else f"{self.value:.4g}"
        verdict = {True: ": met", False: ": missed", None: ""}[self.is_met]
        return f"{self.what}: {shown}" + (f" (goal {self.goal}{verdict})" if self.goal else "")


@dataclass(frozen=True, slots=True)
class Setting:
    """What the parts run on; quick: small networks, and as few steps as show that everything runs."""

    device: torch.device
    is_quick: bool = False

    def options(self, *more: str, rounds: int) -> list[str]:
        """The command line that cohort, identity and worker have in common."""
        precision = "bf16" if self.device.type == "cuda" else "fp32"
        threads = str(torch.get_num_threads())
        common = ["--device", str(self.device), "--precision", precision, "--threads", threads, *more]
        if not self.is_quick:
            return [*common, "--frames", "16", "--clips", "8", "--groups", "8", "--rounds", str(rounds)]
        small = ["--teacher", "tsn_mini18", "--student", "tsn_mini10", "--crop", "32", "--resolution", "24"]
        return [*common, *small, "--frames", "2", "--rounds", "1"]

    @property
    def seconds(self) -> float:
        """Seconds of one measurement of throughput or of calibration."""
        return 0.02 if self.is_quick else 2.0


Part = Callable[[Setting], list[Figure]]


def parts(setting: Setting) -> dict[str, Part]:
    """Every part under its name, in the order in which they are run: what is least likely to hold comes first."""
    found: dict[str, Part] = {}
    rows = (("sizes", "2"),) if setting.is_quick else (("sizes", "4"), ("table4", "0"))
    for row, size in rows:
        for mode in ("eval", "batch"):
            found[f"identity/{row}/{mode}"] = partial(_identity, row=row, size=size, mode=mode)
    students = () if setting.is_quick else ("tsn_resnet50", "tsn_resnet18", "tsn_mobilenet_v2")
    for name in students:
        found[f"worker/{name}"] = partial(_worker, alone=(name,))
    for mode in ("eval",) if setting.is_quick else ("eval", "batch"):
        found[f"worker/taught/{mode}"] = partial(_worker, modes=(mode,))
    for row, size in (("sizes", "2"),) if setting.is_quick else (("sizes", "6"), ("table4", "0")):
        for mode in ("eval",) if setting.is_quick else ("eval", "batch"):
            found[f"cohort/{row}/{mode}"] = partial(_cohort, row=row, size=size, mode=mode)
    is_cuda = setting.device.type == "cuda"
    for path in ("tuned-graph", "tuned", "fp32") if is_cuda else ("tuned-eager",):
        for resolution in (24,) if setting.is_quick else H200_CLIPS_PER_S:
            found[f"throughput/{path}/{resolution}"] = partial(_throughput, path=path, resolution=resolution)
    found["calibrate/peaks"] = _peaks
    for name in ("tsn_mini10",) if setting.is_quick else ("tsn_resnet50", "tsn_resnet18", "tsn_mobilenet_v2"):
        found[f"calibrate/{name}"] = partial(_passes, name=name)
    return found


def _identity(setting: Setting, *, row: str, size: str, mode: str) -> list[Figure]:
    arguments = setting.options("--rows", row, "--sizes", size, "--modes", mode, rounds=5)
    options = cohort.options_of(None).parse_args(arguments)
    with deterministic(setting.device, on=True):
        return [
            Figure(what=f"{name}, hashes that differ {when}", value=differ, goal="none", is_met=differ == "none")
            for name, _, again, alone in identity.found(options)
            for when, differ in (("in the same cohort again", again), ("from jobs of one", alone))
        ]


def _worker(setting: Setting, *, alone: tuple[str, ...] = (), modes: tuple[str, ...] = ()) -> list[Figure]:
    options = worker.parsed(setting.options("--alone", *alone, "--modes", *modes, rounds=8))
    figures = []
    for name, theirs, ours in worker.rows(options, cohort.noise(options)):
        times_less = theirs.wall_s / ours.wall_s
        held: dict[str, Any] = {"goal": "2.5 on a GPU", "is_met": times_less >= 2.5} if _is_goal_here(setting) else {}
        figures += [
            Figure(what=f"{name}: step against the official style, times less", value=times_less, **held),
            Figure(what=f"{name}: our step, s", value=ours.wall_s),
        ]
    return figures


def _cohort(setting: Setting, *, row: str, size: str, mode: str) -> list[Figure]:
    options = cohort.options_of(None).parse_args(
        setting.options("--rows", row, "--sizes", size, "--modes", mode, rounds=3)
    )
    goal = {"sizes": 2.0, "table4": 2.1 if mode == "batch" else 1.7}[row]
    figures = []
    for name, _, together, apart in cohort.measured(options):
        times_less = apart.wall_s / together.wall_s
        held: dict[str, Any] = {} if setting.is_quick else {"goal": f"{goal}", "is_met": times_less >= goal}
        figures += [
            Figure(what=f"{name}, teacher {mode}: cohort against jobs of one, times less", value=times_less, **held),
            Figure(what=f"{name}, teacher {mode}: the cohort's step, s", value=together.wall_s),
        ]
    return figures


def _throughput(setting: Setting, *, path: str, resolution: int) -> list[Figure]:
    name = "tsn_mini10" if setting.is_quick else "tsn_resnet50"
    plan = Plan(
        model=name,
        num_classes=200,
        num_frames=2 if setting.is_quick else 16,
        resolutions=(resolution,),
        batch_size=2 if setting.is_quick else 64,
        max_batch=0,
        paths=(path,),
        seconds=5 * setting.seconds,
        repeats=20,
        dtype=None,
        compile_mode="max-autotune-no-cudagraphs",  # what "max-autotune" adds beside kernels, tuned-graph shows
    )
    sheet = new_sheet(plan, device=setting.device)
    model = build_model(ModelSpec(name=name), num_classes=plan.num_classes, num_frames=plan.num_frames).eval()
    for _ in fill(sheet, model, plan, device=setting.device):
        pass
    if sheet.skipped:
        raise RuntimeError(sheet.skipped[0]["reason"])
    figures = []
    for one in sheet.results:
        on_h200 = f"{H200_CLIPS_PER_S[resolution]} on an H200" if path != "fp32" and not setting.is_quick else ""
        figures.append(Figure(what=f"{name} at {resolution} px, {path}: clips/s", value=one.clips_per_s, goal=on_h200))
        if one.roofline_share is not None:
            held: dict[str, Any] = {} if path == "fp32" else {"goal": "0.5", "is_met": one.roofline_share >= 0.5}
            figures.append(Figure(what="share of the bf16 roofline", value=one.roofline_share, **held))
        if one.refusal:
            figures.append(Figure(what="ran as", value=f"{one.engine}: {one.refusal}"))
    return figures


def _peaks(setting: Setting) -> list[Figure]:
    precisions: tuple[Precision, ...] = ("fp32",) if setting.is_quick else get_args(Precision)
    peaks, assumed = measure_peaks(setting.device, precisions=precisions, seconds=setting.seconds), None
    if setting.device.type == "cuda":
        assumed = peaks_of(device_name(setting.device))
    figures = []
    for precision, flops in peaks.flops.items():
        goal = f"{assumed.flops_per_s / 1e12:g}, assumed" if assumed and precision == "bf16" else ""
        figures.append(Figure(what=f"{precision} products, TFLOP/s", value=flops / 1e12, goal=goal))
    moved = f"{assumed.bytes_per_s / 1e12:g}, assumed" if assumed else ""
    figures.append(Figure(what="memory, TB/s", value=peaks.bytes_per_s / 1e12, goal=moved))
    figures.append(Figure(what="start of an operation, us", value=peaks.launch_s * 1e6, goal="9, assumed"))
    return figures


def _passes(setting: Setting, *, name: str) -> list[Figure]:
    """Milliseconds of a group of 8 clips of 16 frames, which `reskd bench calibrate` makes efficiencies of."""
    precision: Literal["bf16", "fp32"] = "bf16" if setting.device.type == "cuda" else "fp32"

    def figures() -> Iterator[Figure]:
        for resolution in (24,) if setting.is_quick else (224, 112, 56):
            for mode in get_args(Mode):
                found = measure_pass(
                    ModelSpec(name=name, resolution=resolution),
                    mode=mode,
                    precision=precision,
                    num_frames=2 if setting.is_quick else 16,
                    num_clips=2 if setting.is_quick else 8,
                    device=setting.device,
                    seconds=setting.seconds,
                )
                yield Figure(what=f"{name} at {resolution} px, {mode}, {precision}: ms", value=found.seconds * 1e3)

    return list(figures())


def _is_goal_here(setting: Setting) -> bool:
    return setting.device.type == "cuda" and not setting.is_quick
