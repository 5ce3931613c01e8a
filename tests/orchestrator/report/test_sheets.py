"""Pictures of `reskd figures` inside a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.report import sheets
from orchestrator.report.sheets import read_sheets

OURS = "3f2a0c11aaaabbbb"


def save(folder: Path, name: str, *, width: int = 40, grey: int = 200) -> None:
    (folder / "figures").mkdir(exist_ok=True)
    Image.fromarray(np.full((10, width, 3), grey, dtype=np.uint8)).save(folder / "figures" / name)


def test_sheets_with_a_step_of_the_sweep_are_in_the_page_and_others_are_not(tmp_path: Path):
    save(tmp_path, f"gradcam_77777777_{OURS[:8]}_1.png", width=3000)
    save(tmp_path, f"erf_{OURS[:8]}.png")
    save(tmp_path, "gradcam_00000000_1.png")
    save(tmp_path, "accuracy_vs_gmacs.png")
    found, num_more = read_sheets(tmp_path, [OURS])
    assert ([sheet.title for sheet in found], num_more) == (["Effective receptive field", "Grad-CAM"], 0)
    start, _, content = found[1].uri.partition(",")
    assert start == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.size[0] == sheets.MAX_WIDTH
        assert picture.getpixel((5, 1)) == pytest.approx((200, 200, 200), abs=2)


def test_what_would_make_the_page_too_large_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, f"erf_{OURS[:8]}.png")
    save(tmp_path, f"gradcam_{OURS[:8]}_1.png")
    one = len(base64.b64decode(read_sheets(tmp_path, [OURS])[0][0].uri.partition(",")[2]))
    monkeypatch.setattr(sheets, "MAX_BYTES", 2 * one - 1)
    found, num_more = read_sheets(tmp_path, [OURS])
    assert ([sheet.file for sheet in found], num_more) == ([f"erf_{OURS[:8]}.png"], 1)


def test_a_sheet_that_is_drawn_again_is_read_again(tmp_path: Path):
    uris = set()
    for grey in (10, 240):
        save(tmp_path, f"erf_{OURS[:8]}.png", grey=grey)
        uris.add(read_sheets(tmp_path, [OURS])[0][0].uri)
    assert len(uris) == 2
