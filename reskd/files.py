"""Atomic file writes: after a crash, a reader sees the old content or the new one, never a part. Needs no torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from reskd.errors import BadInput

Json = dict[str, Any]


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file beside the target, then rename it. After an error, such as a full disk, no extra file remains."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    write_atomic(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """The value as JSON text in the form that all our files use."""
    return json.dumps(value, indent=1, sort_keys=True).encode()


def read_json(path: Path) -> Json | None:
    """The JSON object in a file; None if there is no file. Raises BadInput if the file is not JSON."""
    try:
        with open(path, "rb") as file:  # of thousands, Path.read_text takes half as long again
            content = file.read()
    except FileNotFoundError:
        return None
    return parse_json(content, where=str(path))


def parse_json(content: bytes, *, where: str) -> Json:
    """The object in a JSON text. Raises BadInput for anything else; ``where`` names its source in the message."""
    try:
        value: Json = json.loads(content)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: not valid JSON ({error}); remove the file or restore it") from error
    return value


def json_files(folder: Path) -> list[Path]:
    """A folder's JSON files, sorted by name; empty if there is no folder. Path.glob would be several times slower."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(".json")]
