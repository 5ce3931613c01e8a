"""`reskd data make-demo`: writes the demo's videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import console


def make_demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write the videos to.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write the demo data set: 660 small H.264 clips in six classes, and their CSV files."""
    from reskd.data.synthetic import make_demo as make

    make(folder, seed=seed)
    console.print(f"demo data set in {folder}")
