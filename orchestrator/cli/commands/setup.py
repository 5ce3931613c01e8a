"""Commands for the first hour: what this machine lacks, a sweep file to start from, help while writing it."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from orchestrator.cli.options import AsJson, StoreFolder, console
from reskd.errors import BadInput

setup_app = typer.Typer()

VERDICTS = {"ok": "green", "note": "yellow", "missing": "red"}


@setup_app.command(epilog="Example: reskd init my_sweep.yaml --data /where/my/videos/are")
def init(
    file: Annotated[Path, typer.Argument(help="The sweep file to write.")] = Path("your_videos.yaml"),
    data: Annotated[Path | None, typer.Option("--data", help="Folder with train.csv and val.csv.")] = None,
) -> None:
    """Write a commented sweep file for your own videos; never over a file that is there."""
    from orchestrator.spec.template import write_starter

    write_starter(file, data=data)
    named = shlex.quote(str(file))
    console.print(f"wrote {file}; next:  reskd data check {named}, then reskd plan {named}", markup=False)


@setup_app.command(epilog="Example: reskd recipes tsn_activitynet")
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one.")] = None,
) -> None:
    """The named recipes that a sweep's base, or a row, can start from: base: {recipe: tsn_activitynet}."""
    from orchestrator.spec.named_recipes import find, named_recipes

    if name is not None:
        print(find(name).text, end="")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("recipe", "what it is"):
        table.add_column(heading)
    for key, recipe in named_recipes().items():
        table.add_row(key, Text(recipe.about))
    console.print(table)


@setup_app.command(epilog="Example: reskd schema sweeps/sweep.schema.json")
def schema(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("sweep.schema.json"),
) -> None:
    """Write the JSON schema of sweep files, and say the line that makes an editor complete and check them."""
    from orchestrator.spec.json_schema import sweep_schema
    from reskd.files import write_atomic

    try:
        write_atomic(file, json.dumps(sweep_schema(), indent=1) + "\n")
    except OSError as error:
        raise BadInput(f"{file}: cannot be written ({error.strerror}); name another file") from error
    console.print(f"wrote {file}; first line of a sweep file, for editors with a YAML language server:", markup=False)
    # Alone on its line and never wrapped, so that it can be copied.
    print(f"# yaml-language-server: $schema={file.absolute()}")


@setup_app.command(epilog="Example: reskd doctor --store /shared/reskd")
def doctor(store: StoreFolder = None, as_json: AsJson = False) -> None:
    """Try Python, torch, CUDA, decoders, Ray, MLflow and the disk, and say what to do.

    Exit code 1: something needed is missing.
    """
    from orchestrator.cli.doctor import examine, is_fit
    from orchestrator.store.open import store_folder

    findings = examine(store_folder(store))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            line = Text.assemble(
                (f"{finding.verdict:8}", VERDICTS[finding.verdict]), f"{finding.what:{width}} {finding.found}"
            )
            console.print(line, soft_wrap=True)
            if finding.do:
                console.print(f"{'':{8 + width}} {finding.do}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if is_fit(findings) else 1)
