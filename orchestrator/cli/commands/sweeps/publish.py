"""`reskd publish`: writes a sweep's steps from the store to MLflow."""

from __future__ import annotations

from orchestrator.cli.console import console, program_name
from orchestrator.cli.inputs import open_store, open_sweep, say_taken
from orchestrator.cli.options import Changes, StoreFolder, SweepFile, TrackingUri
from reskd.errors import ReskdError


def publish(
    sweep: SweepFile, changes: Changes = None, store: StoreFolder = None, tracking_uri: TrackingUri = None
) -> None:
    """Write the steps of a sweep from the store to MLflow. What MLflow already has is not changed."""
    from orchestrator.cli.show_outcome import browse_line
    from orchestrator.experiment.build_tables import write_tables
    from orchestrator.tracking.publish import Publisher

    say_taken(store=store, tracking_uri=tracking_uri)
    prepared = open_sweep(sweep, changes, open_store(store))
    publisher = Publisher(prepared.store, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri)
    if not publisher.publish():
        raise ReskdError(f"{prepared.sweep.path}: MLflow did not take everything; see the warning above, then repeat")
    write_tables([prepared], [publisher.records()], publishers=[publisher], console=console)
    console.print(browse_line(prepared, publisher, program=program_name()), markup=False, soft_wrap=True)
