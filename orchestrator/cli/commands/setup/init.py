"""`reskd init`: writes a commented sweep file to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import console


def init(
    file: Annotated[Path, typer.Argument(help="The sweep file to write.")] = Path("your_videos.yaml"),
    data: Annotated[Path | None, typer.Option("--data", help="Folder with train.csv and val.csv.")] = None,
) -> None:
    """Write a commented sweep file for your own videos. An existing file is not overwritten."""
    from orchestrator.spec.template import write_starter

    write_starter(file, data=data)
    named = shlex.quote(str(file))
    console.print(f"wrote {file}; next:  reskd data check {named}, then reskd plan {named}", markup=False)
