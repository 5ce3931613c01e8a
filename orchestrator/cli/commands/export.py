"""`reskd export` and `reskd predict`: a trained model as a file of its own, and its answer on videos."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import track
from rich.table import Table
from rich.text import Text

from orchestrator.cli.options import AsJson, StoreFolder, console, open_store
from orchestrator.run.console import make_console
from reskd.errors import BadInput
from reskd.files import Json, read_json, write_atomic

if TYPE_CHECKING:
    from reskd.deploy.predict import Prediction

EXPORTED = (".pt2", ".onnx")


def export(
    step: Annotated[str, typer.Argument(help="A step id or its first letters, or the path of a weights.pt.")],
    format: Annotated[Literal["pt2", "onnx"], typer.Option("--format", help="pt2 (torch.export) or onnx.")] = "pt2",
    output: Annotated[Path | None, typer.Option("--output", help="Default: MODEL-STEP.FORMAT here.")] = None,
    store: StoreFolder = None,
) -> None:
    """Write a trained model as one file that needs no reskd: pixels in, logits out, compared before it is written."""
    if output is not None and output.suffix != f".{format}":
        raise BadInput(f"--output {output}: must end in .{format}, by which `reskd predict` knows what it is")
    from reskd.deploy.card import load_trained
    from reskd.deploy.export import export as write
    from reskd.deploy.export import require_onnx

    if format == "onnx":
        require_onnx()
    with _readable():
        weights, recipe = _weights(step, store)
        trained = load_trained(weights, recipe=recipe)
    card = trained.card
    path = output or Path(f"{card.model}-{card.step_id}.{format}")
    _check_writable(path, option="--output")
    difference = write(trained, path, format=format)
    size = path.stat().st_size / 1e6
    stride = "" if card.stride is None else f" of stride {card.stride}"
    lines = (
        f"{path}  {size:.1f} MB, {len(card.classes)} classes, {card.model} at {card.resolution} px",
        f"  in   {card.input}",
        f"       num_frames {card.num_frames}{stride}, short side {card.short_side}, crop_size {card.crop_size}",
        f"  out  {card.output}",
        f"  its logits differ from the model's by {difference:.2g} at most",
    )
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def predict(
    model: Annotated[str, typer.Argument(help="A .pt2, .onnx or weights.pt, or a step id or its first letters.")],
    path: Annotated[
        list[Path], typer.Argument(help="Videos, folders of frames, or folders that are searched for videos.")
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to show of each video.")] = 3,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write here instead of a table.")] = None,
    as_json: AsJson = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads that decode.")] = os.cpu_count() or 1,
    store: StoreFolder = None,
) -> None:
    """Classes of videos, seen as in an evaluation, on the CPU. Exit code 1 if a video does not decode."""
    if csv_file is not None and as_json:
        raise BadInput("predict: give --csv or --json, not both")
    from reskd.deploy.predict import find_videos, open_model
    from reskd.deploy.predict import predict as predictions_of

    with _readable():
        videos = find_videos(path)
        file = Path(model) if Path(model).suffix in EXPORTED else _weights(model, store)[0]
        logits, card = open_model(file)
    if csv_file is not None:
        _check_writable(csv_file, option="--csv")
    running = predictions_of(logits, card, videos, workers=workers)
    progress = make_console(stderr=True)
    quiet = not progress.is_terminal
    found = list(track(running, "predicting", len(videos), console=progress, transient=True, disable=quiet))
    num_shown = min(top, len(card.classes))
    failed = [prediction for prediction in found if prediction.probabilities is None]
    if as_json:
        print(json.dumps({"step_id": card.step_id, "videos": _rows(found, card.classes, num_shown)}, indent=1))
    elif csv_file is not None:
        write_atomic(csv_file, _csv(found, card.classes, num_shown))
        console.print(f"{csv_file}: {len(found)} videos", markup=False, soft_wrap=True)
    else:
        console.print(_table(found, card.classes, num_shown))
    for prediction in failed:
        progress.print(f"{_shown(prediction.path)}: {prediction.reason}", markup=False, soft_wrap=True)
    if failed:
        progress.print(f"{len(failed)} of {len(found)} videos do not decode", markup=False)
        raise typer.Exit(1)


def _weights(named: str, store: str | None) -> tuple[Path, Json | None]:
    """The weights.pt that a path or a step id names, and the identity on record beside it."""
    path = Path(named)
    if path.suffix in EXPORTED:
        raise BadInput(f"{path}: exported already; give the step or the weights.pt that it was made from")
    if path.suffix == ".pt":
        return path, (read_json(path.parent / "recipe.json") or {}).get("payload")
    if path.is_file() or path.is_dir():
        raise BadInput(f"{path}: not a model; give a .pt2, an .onnx, a weights.pt or a step id")
    from orchestrator.store.evaluations import finished_step

    where = open_store(store)
    step_id = finished_step(where, named)
    return where.weights(step_id), (where.identity(step_id) or {}).get("payload")


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"{error.filename}: cannot be read ({error.strerror})") from error


def _check_writable(path: Path, *, option: str) -> None:
    """Known before the work is done, not after it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise BadInput(f"{option} {path}: cannot be written ({error.strerror}); name another place") from error
    if path.is_dir():
        raise BadInput(f"{option} {path}: is a folder; name a file")


def _rows(found: Sequence[Prediction], classes: Sequence[str], top: int) -> list[Json]:
    return [
        {"path": str(prediction.path), "error": prediction.reason}
        if prediction.probabilities is None
        else {
            "path": str(prediction.path),
            "top": [{"class": name, "probability": share} for name, share in prediction.top(classes, top)],
        }
        for prediction in found
    ]


def _csv(found: Sequence[Prediction], classes: Sequence[str], top: int) -> bytes:
    """One line a video: path, error, then class and probability by rank; names that are no UTF-8 keep their bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, top + 1)
    writer.writerow(["path", "error", *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability"))])
    for prediction in found:
        cells = [cell for name, share in prediction.top(classes, top) for cell in (name, f"{share:.6f}")]
        writer.writerow([prediction.path, prediction.reason, *(cells or [""] * (2 * top))])
    return text.getvalue().encode(errors="surrogateescape")


def _table(found: Sequence[Prediction], classes: Sequence[str], top: int) -> Table:
    table = Table("video", *(f"{rank}." for rank in range(1, top + 1)))
    for prediction in found:
        cells = [f"{name} {share:.1%}" for name, share in prediction.top(classes, top)]
        if prediction.probabilities is None:
            cells = ["does not decode"]
        table.add_row(Text(_shown(prediction.path), overflow="fold"), *(Text(cell) for cell in cells))
    return table


def _shown(path: Path) -> str:
    """A path that every terminal can print, also where its bytes are no text."""
    return str(path).encode(errors="backslashreplace").decode()
