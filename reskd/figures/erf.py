"""The effective receptive field: the pixels that influence one cell of the last feature map.

Luo, Li, Urtasun and Zemel, "Understanding the effective receptive field in deep convolutional neural networks",
NeurIPS 2016. It is the gradient of the cell with respect to the pixels: its absolute value, averaged over clips and
frames.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from reskd.errors import BadInput
from reskd.models.video_model import VideoModel, evaluating

PLACE = (0.625, 0.625)
"""Position of the cell, as shares of height and width. In a 4 x 4 map it is the third cell of four, since such a map
has no cell in the middle. Shares give the same position in maps of any size."""
EDGE = 1 - 0.9545
"""Share of the largest value above which a pixel counts as inside the field (Luo et al., section 4.1)."""


def effective_receptive_field(model: VideoModel, clips: Iterable[Tensor], *, cell: tuple[int, int]) -> Tensor:
    """Influence of each pixel on the cell (row, column): batches of normalised clips (B, T, 3, r, r) -> float64 (r, r).

    The cell's channels are summed over all maps of the clip. The absolute gradient is summed over colours and averaged
    over clips and frames. In a 2-D network this is the field of each frame's own map; in a 3-D network it is the field
    of the cell at all times together. The model runs in eval mode and then returns to its former mode. Raises BadInput
    without clips or for a cell outside the map.
    """
    total: Tensor | None = None
    num_frames = 0
    with evaluating(model), torch.enable_grad():
        for batch in clips:
            pixels = batch.detach().clone().requires_grad_()
            maps = model.forward_features(pixels)  # (B * T', C, h, w)
            _check_cell(cell, maps)
            (gradient,) = torch.autograd.grad(maps[:, :, cell[0], cell[1]].sum(), pixels)
            field = gradient.double().abs().sum(dim=(0, 1, 2))  # (B, T, 3, r, r) -> (r, r)
            total = field if total is None else total + field
            num_frames += batch.shape[0] * batch.shape[1]
    if total is None:
        raise BadInput("an effective receptive field needs at least one clip")
    return total / num_frames


def cell_at(place: tuple[float, float], *, size: tuple[int, int]) -> tuple[int, int]:
    """The (row, column) of the cell at ``place`` (shares of height and width) in a map of ``size`` (rows, columns)."""
    if not all(0 <= share < 1 for share in place):
        raise BadInput(f"a place must be two shares, at least 0 and below 1, such as 0.625 0.625; got {place}")
    return int(place[0] * size[0]), int(place[1] * size[1])


def field_share(field: Tensor) -> float:
    """Share of pixels inside the field, that is, above 4.55 % of its largest value; 0 if all values are 0."""
    return float((field > EDGE * field.max()).double().mean())


def _check_cell(cell: tuple[int, int], maps: Tensor) -> None:
    height, width = maps.shape[-2:]
    if not (0 <= cell[0] < height and 0 <= cell[1] < width):
        raise BadInput(f"cell {cell} is not in the last map, which has {height} rows and {width} columns from 0")
