"""What the figures of steps share, and what those of a sweep share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
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
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Folder to write to, or a file x.png for a single figure. Default: a folder in <store>/tables."
    ),
]
PNG = ".png"
OTHER_PICTURES = (".jpg", ".jpeg", ".pdf", ".svg", ".eps", ".gif", ".webp", ".tif", ".tiff")


def networks_and_clips(
    home: Store, steps: Sequence[str], videos: Sequence[Path] | None, *, num: int, root: Path | None
) -> tuple[list[Network], list[NamedClip]]:
    from orchestrator.experiment.step_figures import named_clips, open_networks, validation_clips

    networks = open_networks(home, steps)
    if videos:
        return networks, named_clips(videos, networks[0])
    return networks, validation_clips(home, networks[0], num=num, root=root)


def write_figures(home: Store, out: Path | None, name: str, write: Callable[[Path], list[Path]]) -> list[Path]:
    """Let ``write`` write its figures into the folder ``out``, or the only one into the file ``out``, and return them.

    Without ``out``, the folder is the store's one of that name. Raises BadInput if several figures were one file.
    """
    suffix = "" if out is None or out.is_dir() else out.suffix.lower()
    if suffix in OTHER_PICTURES:
        raise BadInput(f"--out {out}: figures are PNG files; name a file that ends in .png, or a folder")
    if out is None or suffix != PNG:
        folder = out or home.tables(name)
        folder.mkdir(parents=True, exist_ok=True)
        return write(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".figures-") as beside:
        paths = write(Path(beside))
        if len(paths) != 1:
            raise BadInput(f"--out {out}: these are {len(paths)} figures; name a folder for them")
        paths[0].replace(out)
    return [out]


def tell_step_figures(
    home: Store, networks: Sequence[Network], paths: Sequence[Path], tracking_uri: str | None
) -> None:
    from orchestrator.tracking.report_run import log_step_figures

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
    paths = write_figures(home, out, prepared.sweep.name, lambda folder: write_sweep_figures(prepared, kind, folder))
    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)
    publisher = Publisher(home, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri)
    if publisher.log_figures(paths):
        console.print(f"in MLflow: artifacts of the report of {prepared.sweep.name}", markup=False)
