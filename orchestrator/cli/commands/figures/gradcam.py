"""`reskd figures gradcam`: where in a clip each step saw a class."""

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


def gradcam(
    steps: Steps,
    videos: Videos = None,
    clips: Annotated[
        int, typer.Option("--clips", min=1, help="Number of validation clips; each gets its own sheet.")
    ] = 4,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Layer, such as backbone.layer3. Default: the last feature map.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Class to explain. Default: the class that each step predicts.")
    ] = None,
    data_root: DataRoot = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Draw Grad-CAM maps, one sheet per clip: the regions of each frame that support a class, for each step."""
    from orchestrator.experiment.step_figures import write_cams

    home = open_store(store)
    networks, found = networks_and_clips(home, steps, videos, num=clips, root=data_root)
    paths = write_figures(
        home, out, "figures", lambda folder: write_cams(networks, found, folder, layer=layer, class_name=class_name)
    )
    tell_step_figures(home, networks, paths, tracking_uri)
