"""`reskd import`: makes a step of a model that was trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import Changes, StoreFolder, SweepFile
from reskd.errors import BadInput

if TYPE_CHECKING:
    from reskd.files import Json

NEAR_CHANCE = 0.1
"""A top-1 accuracy in this lowest share of what is above guessing is called near chance."""


def import_model(
    file: Annotated[Path, typer.Argument(help="The checkpoint: mmaction2's, torchvision's, timm's or a weights.pt.")],
    sweep: SweepFile,
    model: Annotated[str, typer.Option("--model", help="Its network, such as tsn_resnet152.")],
    resolution: Annotated[
        int | None, typer.Option("--resolution", help="Side of its input in pixels. Default: the sweep's base.")
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", help="student or teacher, of a distillation's checkpoint with both.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option("--classes", help="The file's classes, one name a line; compared with the data set.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of decoding processes, at least one.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    changes: Changes = None,
    store: StoreFolder = None,
) -> None:
    """Make a finished step of a model that was trained elsewhere, and test it on the sweep's data.

    A row or a teacher of a sweep with the same file, network and data is this step.
    """
    if workers < 0:
        raise BadInput(f"--workers must be at least 0, got {workers}")
    from orchestrator.experiment.import_model import check_class_names, import_step, prepare_import
    from reskd.runtime.device import chosen_device

    where = chosen_device(device)
    row: dict[str, object] = {"row": f"import of {file.name}", "checkpoint": str(file), "model.name": model}
    row |= {} if resolution is None else {"model.resolution": resolution}
    row |= {} if part is None else {"checkpoint_part": part}
    prepared, step = prepare_import(sweep, changes=changes or [], row=row, store=open_store(store))
    if classes is not None:
        check_class_names(prepared, step, classes)
    is_new = import_step(prepared, step, device=where, loader_workers=max(1, workers))
    done = prepared.store.done(step.id) or {}
    _show(step.id, done, is_new=is_new, num_classes=len(prepared.manifest(step).classes))
    if step.cells:
        console.print(f"in {sweep} it is row {step.cells[0][0]!r}", markup=False, soft_wrap=True)


def _show(step_id: str, done: Json, *, is_new: bool, num_classes: int) -> None:
    from orchestrator.spec.columns import COLUMNS
    from orchestrator.stats.estimates import number_text
    from reskd.recipe import CLASS_ORDER

    found = done.get("imported", {})
    console.print(
        f"{'imported' if is_new else 'was there already'}: step {step_id}, {found.get('num_tensors')} tensors of "
        f"{found.get('file')} ({found.get('layout')}'s names)",
        markup=False,
        soft_wrap=True,
    )
    for key, value in done["metrics"].items():
        if key in COLUMNS:
            shown = number_text(COLUMNS[key].shown(value), unit=COLUMNS[key].unit)
            console.print(f"{COLUMNS[key].heading}: {shown}, protocol {done['protocol']}", markup=False)
    if not found.get("knows_classes"):
        console.print(CLASS_ORDER, style="yellow", markup=False, soft_wrap=True)
    top1, chance = done["metrics"].get("test/top1", 1.0), 1 / num_classes
    if top1 < chance + NEAR_CHANCE * (1 - chance):
        console.print(
            f"top-1 is near chance ({chance:.1%}): is the order of the classes another one, or are frames, "
            "resolution or crop?",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
