"""Formulas that several tests write out: bilinear resize as a matrix, KL from its definition, the temporal shift."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def bilinear_matrix(num_in: int, num_out: int, *, align_corners: bool) -> Tensor:
    """(num_out, num_in) float64: a row holds the shares of the two cells that its own lies between.

    With align_corners first and last cells' centres coincide; without, the edges of the maps do, and a cell whose
    centre lies outside the outer centres takes the outer cell.
    """
    matrix = torch.zeros(num_out, num_in, dtype=torch.float64)
    for row in range(num_out):
        if align_corners:
            place = row * (num_in - 1) / (num_out - 1) if num_out > 1 else 0.0
        else:
            place = max(0.0, (row + 0.5) * num_in / num_out - 0.5)
        below = min(math.floor(place), num_in - 1)
        share = min(place - below, 1.0) if below < num_in - 1 else 0.0
        matrix[row, below] += 1 - share
        if share:
            matrix[row, below + 1] += share
    return matrix


def bilinear(maps: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """(..., h, w) -> (..., H, W), without antialias."""
    down = bilinear_matrix(maps.shape[-2], size[0], align_corners=align_corners)
    across = bilinear_matrix(maps.shape[-1], size[1], align_corners=align_corners)
    return down @ maps @ across.T


def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(..., K) logits -> (...): the sum of p log(p / q), p the teacher's softened distribution, q the student's."""
    q, p = (torch.exp(x / temperature) / torch.exp(x / temperature).sum(-1, keepdim=True) for x in (student, teacher))
    return (p * torch.log(p / q)).sum(-1)


def shifted_by_hand(frames: Tensor, *, num_frames: int) -> Tensor:
    """Frame by frame and channel by channel: the first eighth from the next frame, the second from the last."""
    result = frames.clone()
    eighth = frames.shape[1] // 8
    for position in range(len(frames)):
        frame = position % num_frames
        for channel in range(2 * eighth):
            other = frame + 1 if channel < eighth else frame - 1
            inside = 0 <= other < num_frames
            result[position, channel] = frames[position + other - frame, channel] if inside else 0.0
    return result
