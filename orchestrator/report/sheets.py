"""The sheets of `reskd figures gradcam` and `reskd figures erf`, small enough to stand inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from orchestrator.report.contents import Sheet

TITLES = {"gradcam": "Grad-CAM", "erf": "Effective receptive field"}
ID_LENGTH = 8
"""Characters of a step's id in a file's name."""
MAX_WIDTH = 1400
JPEG_QUALITY = 82
MAX_BYTES = 500_000
"""Most bytes of all sheets in a page together, so that it can be sent by mail."""


def read_sheets(tables: Path, step_ids: Collection[str]) -> tuple[tuple[Sheet, ...], int]:
    """The sheets in the folders of ``tables`` that show one of these steps, and how many more would be too large."""
    ids = {step_id[:ID_LENGTH] for step_id in step_ids}
    found = {path for kind in TITLES for path in tables.glob(f"*/{kind}_*.png") if ids & {*path.stem.split("_")}}
    sheets, left = [], MAX_BYTES
    for path in sorted(found, key=lambda path: (path.name, path)):
        picture = _as_jpeg(path, path.stat().st_mtime_ns)
        if len(picture) <= left:
            left -= len(picture)
            uri = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
            sheets.append(Sheet(title=TITLES[path.stem.split("_")[0]], file=path.name, uri=uri))
    return tuple(sheets), len(found) - len(sheets)


@lru_cache(maxsize=64)
def _as_jpeg(path: Path, changed_ns: int) -> bytes:
    """The picture at most MAX_WIDTH pixels wide. ``changed_ns`` tells a new file from the one before."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.thumbnail((MAX_WIDTH, 20 * MAX_WIDTH))
        file = io.BytesIO()
        picture.convert("RGB").save(file, format="JPEG", quality=JPEG_QUALITY, optimize=True)
    return file.getvalue()
