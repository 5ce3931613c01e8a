"""`reskd verify`: reads a store against its digests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track
from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import console, error_console
from orchestrator.cli.inputs import open_sweep
from orchestrator.cli.options import AsJson, Changes, StoreFolder

if TYPE_CHECKING:
    from orchestrator.store.store import Store
    from orchestrator.store.verify import Checked

STYLES = {"verified": "green", "unverified": "yellow", "damaged": "red"}


def verify(
    sweep: Annotated[Path | None, typer.Argument(help="A sweep file: read only its steps. Default: all steps.")] = None,
    changes: Changes = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
) -> None:
    """Read every file of the store against its digest: verified, unverified (an earlier version wrote it), damaged.

    Each damaged file is named with what to do. A finished step with damaged weights is shown as damaged from then on,
    and is good again once this command finds its weights to be so. Exit code 1 if a file is damaged.
    """
    from orchestrator.store.open import existing_store
    from orchestrator.store.verify import steps_to_verify, verify_manifests, verify_step

    where = existing_store(store)
    step_ids, hashes = steps_to_verify(where), None
    if sweep is not None:
        steps = open_sweep(sweep, changes, where).steps
        step_ids = [step_id for step_id in step_ids if step_id in steps]
        hashes = [step.payload["manifest_sha256"] for step in steps.values()]
    found = verify_manifests(where, hashes)
    quiet = as_json or not error_console.is_terminal
    for step_id in track(step_ids, "reading", console=error_console, transient=True, disable=quiet):
        found += verify_step(where, step_id)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))
    else:
        _show(found, where, num_steps=len(step_ids))
    if any(one.verdict == "damaged" for one in found):
        raise typer.Exit(1)


def _show(found: Sequence[Checked], store: Store, *, num_steps: int) -> None:
    """Print how many files of each kind are verified, unverified and damaged; below it, each damaged one."""
    counts = Counter[tuple[str, str]]((_kind(one.file), one.verdict) for one in found)
    table = Table(box=None, pad_edge=False)
    table.add_column("files")
    for verdict in STYLES:
        table.add_column(verdict, justify="right")
    for kind in sorted({kind for kind, _ in counts}):
        numbers = [counts[kind, verdict] for verdict in STYLES]
        styles = [style if number else "dim" for number, style in zip(numbers, STYLES.values(), strict=True)]
        table.add_row(kind, *(Text(str(number), style) for number, style in zip(numbers, styles, strict=True)))
    if found:
        console.print(table)
    for one in found:
        if one.verdict == "damaged":
            place = one.file if one.step_id is None else f"{store.place(one.step_id)}/{one.file}"
            console.print(f"damaged: {place}", style="red", markup=False, soft_wrap=True)
            console.print(f"  {one.reason}\n  {one.way_out}", markup=False, soft_wrap=True)
    total = Counter[str](one.verdict for one in found)
    words = ", ".join(f"{total[verdict]} {verdict}" for verdict in STYLES)
    files, steps = (
        f"{number} {what}{'s' * (number != 1)}" for number, what in ((len(found), "file"), (num_steps, "step"))
    )
    console.print(f"{store.address}: {files} of {steps}: {words}", markup=False, soft_wrap=True)
    if total["unverified"]:
        console.print("unverified: an earlier version wrote them, without a digest; nothing speaks against them")


def _kind(file: str) -> str:
    """`eval/*.npz` for a file in a folder, else its name."""
    path = PurePosixPath(file)
    return file if path.parent == PurePosixPath() else f"{path.parent}/*{path.suffix}"
