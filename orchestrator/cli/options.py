"""What several commands share: their options, and opening the store and the sweep that these name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.run.console import make_console

if TYPE_CHECKING:
    from orchestrator.experiment.bound_sweep import Prepared
    from orchestrator.store.folder import Store

console = make_console()

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


def open_sweep(sweep: Path, changes: list[str] | None, store: Store, *, no_cohorts: bool = False) -> Prepared:
    from orchestrator.experiment.bound_sweep import (
        prepare,  # the parts that take seconds to import come when they are needed
    )

    return prepare(sweep, changes=[*(changes or []), *(["cohort.enabled=false"] if no_cohorts else [])], store=store)


def open_store(folder: str | None) -> Store:
    from orchestrator.store.open import store_at

    return store_at(folder)
