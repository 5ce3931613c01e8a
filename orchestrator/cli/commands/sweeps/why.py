"""`reskd why`: shows what an entry of a table is based on."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweep
from orchestrator.cli.options import AsJson, Changes, StoreFolder, SweepFile


def why(
    sweep: SweepFile,
    table: Annotated[str, typer.Argument(help="The table's key in the sweep file.")],
    row: Annotated[str, typer.Argument(help="A row of that table.")],
    column: Annotated[str, typer.Argument(help="A column as in the sweep file, such as test/top1 or GMACs.")],
    changes: Changes = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show what an entry of a table is based on: seeds, steps, teachers, data, commit, versions, protocol."""
    from orchestrator.cli.show_answers import show_chain
    from orchestrator.experiment.provenance_chain import chain_of

    chain = chain_of(open_sweep(sweep, changes, open_store(store)), table=table, row=row, column=column)
    if as_json:
        print(json.dumps(chain, indent=1))
    else:
        show_chain(chain, console)
