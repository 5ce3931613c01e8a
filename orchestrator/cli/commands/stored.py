"""`reskd compare`, `reskd classes`: what stored logits say, without a video or a GPU."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.options import AsJson, StoreFolder, console, open_store
from reskd.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.store.evaluations import StoredJudgement
    from orchestrator.store.folder import Store

MAX_MATRIX = 12
"""Classes of which a terminal shows the whole confusion matrix; of more, the commonest mistakes."""
MAX_MISTAKES = 10

StepId = Annotated[str, typer.Argument(metavar="STEP", help="A step's id or its first letters.")]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help="Such as val-f32-v10x3. Default: what training judged it by.")
]


def compare(
    first: StepId, second: StepId, protocol: ProtocolName = None, store: StoreFolder = None, as_json: AsJson = False
) -> None:
    """Two finished steps clip by clip: accuracies, their difference with an interval, McNemar's exact test."""
    from reskd.evaluation.paired_tests import compare as compare_correct
    from reskd.evaluation.paired_tests import correct

    home = open_store(store)
    pair = [_judgement(home, prefix, protocol) for prefix in (first, second)]
    rows = _shared_clips(*pair)
    right = [correct(one.logits, one.targets)[row] for one, row in zip(pair, rows, strict=True)]
    paired = compare_correct(right[0], right[1])
    left_out = [len(one.indices) - len(row) for one, row in zip(pair, rows, strict=True)]
    if as_json:
        steps = [one.step_id for one in pair]
        print(json.dumps({"steps": steps, "protocol": pair[0].protocol, "left_out": left_out, **asdict(paired)}))
        return
    table = Table("step", "top-1 (%)", "alone right", title=f"{paired.num_clips} clips, {pair[0].protocol}")
    table.add_row(pair[0].step_id, f"{100 * paired.accuracy_first:.1f}", str(paired.only_first))
    table.add_row(pair[1].step_id, f"{100 * paired.accuracy_second:.1f}", str(paired.only_second))
    console.print(table)
    console.print(
        f"difference {100 * paired.difference:+.1f} points, 95 % interval {100 * paired.low:+.1f} to "
        f"{100 * paired.high:+.1f} (bootstrap over clips); McNemar's exact test p = {paired.p_value:.3g}"
    )
    console.print("Both cover the choice of clips for these two models, not the choice of seeds.")
    if any(left_out):
        console.print(f"Left out, since the other step skipped them: {left_out[0]} and {left_out[1]} clips.")


def classes(
    step: StepId,
    protocol: ProtocolName = None,
    store: StoreFolder = None,
    as_json: AsJson = False,
    csv_folder: Annotated[
        Path | None, typer.Option("--csv", help="Folder to write classes and confusion matrix to, as CSV.")
    ] = None,
) -> None:
    """A finished step class by class: accuracy, average precision, and what is taken for what."""
    from reskd.evaluation.paired_tests import class_scores, confusion

    judged = _judgement(open_store(store), step, protocol)
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
        shown.add_row(escape(score.name), str(score.num_clips), str(score.num_correct), *texts)
    console.print(shown)
    _show_confusion(judged.classes, matrix)
    if (judged.targets.sum(axis=1) > 1).any():
        console.print("A clip of several labels counts as the one predicted, else as its first.")
    if csv_folder is not None:
        console.print(f"CSV: {csv_folder}", markup=False)


def _judgement(store: Store, prefix: str, protocol: str | None) -> StoredJudgement:
    from orchestrator.store.evaluations import finished_step, stored_judgement

    judged = stored_judgement(store, finished_step(store, prefix), protocol=protocol)
    if len(judged.indices) == 0:
        raise BadInput(f"step {judged.step_id}: its evaluation {judged.protocol} holds no clips")
    return judged


def _shared_clips(first: StoredJudgement, second: StoredJudgement) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each that are clips which both have; BadInput where the two do not compare."""
    if first.manifest_sha256 != second.manifest_sha256:
        raise BadInput(
            f"steps {first.step_id} and {second.step_id} have different data, so their clips cannot be paired"
        )
    if first.protocol != second.protocol:
        raise BadInput(
            f"step {first.step_id} was judged by {first.protocol}, {second.step_id} by {second.protocol}; "
            "name one for both with --protocol, after `reskd eval` where it is missing"
        )
    shared, rows_first, rows_second = np.intersect1d(first.indices, second.indices, return_indices=True)
    if len(shared) == 0:
        raise BadInput(f"steps {first.step_id} and {second.step_id} have no clip in common under {first.protocol}")
    return rows_first, rows_second


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
    try:
        write_atomic(folder / f"{stem}-classes.csv", _csv(rows))
        write_atomic(folder / f"{stem}-confusion.csv", _csv(confusion))
    except OSError as error:
        raise BadInput(f"--csv {folder}: cannot be written ({error.strerror}); name another folder") from error


def _csv(rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
