"""Bilinear resize of a map as one matrix product, whose gradient is added up in a fixed order on any device."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


def resized(values: Tensor, *, like: Tensor, align_corners: bool) -> Tensor:
    """(N, C, h, w) -> (N, C, H, W) by one fixed matrix from the h * w cells to the H * W cells.

    It equals F.interpolate up to rounding. But on a GPU, the gradient of F.interpolate is added up in changing order;
    that of a matrix product is not.
    """
    size, target = tuple(values.shape[-2:]), tuple(like.shape[-2:])
    if size == target:
        return values
    weights = _resize_matrix(size, target, align_corners, values.dtype, values.device)
    if values.is_contiguous():
        return (values.flatten(2) @ weights.T).unflatten(2, target)
    cells = values.permute(0, 2, 3, 1).flatten(1, 2)  # (N, h * w, C): how a channels-last map lies in memory
    return (weights @ cells).unflatten(1, target).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def _resize_matrix(
    size: tuple[int, int], target: tuple[int, int], align_corners: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(H * W, h * w): the weight of each cell of the map in each cell of the resized one."""
    rows, columns = (_resize_line(old, new, align_corners=align_corners) for old, new in zip(size, target, strict=True))
    return torch.kron(rows, columns).to(device, dtype)


def _resize_line(old: int, new: int, *, align_corners: bool) -> Tensor:
    """(new, old) float64: linear interpolation along one axis, as F.interpolate defines it."""
    places = torch.arange(new, dtype=torch.float64)
    if align_corners:
        places = places * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        places = ((places + 0.5) * (old / new) - 0.5).clamp(min=0.0)
    left = places.floor().long().clamp(max=old - 1)
    right = (left + 1).clamp(max=old - 1)
    share = (places - left).unsqueeze(1)
    return F.one_hot(left, old) * (1 - share) + F.one_hot(right, old) * share
