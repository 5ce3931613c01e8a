"""`reskd figures cost`: accuracy against cost of a sweep's rows."""

from __future__ import annotations

from orchestrator.cli.commands.figures.shared import Out, draw_sweep_figures
from orchestrator.cli.options import Changes, StoreFolder, SweepFile, TrackingUri


def cost(
    sweep: SweepFile,
    changes: Changes = None,
    out: Out = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Draw accuracy against GMACs of every row, with the published methods of the same data set in grey."""
    draw_sweep_figures("accuracy_vs_gmacs", sweep, changes, out, store, tracking_uri)
