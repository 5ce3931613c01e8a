"""`reskd recipes`: lists the named recipes that a sweep can start from."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import console


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe.")] = None,
) -> None:
    """List the named recipes. The base or a row of a sweep can start from one: base: {recipe: tsn_activitynet}."""
    from orchestrator.spec.named_recipes import find, named_recipes

    if name is not None:
        print(find(name).text, end="")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("recipe", "what it is"):
        table.add_column(heading)
    for key, recipe in named_recipes().items():
        table.add_row(key, Text(recipe.about))
    console.print(table)
