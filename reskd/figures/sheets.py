"""Draws sheets as PNG: frames with an overlay of what each network looks at. Equal inputs give equal bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reskd.figures.erf import field_share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = "viridis"
"""Perceptually uniform, also with colour blindness and in grey."""
OPACITY = 0.75
"""Opacity of an overlay at its largest value. It falls with the value, so that the frame stays visible."""
MAX_COLUMNS = 8
"""How many frames of a clip a sheet shows at most."""
PANEL = 1.7
"""Side of a frame, in inches."""
WORDS_WIDTH = 2.6
"""Width of the text in front of a row, in inches."""
FONT_SIZE = 9.0
HEAD = 0.62
"""Height of the two lines above a sheet, in inches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One network's Grad-CAM maps of one clip."""

    words: str
    """Name of the network and its prediction, to be shown."""
    maps: Tensor
    """(T', h, w), at least 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One network's effective receptive field."""

    words: str
    field: Tensor
    """(r, r), at least 0."""
    cell: tuple[int, int]
    size: tuple[int, int]
    """(rows, columns) of the last map."""


def cam_sheet(frames: Tensor, rows: Sequence[Seen], *, title: str, note: str) -> bytes:
    """PNG with the frames, uint8 (T, 3, S, S), in one row and each network's overlay in a row below."""
    return _png(draw_cams(frames, rows, title=title, note=note))


def field_sheet(frame: Tensor, fields: Sequence[Field], *, title: str, note: str) -> bytes:
    """PNG with an example frame, uint8 (3, S, S), that marks the cells, and each network's field beside it."""
    return _png(draw_fields(frame, fields, title=title, note=note))


def draw_cams(frames: Tensor, rows: Sequence[Seen], *, title: str, note: str) -> Figure:
    chosen = _spread(len(frames), most=MAX_COLUMNS)
    # A clip with few frames still needs the width of its title.
    panel = max(PANEL, 6.8 / len(chosen))
    figure, axes = _grid(1 + len(rows), len(chosen), panel=panel, title=title, note=note)
    size = frames.shape[-1]
    for column, number in enumerate(chosen):
        axes[0][column].set_title(f"frame {number + 1}", fontsize=FONT_SIZE)
        axes[0][column].imshow(_picture(frames[number]))
    _name_row(axes[0][0], "frames, as the networks get them before they resize them")
    for line, seen in zip(axes[1:], rows, strict=True):
        _name_row(line[0], seen.words)
        # One scale for the whole clip, so that a frame with little evidence looks weak.
        largest = max(float(seen.maps.max()), 1e-30)
        for place, number in zip(line, chosen, strict=True):
            place.imshow(_picture(frames[number]))
            shown = _enlarged(seen.maps[number * len(seen.maps) // len(frames)] / largest, size=size)
            place.imshow(shown, cmap=COLOURS, vmin=0, vmax=1, alpha=OPACITY * shown)
    return figure


def draw_fields(frame: Tensor, fields: Sequence[Field], *, title: str, note: str) -> Figure:
    figure, axes = _grid(1, 1 + len(fields), panel=2.9, title=title, note=note, words=0.15, below=0.85, bar=0.95)
    size = frame.shape[-1]
    axes[0][0].imshow(_picture(frame))
    axes[0][0].set_title("a frame, and the cell's share of it", fontsize=FONT_SIZE)
    for field in fields:
        _mark_cell(axes[0][0], field, side=size)
    for place, field in zip(axes[0][1:], fields, strict=True):
        side = field.field.shape[-1]
        image = place.imshow(_share(field.field).numpy(), cmap=COLOURS, vmin=0, vmax=1, interpolation="nearest")
        _mark_cell(place, field, side=side)
        share = f"{100 * field_share(field.field):.0f} % of {side} x {side} pixels above 4.55 % of the largest"
        place.set_title(_wrapped(share, width=38), fontsize=FONT_SIZE)
    for place, words in zip(axes[0], ["", *(field.words for field in fields)], strict=True):
        place.set_xlabel(_wrapped(words, width=38), fontsize=FONT_SIZE)
    last = axes[0][-1].get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((last.x1 + 0.012, last.y0, 0.012, last.height)))
    bar.set_label("size of the gradient,\nshare of the largest", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE - 1)
    return figure


def _grid(
    num_rows: int,
    num_columns: int,
    *,
    panel: float,
    title: str,
    note: str,
    words: float = WORDS_WIDTH,
    below: float = 0.15,
    bar: float = 0.1,
) -> tuple[Figure, Any]:
    """A figure with a grid of square axes. Lengths are in inches, so the result does not depend on a layout engine."""
    from matplotlib.figure import Figure

    width = words + num_columns * panel + bar
    lines = _wrapped(note, width=int(width * 15.5))
    head = HEAD + 0.15 * lines.count("\n") + 0.25
    height = head + num_rows * panel + below
    figure = Figure(figsize=(width, height), dpi=120)
    figure.text(0.1 / width, 1 - 0.1 / height, title, va="top", fontsize=FONT_SIZE + 2, weight="bold")
    figure.text(0.1 / width, 1 - 0.36 / height, lines, va="top", fontsize=FONT_SIZE, color="#444444")
    gap = 0.05
    places = [
        [
            figure.add_axes(
                (
                    (words + column * panel + gap) / width,
                    (below + (num_rows - 1 - row) * panel + gap) / height,
                    (panel - 2 * gap) / width,
                    (panel - 2 * gap) / height,
                )
            )
            for column in range(num_columns)
        ]
        for row in range(num_rows)
    ]
    for axes in (one for row in places for one in row):
        axes.set_xticks([])
        axes.set_yticks([])
    return figure, places


def _name_row(axes: Any, words: str) -> None:
    axes.annotate(
        _wrapped(words, width=36), (0, 0.5), xytext=(-8, 0), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="center", fontsize=FONT_SIZE,
    )  # fmt: skip


def _mark_cell(axes: Any, field: Field, *, side: int) -> None:
    """Draw the cell's rectangle into a picture of ``side`` pixels."""
    from matplotlib.patches import Rectangle

    (row, column), (rows, columns) = field.cell, field.size
    height, width = side / rows, side / columns
    corner = column * width - 0.5, row * height - 0.5
    for colour, line in (("black", 2.6), ("white", 1.2)):  # seen on any picture
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=line))


def _spread(num_total: int, *, most: int) -> list[int]:
    """The numbers of at most ``most`` frames: the middles of equal parts."""
    num = min(num_total, most)
    return [(2 * index + 1) * num_total // (2 * num) for index in range(num)]


def _enlarged(values: Tensor, *, size: int) -> np.ndarray:
    """(h, w) -> (size, size) by bilinear interpolation between cell centres, clipped to 0..1."""
    whole = F.interpolate(values[None, None].float(), size=(size, size), mode="bilinear", align_corners=False)
    return np.asarray(whole[0, 0].clamp(0, 1).numpy())


def _share(values: Tensor) -> Tensor:
    """Values divided by the largest; zeros if all are zero."""
    return values / values.max().clamp_min(torch.finfo(values.dtype).tiny)


def _picture(frame: Tensor) -> np.ndarray:
    return np.asarray(frame.permute(1, 2, 0).numpy())


def _wrapped(words: str, *, width: int) -> str:
    return "\n".join(line for part in words.split("\n") for line in textwrap.wrap(part, width) or [""])


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
