"""`reskd figures erf`: effective receptive fields of steps side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.commands.figures.shared import (
    DataRoot,
    Out,
    Steps,
    Videos,
    networks_and_clips,
    tell_step_figures,
    write_figures,
)
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import StoreFolder, TrackingUri


def erf(
    steps: Steps,
    videos: Videos = None,
    clips: Annotated[int, typer.Option("--clips", min=1, help="Number of validation clips for the mean.")] = 16,
    at: Annotated[
        tuple[float, float],
        typer.Option("--at", help="Place of the cell, as shares of height and width from the top left."),
    ] = (0.625, 0.625),
    data_root: DataRoot = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Draw the effective receptive fields of steps side by side: the pixels that influence one cell of the last map."""
    from orchestrator.experiment.step_figures import write_fields

    home = open_store(store)
    networks, found = networks_and_clips(home, steps, videos, num=clips, root=data_root)
    paths = write_figures(home, out, "figures", lambda folder: write_fields(networks, found, folder, place=at))
    tell_step_figures(home, networks, paths, tracking_uri)
