"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SweepFile = Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/demo.yaml.")]
SweepFiles = Annotated[list[Path], typer.Argument(help="Sweep files; several of them together.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change one value of the sweep: --set optim.lr=0.02. Repeatable.")
]
StoreFolder = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PATH",
        help="Folder, or s3://bucket/prefix, of everything trained. Default: $RESKD_STORE, else ./store.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="An MLflow server. Default: SQLite in the store's folder.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", help="Estimate for cpu, a100, h100, h200 or a profile of the store's. Default: what is here."
    ),
]
Devices = Annotated[
    float | None,
    typer.Option(
        "--devices", min=0.01, help="Estimate for so many of them (of a cpu, cores). Default: resources.max_*."
    ),
]
ClipsAre = Annotated[
    str, typer.Option("--clips", help="What is decoded: packed JPEG, short (10 s) or long (2 min, 720p) videos.")
]
Budget = Annotated[
    float | None,
    typer.Option("--budget-gpu-hours", min=0, help="Refuse what is expected to take more (of a cpu, core-hours)."),
]
NoCohorts = Annotated[bool, typer.Option("--no-cohorts", help="Every step in a job of its own.")]
Smoke = Annotated[
    bool,
    typer.Option(
        "--smoke", help="The sweep cut down to two steps on drawn videos, in a fresh store under <store>/smoke."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
