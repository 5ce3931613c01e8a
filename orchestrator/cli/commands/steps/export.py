"""`reskd export`: writes a trained model as one file that runs without reskd."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.commands.steps.shared import check_writable, trained_of
from orchestrator.cli.console import console
from orchestrator.cli.options import StoreFolder
from reskd.errors import BadInput


def export(
    step: Annotated[str, typer.Argument(help="A step id, the first letters of it, or the path of a weights.pt.")],
    format: Annotated[Literal["pt2", "onnx"], typer.Option("--format", help="pt2 (torch.export) or onnx.")] = "pt2",
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write. Default: MODEL-STEP.FORMAT in this folder.")
    ] = None,
    store: StoreFolder = None,
) -> None:
    """Write a trained model as one file that runs without reskd: pixels in, logits out. The logits are checked
    first."""
    if output is not None and output.suffix != f".{format}":
        raise BadInput(f"--output {output}: must end in .{format}, since `reskd predict` reads the format from it")
    from reskd.deploy.export import export as write
    from reskd.deploy.export import require_onnx

    if format == "onnx":
        require_onnx()
    trained = trained_of(step, store)
    card = trained.card
    path = output or Path(f"{card.model}-{card.step_id}.{format}")
    check_writable(path, option="--output")
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
