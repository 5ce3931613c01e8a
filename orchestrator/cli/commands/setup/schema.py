"""`reskd schema`: writes the JSON schema of sweep files, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import console


def schema(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("sweep.schema.json"),
) -> None:
    """Write the JSON schema of sweep files, and print the line with which an editor completes and checks sweep
    files."""
    from orchestrator.spec.json_schema import sweep_schema
    from reskd.files import write_atomic

    write_atomic(file, json.dumps(sweep_schema(), indent=1) + "\n")
    console.print(f"wrote {file}; first line of a sweep file, for editors with a YAML language server:", markup=False)
    # On its own line without wrapping, so that it can be copied.
    print(f"# yaml-language-server: $schema={file.absolute()}")
