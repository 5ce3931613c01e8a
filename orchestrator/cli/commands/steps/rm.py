"""`reskd rm`: deletes steps from the store, after asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweep
from orchestrator.cli.options import StoreFolder
from reskd.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.store.store import Store


def rm(
    step: Annotated[list[str] | None, typer.Argument(help="Step ids, or the first letters of them.")] = None,
    unused: Annotated[
        Path | None, typer.Option("--unused", help="Delete every step that this sweep does not need.")
    ] = None,
    store: StoreFolder = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete steps from the store, after asking. Their runs in MLflow stay, with their models."""

    if bool(step) == bool(unused):
        raise BadInput("rm: give step ids, or --unused and a sweep file")
    where = open_store(store)
    keep = None
    if unused:
        prepared = open_sweep(unused, None, where)
        if prepared.unseen:  # its ids would be provisional, and every step would look unused
            raise BadInput(
                f"{unused}: no videos and no manifest of {', '.join(prepared.unseen)} here, so its steps are unknown"
            )
        keep = prepared.steps
    doomed = steps_to_remove(where, step or [], keep=keep)
    if not doomed:
        console.print("nothing to delete")
        return
    for step_id in doomed:
        console.print(f"{step_id}  {where.place(step_id)}")
    if not yes and not typer.confirm(f"Delete {len(doomed)} step(s) for good?"):
        raise typer.Exit(0)
    for step_id in doomed:
        where.remove(step_id)
    console.print(f"deleted {len(doomed)} step(s)")


def steps_to_remove(store: Store, prefixes: Sequence[str], *, keep: Mapping[str, object] | None) -> list[str]:
    """The steps whose ids begin with these letters, or all steps that are not in `keep`.

    Raises BadInput if a prefix fits no step or several.
    """
    if keep is not None:
        return [step_id for step_id in store.step_ids() if step_id not in keep]
    return list(dict.fromkeys(store.find_step(prefix) for prefix in prefixes))
