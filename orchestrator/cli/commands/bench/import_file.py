"""`reskd bench import`: imports measured speeds into the store, MLflow and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import StoreFolder, TrackingUri


def import_file(
    file: Annotated[Path, typer.Argument(help="What `python -m reskd.throughput --json FILE` wrote.")],
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Import measured clips/s into the store and MLflow. Tables show them in the column bench/clips/s."""
    from orchestrator.store.imported_speeds import keep_bench, read_bench_file
    from orchestrator.tracking.publish_speeds import publish_bench

    measured, content = read_bench_file(file)
    opened = open_store(store)
    path = keep_bench(opened, content)
    num_runs = publish_bench(opened, measured, content, tracking_uri=tracking_uri)
    console.print(
        f"{len(measured.results)} measurements on {measured.device}: {path}; "
        f"MLflow: {num_runs} new runs of `throughput`; `reskd tables` shows them",
        markup=False,
        soft_wrap=True,
    )
