"""`reskd data bench`: measures the CPU time of reading clips, and estimates how many cores one GPU needs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from orchestrator.cli.commands.data.shared import data_specs
from orchestrator.cli.console import console
from orchestrator.plan.cost_inputs import DEFAULT_GPU


def bench(
    sources: Annotated[list[Path], typer.Argument(help="Sweep files, or folders with train.csv (original or packed).")],
    clips_per_s: Annotated[
        float | None,
        typer.Option(
            "--clips-per-s",
            help="Clips per second that one GPU trains on. Default: estimate for the sweep's fastest row on --device.",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Device profile of the GPU to feed.")] = DEFAULT_GPU,
    clips: Annotated[int, typer.Option(min=1, help="Number of training clips to measure per source.")] = 32,
    data: Annotated[str | None, typer.Option("--data", help="data.name, if the sweep has several data sets.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per source.")] = False,
) -> None:
    """Measure the CPU time of one training clip in milliseconds: decode, resize and crop, collate, each in one
    thread."""
    import torch

    from reskd.data.clip_cost import measure_split
    from reskd.data.manifest import build_manifest

    torch.set_num_threads(1)
    sweep = next((source for source in sources if source.is_file()), None)
    wanted, of = clips_per_s, "asked for"
    if wanted is None and sweep is not None:
        wanted, of = _fastest(sweep, device)
    table = Table("data", "decode (ms)", "crop (ms)", "collate (ms)", "clips/s of a core", "cores a GPU")
    for source in sources:
        spec = data_specs(source, data=data)[0]
        cost = measure_split(build_manifest(spec), spec, num_clips=clips)
        cores = None if wanted is None else math.ceil(wanted / cost.clips_per_s)
        if as_json:
            facts = {**asdict(cost), "total_ms": cost.total_ms, "clips_per_s": cost.clips_per_s, "cores_per_gpu": cores}
            facts["gpu_clips_per_s"] = wanted
            typer.echo(json.dumps({"source": str(source), "data": spec.name, **facts}))
        table.add_row(
            str(source),
            *(f"{part:.2f}" for part in (cost.decode_ms, cost.crop_ms, cost.collate_ms, cost.clips_per_s)),
            "-" if cores is None else str(cores),
        )
    if not as_json:
        console.print(table)
        if wanted is not None:
            console.print(f"cores a GPU: for {wanted:.4g} clips/s, {of}", markup=False, soft_wrap=True)


def _fastest(sweep: Path, device: str) -> tuple[float, str]:
    """Clips/s of the fastest row, trained alone on one such device, and a description of that row."""
    from orchestrator.plan.cost import ClipCounts, Costs
    from orchestrator.plan.device_profiles import load_profile
    from orchestrator.spec.sweep import load

    costs = Costs(device=device, profile=load_profile(device), clips=lambda step: ClipCounts(0, 0))
    speeds = {cell.row: costs.clips_per_s(cell.recipe) for cell in load(sweep).cells}
    row = max(speeds, key=lambda row: speeds[row])
    return speeds[row], f"estimated of {row!r} alone on {device}; a cohort takes fewer"
