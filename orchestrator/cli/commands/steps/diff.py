"""`reskd diff`: shows the fields in which two steps differ."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import AsJson, StoreFolder


def diff(
    first: Annotated[str, typer.Argument(metavar="STEP", help="A step's id, or the first letters of it.")],
    second: Annotated[str, typer.Argument(metavar="STEP", help="Another step's id, or the first letters of it.")],
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show the fields in which two steps of the store differ."""
    from orchestrator.cli.show_answers import show_differences
    from orchestrator.store.step_diff import step_differences

    where = open_store(store)
    ids = where.find_step(first), where.find_step(second)
    found = step_differences(where, *ids)
    if as_json:
        print(json.dumps({"steps": ids, "differences": [asdict(one) for one in found]}, indent=1))
    else:
        show_differences(found, console, ids=ids)
