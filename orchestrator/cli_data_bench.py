"""`reskd data bench`: what clips cost, and how many cores feed one GPU."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from orchestrator.cli_pack import data_specs
from orchestrator.console import make_console

console = make_console()


def bench_command(
    sources: Annotated[list[Path], typer.Argument(help="Sweep files or folders with train.csv; originals and packs.")],
    clips_per_s: Annotated[
        float | None, typer.Option("--clips-per-s", help="Clips that one GPU trains on in a second: cores for it.")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Training clips to measure of each.")] = 32,
    data: Annotated[str | None, typer.Option("--data", help="data.name, of a sweep with several data sets.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each source.")] = False,
) -> None:
    """Core-milliseconds a training clip takes to decode, to resize and crop, and to collate, by one thread."""
    import torch

    from reskd.data.bench import measure_split
    from reskd.data.manifest import build_manifest

    torch.set_num_threads(1)
    table = Table("data", "decode (ms)", "crop (ms)", "collate (ms)", "clips/s of a core", "cores a GPU")
    for source in sources:
        spec = data_specs(source, data=data)[0]
        cost = measure_split(build_manifest(spec), spec, num_clips=clips)
        cores = None if clips_per_s is None else math.ceil(clips_per_s / cost.clips_per_s)
        if as_json:
            facts = {**asdict(cost), "total_ms": cost.total_ms, "clips_per_s": cost.clips_per_s, "cores_per_gpu": cores}
            typer.echo(json.dumps({"source": str(source), "data": spec.name, **facts}))
        table.add_row(
            str(source),
            *(f"{part:.2f}" for part in (cost.decode_ms, cost.crop_ms, cost.collate_ms, cost.clips_per_s)),
            "-" if cores is None else str(cores),
        )
    if not as_json:
        console.print(table)
