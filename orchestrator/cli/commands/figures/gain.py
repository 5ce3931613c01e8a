"""`reskd figures gain`: each class's gain over the baseline."""

from __future__ import annotations

from orchestrator.cli.commands.figures.shared import Out, draw_sweep_figures
from orchestrator.cli.options import Changes, StoreFolder, SweepFile, TrackingUri


def gain(
    sweep: SweepFile,
    changes: Changes = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Draw each class's gain in accuracy over the baseline, for the tables that have a `delta_to`."""
    draw_sweep_figures("class_gain", sweep, changes, out, store, tracking_uri)
