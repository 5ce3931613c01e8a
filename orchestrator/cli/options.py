"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SweepFile = Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/demo.yaml.")]
SweepFiles = Annotated[list[Path], typer.Argument(help="One or more sweep files.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change one value of the sweep: --set optim.lr=0.02 (or base.optim.lr=0.02). Repeatable."
    ),
]
StoreFolder = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PATH",
        help="The store: a folder or s3://bucket/prefix. Default: $RESKD_STORE, else ./store.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="Address of an MLflow server. Default: an SQLite database in the store's folder.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Estimate for this device: cpu, a100, h100, h200 or a profile in <store>/devices. Default: this machine.",
    ),
]
Devices = Annotated[
    float | None,
    typer.Option(
        "--devices",
        min=0.01,
        help="Estimate for this number of devices (for cpu: cores). Default: resources.max_gpus or max_cpus.",
    ),
]
ClipsAre = Annotated[
    str | None,
    typer.Option(
        "--clips",
        help="Estimate for this kind of video: packed (JPEG), short (10 s) or long (2 min, 720p). Default: what the "
        "data are.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget-gpu-hours", min=0, help="Stop if the estimate is above this number of GPU-hours (cpu: core-hours)."
    ),
]
NoCohorts = Annotated[bool, typer.Option("--no-cohorts", help="Train each step in its own job.")]
Smoke = Annotated[
    bool,
    typer.Option(
        "--smoke",
        help="Try a small form: small networks and generated videos, in a new store under <store>/smoke.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
