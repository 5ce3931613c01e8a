"""`reskd bench ...`: measurements of machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_options import StoreFolder, TrackingUri, console, open_store

bench_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@bench_app.callback()
def bench() -> None:
    """Measurements of this and other machines."""


@bench_app.command("import", epilog="Example: reskd bench import h200.json")
def import_file(
    file: Annotated[Path, typer.Argument(help="What `python -m reskd.throughput --json FILE` wrote.")],
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Put measured clips/s into the store, MLflow and the tables that have a column bench/clips/s."""
    from orchestrator.bench import keep_bench, read_bench_file
    from orchestrator.publish_bench import publish_bench

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
