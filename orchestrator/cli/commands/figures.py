"""`reskd figures erf | gradcam | curves | gain | cost`: pictures of finished steps and of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import Changes, StoreFolder, SweepFile, TrackingUri, console, open_store, open_sweep
from reskd.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.experiment.step_figures import NamedClip, Network
    from orchestrator.spec.sweep import PlotKind
    from orchestrator.store.folder import Store

figures_app = typer.Typer(no_args_is_help=True)

Steps = Annotated[
    list[str], typer.Argument(metavar="STEP...", help="Ids of finished steps or their first letters: before, after.")
]
Videos = Annotated[
    list[Path] | None,
    typer.Option("--videos", help="A video or a folder of videos; repeatable. Default: the step's validation clips."),
]
DataRoot = Annotated[Path | None, typer.Option("--data-root", help="Folder of the validation videos, if they moved.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to. Default: in the store's tables/.")]


@figures_app.command(epilog="Example: reskd figures erf 3f2a 77c1 --clips 16")
def erf(
    steps: Steps,
    videos: Videos = None,
    clips: Annotated[int, typer.Option("--clips", min=1, help="Validation clips to take the mean over.")] = 16,
    at: Annotated[
        tuple[float, float],
        typer.Option("--at", help="The cell's place, shares of height and width from the top left."),
    ] = (0.625, 0.625),
    data_root: DataRoot = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """The effective receptive field of one cell of the last map, of steps side by side."""
    from orchestrator.experiment.step_figures import write_fields

    home = open_store(store)
    networks, found = _inputs(home, steps, videos, num=clips, root=data_root)
    paths = write_fields(networks, found, _folder(home, out), place=at)
    _tell(home, networks, paths, tracking_uri)


@figures_app.command(epilog="Example: reskd figures gradcam 3f2a 77c1 --videos clip.mp4 --class swimming")
def gradcam(
    steps: Steps,
    videos: Videos = None,
    clips: Annotated[int, typer.Option("--clips", min=1, help="Validation clips, a sheet each.")] = 4,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Dotted name, such as backbone.layer3. Default: the last map.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Class to look for. Default: what each step predicts.")
    ] = None,
    data_root: DataRoot = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Grad-CAM: where in a clip's frames each step saw a class, one sheet a clip."""
    from orchestrator.experiment.step_figures import write_cams

    home = open_store(store)
    networks, found = _inputs(home, steps, videos, num=clips, root=data_root)
    paths = write_cams(networks, found, _folder(home, out), layer=layer, class_name=class_name)
    _tell(home, networks, paths, tracking_uri)


@figures_app.command(epilog="Example: reskd figures curves sweeps/demo.yaml")
def curves(
    sweep: SweepFile,
    changes: Changes = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Learning curves of every row: the validation metric by epoch, mean over seeds."""
    _sweep_figure("learning_curves", sweep, changes, out, store, tracking_uri)


@figures_app.command(epilog="Example: reskd figures gain sweeps/demo.yaml")
def gain(
    sweep: SweepFile,
    changes: Changes = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Each class's accuracy against the baseline's, of the tables that have a `delta_to`."""
    _sweep_figure("class_gain", sweep, changes, out, store, tracking_uri)


@figures_app.command(epilog="Example: reskd figures cost sweeps/demo.yaml")
def cost(
    sweep: SweepFile,
    changes: Changes = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Accuracy against GMACs of every row, with the published methods of the same data set in grey."""
    _sweep_figure("accuracy_vs_gmacs", sweep, changes, out, store, tracking_uri)


def _inputs(
    home: Store, steps: Sequence[str], videos: Sequence[Path] | None, *, num: int, root: Path | None
) -> tuple[list[Network], list[NamedClip]]:
    from orchestrator.experiment.step_figures import named_clips, open_networks, validation_clips

    networks = open_networks(home, steps)
    if videos:
        return networks, named_clips(videos, networks[0])
    return networks, validation_clips(home, networks[0], num=num, root=root)


def _folder(home: Store, out: Path | None) -> Path:
    folder = out or home.tables("figures")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror}); name another folder with --out") from error
    return folder


def _tell(home: Store, networks: Sequence[Network], paths: Sequence[Path], tracking_uri: str | None) -> None:
    from orchestrator.tracking.publish import log_step_figures

    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)
    num_runs = log_step_figures(home, [network.step_id for network in networks], paths, tracking_uri=tracking_uri)
    if num_runs:
        console.print(f"in MLflow: artifacts figures/ of {num_runs} run{'s' if num_runs > 1 else ''}")
    else:
        console.print("not in MLflow, which has no runs of these steps; `reskd publish SWEEP` first, then again")


def _sweep_figure(
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
    folder = _folder(home, out or home.tables(prepared.sweep.name))
    paths = write_sweep_figures(prepared, kind, folder)
    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)
    publisher = Publisher(home, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri)
    if publisher.log_figures(paths):
        console.print(f"in MLflow: artifacts of the report of {prepared.sweep.name}", markup=False)
