"""`reskd predict`: predicts the classes of videos with an exported file or a finished step."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track
from rich.table import Table
from rich.text import Text

from orchestrator.cli.commands.steps.shared import EXPORTED, check_writable, trained_of
from orchestrator.cli.console import console, error_console
from orchestrator.cli.options import AsJson, StoreFolder
from reskd.errors import BadInput
from reskd.files import Json, write_atomic

if TYPE_CHECKING:
    from reskd.deploy.predict import Prediction


def predict(
    model: Annotated[
        str, typer.Argument(help="A .pt2, .onnx or weights.pt file, a step id, or the first letters of it.")
    ],
    path: Annotated[
        list[Path], typer.Argument(help="Videos, folders of frames, or folders that are searched for videos.")
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of classes to show per video.")] = 3,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a CSV file instead of a table.")] = None,
    as_json: AsJson = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Number of decoding processes.")] = os.cpu_count()
    or 1,
    store: StoreFolder = None,
) -> None:
    """Predict the classes of videos, prepared as in an evaluation, on the CPU. Exit code 1 if a video does not
    decode."""
    if csv_file is not None and as_json:
        raise BadInput("predict: give --csv or --json, not both")
    from reskd.deploy.predict import find_videos, open_model
    from reskd.deploy.predict import predict as predictions_of

    videos = find_videos(path)
    opened = open_model(Path(model)) if Path(model).suffix in EXPORTED else trained_of(model, store)
    card = opened.card
    if csv_file is not None:
        check_writable(csv_file, option="--csv")
    running = predictions_of(opened, videos, workers=workers)
    quiet = not error_console.is_terminal
    found = list(track(running, "predicting", len(videos), console=error_console, transient=True, disable=quiet))
    num_shown = min(top, len(card.classes))
    failed = [prediction for prediction in found if prediction.probabilities is None]
    if as_json:
        print(json.dumps({"step_id": card.step_id, "videos": _rows(found, num_shown)}, indent=1))
    elif csv_file is not None:
        _write(csv_file, _csv(found, num_shown))
        console.print(f"{csv_file}: {len(found)} videos", markup=False, soft_wrap=True)
    else:
        console.print(_table(found, num_shown))
    for prediction in failed:
        error_console.print(f"{_shown(prediction.path)}: {prediction.reason}", markup=False, soft_wrap=True)
    if failed:
        error_console.print(f"{len(failed)} of {len(found)} videos do not decode", markup=False)
        raise typer.Exit(1)


def _write(file: Path, content: bytes) -> None:
    """Write the file. If that fails, as on a disk that is full by now, print its lines: no prediction is lost."""
    try:
        write_atomic(file, content)
    except OSError:
        print(content.decode(errors="backslashreplace"), end="")
        raise


def _rows(found: Sequence[Prediction], top: int) -> list[Json]:
    return [
        {"path": str(prediction.path), "error": prediction.reason}
        if prediction.probabilities is None
        else {
            "path": str(prediction.path),
            "top": [{"class": name, "probability": share} for name, share in prediction.top(top)],
        }
        for prediction in found
    ]


def _csv(found: Sequence[Prediction], top: int) -> bytes:
    """Write one line per video: path, error, then class and probability by rank.

    Names that are not UTF-8 keep their bytes.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, top + 1)
    writer.writerow(["path", "error", *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability"))])
    for prediction in found:
        cells = [cell for name, share in prediction.top(top) for cell in (name, f"{share:.6f}")]
        writer.writerow([prediction.path, prediction.reason, *(cells or [""] * (2 * top))])
    return text.getvalue().encode(errors="surrogateescape")


def _table(found: Sequence[Prediction], top: int) -> Table:
    table = Table("video", *(f"{rank}." for rank in range(1, top + 1)))
    for prediction in found:
        cells = [f"{name} {share:.1%}" for name, share in prediction.top(top)]
        if prediction.probabilities is None:
            cells = ["does not decode"]
        table.add_row(Text(_shown(prediction.path), overflow="fold"), *(Text(cell) for cell in cells))
    return table


def _shown(path: Path) -> str:
    """The path as text that every terminal can print, even if its bytes are not valid text."""
    return str(path).encode(errors="backslashreplace").decode()
