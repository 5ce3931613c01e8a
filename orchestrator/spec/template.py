"""The commented sweep file that `reskd init` writes; it is a copy of sweeps/your_videos.yaml."""

from __future__ import annotations

import json
from pathlib import Path

from reskd.errors import BadInput
from reskd.files import write_atomic

TEMPLATE = Path(__file__).parent / "your_videos.yaml"
"""In a checkout a link to the sweep, in an installed package a copy."""
LISTS = ("train.csv", "val.csv")


def write_starter(path: Path, *, data: Path | None) -> None:
    """Write the sweep file for the videos in folder ``data``, if given. Raises BadInput if the file exists."""
    text = starter_text(path, data=data)
    if path.exists():
        raise BadInput(f"{path}: exists already and is not changed; name another file")
    write_atomic(path, text)


def starter_text(path: Path, *, data: Path | None) -> str:
    """The template with the file's own path in its comments.

    Raises BadInput for a folder without train.csv and val.csv.
    """
    text = TEMPLATE.read_text(encoding="utf-8").replace("sweeps/your_videos.yaml", str(path))
    if data is None:
        return text
    missing = [name for name in LISTS if not (data / name).is_file()]
    if missing:
        raise BadInput(f"--data {data}: has no {' and no '.join(missing)}; write lines path,label into each")
    folder = data.absolute()
    changes = {
        "name: your_videos": f"name: {json.dumps(folder.name)}",
        "root: null              # null: the folder $RESKD_DATA/your_videos": f"root: {json.dumps(str(folder))}",
        "with RESKD_DATA=<the folder's parent>, or data.root below": "",
    }
    for before, after in changes.items():
        assert text.count(before) == 1, f"{TEMPLATE} has not one {before!r}"
        text = text.replace(before, after)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
