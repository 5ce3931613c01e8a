"""`reskd results`: a sweep's results for pandas, a spreadsheet or a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweep
from orchestrator.cli.options import Changes, StoreFolder, SweepFile, TrackingUri
from orchestrator.cli.show_results import result_lines
from reskd.files import write_atomic

File = Annotated[Path | None, typer.Option(metavar="FILE", help="Write all columns to this file.")]


def results(
    sweep: SweepFile,
    changes: Changes = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
    source: Annotated[str, typer.Option("--from", help="Read the numbers from the store or from mlflow.")] = "store",
    csv: File = None,
    parquet: File = None,
) -> None:
    """Show one line for each cell and metric. A terminal shows the columns that fit; a file has all of them.

    The columns: sweep, row, seed, step, state, metric, value, unit, protocol, clips, device, published figure.
    """
    from orchestrator.experiment.results import results_of

    frame = results_of(open_sweep(sweep, changes, open_store(store)), source=source, tracking_uri=tracking_uri)
    for path, content in ((csv, lambda: frame.to_csv(index=False)), (parquet, frame.to_parquet)):
        if path is not None:
            write_atomic(path, content())
            console.print(f"{len(frame)} results in {path}", markup=False)
    if csv is None and parquet is None:
        for line in result_lines(frame, width=console.width):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
