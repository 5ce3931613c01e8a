"""`reskd classes`: shows a finished step class by class, from its stored logits."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from orchestrator.cli.commands.steps.shared import ProtocolName, StepId, stored_judgement_of
from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import AsJson, StoreFolder
from reskd.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.store.evaluations import StoredJudgement

MAX_MATRIX = 12
"""Up to this many classes, the terminal shows the whole confusion matrix; with more classes, only the commonest
mistakes."""
MAX_MISTAKES = 10


def classes(
    step: StepId,
    protocol: ProtocolName = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
    csv_folder: Annotated[
        Path | None, typer.Option("--csv", help="Folder for CSV files of the classes and the confusion matrix.")
    ] = None,
) -> None:
    """Show a finished step class by class: accuracy, average precision, and which classes are confused."""
    from reskd.evaluation.paired_tests import class_scores, confusion

    if csv_folder is not None and csv_folder.suffix.lower() == ".csv" and not csv_folder.is_dir():
        raise BadInput(f"--csv {csv_folder}: these are two files; name a folder for them")
    judged = stored_judgement_of(open_store(store), step, protocol)
    scores = class_scores(judged.logits, judged.targets, classes=judged.classes)
    matrix = confusion(judged.logits, judged.targets)
    table = [
        {
            "class": score.name,
            "clips": score.num_clips,
            "correct": score.num_correct,
            "accuracy": _known(score.accuracy),
            "average_precision": _known(score.average_precision),
        }
        for score in scores
    ]
    if csv_folder is not None:
        _write_csv(csv_folder, judged, table, matrix)
    if as_json:
        head = {"step": judged.step_id, "protocol": judged.protocol, "num_clips": len(judged.indices)}
        print(json.dumps({**head, "classes": table, "confusion": matrix.tolist()}))
        return
    shown = Table(*("class", "clips", "correct", "accuracy (%)", "average precision (%)"))
    shown.title = f"{judged.step_id}: {len(judged.indices)} clips, {judged.protocol}"
    for score in scores:
        texts = [
            "" if math.isnan(share) else f"{100 * share:.1f}" for share in (score.accuracy, score.average_precision)
        ]
        shown.add_row(score.name, str(score.num_clips), str(score.num_correct), *texts)
    console.print(shown)
    _show_confusion(judged.classes, matrix)
    if (judged.targets.sum(axis=1) > 1).any():
        console.print("A clip of several labels counts as the one predicted, else as its first.")
    if csv_folder is not None:
        console.print(f"CSV: {csv_folder}", markup=False)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _show_confusion(names: Sequence[str], matrix: np.ndarray) -> None:
    if len(names) <= MAX_MATRIX:
        table = Table("true \\ predicted", *names, title="confusion (clips)")
        for name, row in zip(names, matrix, strict=True):
            table.add_row(name, *(str(number) if number else "." for number in row))
    else:
        mistakes = [(int(n), names[i], names[j]) for (i, j), n in np.ndenumerate(matrix) if i != j and n]
        table = Table("clips", "of class", "taken for", title="commonest mistakes (--csv: the whole matrix)")
        for number, true, predicted in sorted(mistakes, key=lambda mistake: -mistake[0])[:MAX_MISTAKES]:
            table.add_row(str(number), true, predicted)
    console.print(table)


def _write_csv(folder: Path, judged: StoredJudgement, table: list[dict], matrix: np.ndarray) -> None:
    from reskd.files import write_atomic

    stem = f"{judged.step_id}-{judged.protocol}"
    rows = [list(table[0]), *(["" if value is None else value for value in row.values()] for row in table)]
    confusion = [["true", *judged.classes], *([name, *row] for name, row in zip(judged.classes, matrix, strict=True))]
    write_atomic(folder / f"{stem}-classes.csv", _csv(rows))
    write_atomic(folder / f"{stem}-confusion.csv", _csv(confusion))


def _csv(rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
