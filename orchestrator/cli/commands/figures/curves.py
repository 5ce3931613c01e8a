"""`reskd figures curves`: learning curves of a sweep's rows."""

from __future__ import annotations

from orchestrator.cli.commands.figures.shared import Out, draw_sweep_figures
from orchestrator.cli.options import Changes, StoreFolder, SweepFile, TrackingUri


def curves(
    sweep: SweepFile,
    changes: Changes = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Draw the learning curve of every row: the validation metric by epoch, as a mean over seeds."""
    draw_sweep_figures("learning_curves", sweep, changes, out, store, tracking_uri)
