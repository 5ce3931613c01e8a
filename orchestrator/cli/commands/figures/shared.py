"""What the figures of steps share, and what those of a sweep share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweep
from reskd.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.experiment.step_figures import NamedClip, Network
    from orchestrator.spec.sweep import PlotKind
    from orchestrator.store.store import Store

Steps = Annotated[
    list[str], typer.Argument(metavar="STEP...", help="Ids of finished steps, or the first letters of the ids.")
]
Videos = Annotated[
    list[Path] | None,
    typer.Option("--videos", help="A video or a folder of videos; repeatable. Default: the step's validation clips."),
]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", help="Folder of the validation videos, if it has changed.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to. Default: a folder in <store>/tables.")]


def networks_and_clips(
    home: Store, steps: Sequence[str], videos: Sequence[Path] | None, *, num: int, root: Path | None
) -> tuple[list[Network], list[NamedClip]]:
    from orchestrator.experiment.step_figures import named_clips, open_networks, validation_clips

    networks = open_networks(home, steps)
    if videos:
        return networks, named_clips(videos, networks[0])
    return networks, validation_clips(home, networks[0], num=num, root=root)


def figure_folder(home: Store, out: Path | None) -> Path:
    folder = out or home.tables("figures")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror}); name another folder with --out") from error
    return folder


def tell_step_figures(
    home: Store, networks: Sequence[Network], paths: Sequence[Path], tracking_uri: str | None
) -> None:
    from orchestrator.tracking.publish import log_step_figures

    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)
    num_runs = log_step_figures(home, [network.step_id for network in networks], paths, tracking_uri=tracking_uri)
    if num_runs:
        console.print(f"in MLflow: artifacts figures/ of {num_runs} run{'s' if num_runs > 1 else ''}")
    else:
        console.print("not in MLflow, which has no runs of these steps; `reskd publish SWEEP` first, then again")


def draw_sweep_figures(
    kind: PlotKind,
    sweep: Path,
    changes: list[str] | None,
    out: Path | None,
    store: str | None,
    tracking_uri: str | None,
) -> None:
    from orchestrator.experiment.sweep_figures import write_sweep_figures
    from orchestrator.tracking.publish import Publisher

    home = open_store(store)
    prepared = open_sweep(sweep, changes, home)
    folder = figure_folder(home, out or home.tables(prepared.sweep.name))
    paths = write_sweep_figures(prepared, kind, folder)
    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)
    publisher = Publisher(home, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri)
    if publisher.log_figures(paths):
        console.print(f"in MLflow: artifacts of the report of {prepared.sweep.name}", markup=False)
