"""Commands that answer a question about what is there: why an entry is what it is, how two steps differ."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from orchestrator.cli.options import AsJson, Changes, StoreFolder, SweepFile, console, open_store, open_sweep

ask_app = typer.Typer()


@ask_app.command(epilog='Example: reskd why sweeps/demo.yaml levels "pixel-level MSE" test/top1')
def why(
    sweep: SweepFile,
    table: Annotated[str, typer.Argument(help="Key of a table in the sweep file.")],
    row: Annotated[str, typer.Argument(help="A row of that table.")],
    column: Annotated[str, typer.Argument(help="A column as the file has it, such as test/top1 or GMACs.")],
    changes: Changes = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """The chain behind an entry of a table: seeds, steps, teachers, data, commit, versions, protocol."""
    from orchestrator.cli.show_answers import show_chain
    from orchestrator.experiment.provenance_chain import why as chain_of

    chain = chain_of(open_sweep(sweep, changes, open_store(store)), table=table, row=row, column=column)
    if as_json:
        print(json.dumps(chain, indent=1))
    else:
        show_chain(chain, console)


@ask_app.command(epilog="Example: reskd diff 6208b5ed 9f4fc9f9")
def diff(
    first: Annotated[str, typer.Argument(metavar="STEP", help="A step's id or its first letters.")],
    second: Annotated[str, typer.Argument(metavar="STEP", help="Another.")],
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """The fields that differ between two steps of the store."""
    from orchestrator.cli.show_answers import show_differences
    from orchestrator.store.step_diff import step_differences

    where = open_store(store)
    ids = where.find_step(first), where.find_step(second)
    found = step_differences(where, *ids)
    if as_json:
        print(json.dumps({"steps": ids, "differences": [asdict(one) for one in found]}, indent=1))
    else:
        show_differences(found, console, ids=ids)
