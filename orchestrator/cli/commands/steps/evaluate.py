"""`reskd eval`: evaluates finished steps again, with other views or more frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store, open_sweep
from orchestrator.cli.options import Changes, StoreFolder, TrackingUri
from reskd.errors import BadInput
from reskd.protocol import parse_views

if TYPE_CHECKING:
    from orchestrator.experiment.bound_sweep import Prepared
    from orchestrator.experiment.reevaluate import Outcome
    from orchestrator.store.store import Store

SWEEP_SUFFIXES = (".yaml", ".yml")
MAX_FRAMES = 9999
"""Largest number of frames that a protocol's name can hold."""


def evaluate(
    what: Annotated[
        str, typer.Argument(metavar="STEP|SWEEP", help="A step's id, the first letters of it, or a sweep file.")
    ],
    views: Annotated[str, typer.Option(help="Temporal views x crops (1: centre, 3: both ends and centre).")] = "10x3",
    twice: Annotated[
        bool, typer.Option("--twice", help="Take each temporal view twice: middle and start of its segments.")
    ] = False,
    frames: Annotated[int | None, typer.Option(help="Frames per view. Default: as in training.")] = None,
    short_side: Annotated[
        int | None, typer.Option(help="Shorter side of a frame in pixels. Default: as in the step's own test.", min=1)
    ] = None,
    crop_size: Annotated[
        int | None, typer.Option(help="Side of the crops in pixels. Default: as in the step's own test.", min=1)
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of decoding processes, at least one.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    data_root: Annotated[
        Path | None, typer.Option("--data-root", help="Folder of the videos, if it has changed.")
    ] = None,
    changes: Changes = None,
    store: StoreFolder = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Evaluate finished steps again by another protocol.

    The new record is stored beside the old one; nothing is trained.
    """
    parsed = parse_views(views)
    if frames is not None and not 1 <= frames <= MAX_FRAMES:
        raise BadInput(f"--frames must be from 1 to {MAX_FRAMES}, got {frames}")
    if workers < 0:
        raise BadInput(f"--workers must be at least 0, got {workers}")
    from orchestrator.experiment.reevaluate import reevaluate, stored_recipe, with_root
    from orchestrator.store.evaluations import finished_step
    from reskd.runtime.device import chosen_device

    where = chosen_device(device)
    home = open_store(store)
    prepared = None
    if what.endswith(SWEEP_SUFFIXES) or Path(what).is_file():
        prepared = open_sweep(Path(what), changes, home)
        found = [(step_id, step.recipe) for step_id, step in prepared.steps.items() if home.is_finished(step_id)]
        if not found:
            raise BadInput(
                f"{what}: none of its {len(prepared.steps)} steps is finished in {home.address}; run it first"
            )
    elif changes:
        raise BadInput("eval: --set changes a sweep, but a step was given")
    else:
        step_id = finished_step(home, what)
        found = [(step_id, stored_recipe(home, step_id))]
    recipes = with_root(found, data_root)
    with Progress(console=console, transient=True) as progress:
        outcome = reevaluate(
            home,
            recipes,
            views=parsed,
            num_frames=frames,
            twice=twice,
            short_side=short_side,
            crop_size=crop_size,
            device=where,
            loader_workers=max(1, workers),
            on_pass=partial(_begin, progress),
        )
    names = {step_id: _name(prepared, step_id) for step_id in recipes}
    _show(home, outcome, names, first=next(iter(recipes.values())).eval.metric)
    _publish(prepared, tracking_uri)
    raise typer.Exit(3 if outcome.held else 0)


def _begin(progress: Progress, words: str, total: int) -> Callable[[int], None]:
    task = progress.add_task(words, total=total)
    return lambda done: progress.update(task, completed=done)


def _name(prepared: Prepared | None, step_id: str) -> str:
    from orchestrator.spec.steps import name_and_seed

    return step_id if prepared is None else name_and_seed(prepared.steps[step_id])


def _show(store: Store, outcome: Outcome, names: Mapping[str, str], *, first: str) -> None:
    from orchestrator.spec.columns import TEST_METRICS, quantity_of
    from orchestrator.stats.estimates import number_text
    from orchestrator.store.evaluations import default_protocol

    order = {name: quantity_of(f"test/{name}") for name in (first, *TEST_METRICS)}
    headings = [f"{name} ({quantity.unit})" for name, quantity in order.items()]
    table = Table("step", "protocol", *headings, "clips", "skipped", "")
    for step_id, protocol in outcome.protocols.items():
        records = store.evaluations(step_id)
        is_imported = "imported" in (store.done(step_id) or {})
        known = [(default_protocol(store, step_id), "as imported" if is_imported else "as trained")]
        if protocol.name != known[0][0]:
            known.append((protocol.name, "new" if step_id in outcome.judged else "was there"))
        for place, (name, said) in enumerate(known):
            record = records.get(name)
            if record is None:
                said = f"held by {outcome.held[step_id]}" if step_id in outcome.held else "missing"
                said = outcome.unfit.get(step_id, said)
            metrics = record["metrics"] if record else {}
            texts = [
                number_text(quantity.shown(metrics[name]), unit=quantity.unit) if name in metrics else ""
                for name, quantity in order.items()
            ]
            counts = [str(record[key]) if record else "" for key in ("num_clips", "num_skipped")]
            table.add_row(names[step_id] if place == 0 else "", name, *texts, *counts, said)
    console.print(table)
    done = f"{len(outcome.judged)} evaluated, {len(outcome.present)} had this record already"
    done += f", {len(outcome.held)} held elsewhere" if outcome.held else ""
    console.print(done + (f", {len(outcome.unfit)} left out" if outcome.unfit else ""))
    protocols = {protocol.name: protocol for protocol in outcome.protocols.values()}
    for name, protocol in protocols.items():
        console.print(f"{name}: {protocol.words}. In a table: columns: [test/{name}/{first}]", markup=False)


def _publish(prepared: Prepared | None, tracking_uri: str | None) -> None:
    """Write the new figures to the sweep's MLflow runs. For a single step this is not possible: its sweep is not
    known."""
    if prepared is None:
        console.print("`reskd publish SWEEP` puts this into the step's MLflow run")
        return
    from orchestrator.tracking.publish import Publisher

    publisher = Publisher(prepared.store, sweep=prepared.sweep, steps=prepared.steps, tracking_uri=tracking_uri)
    if publisher.publish():
        console.print("MLflow has the new figures; `reskd tables` rebuilds the tables")
    else:
        console.print("MLflow did not take it; `reskd publish` writes it later", style="yellow")
