"""torchvision's MViTv2-S (Li et al., CVPR 2022), at any frame size and number of frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.video import mvit_v2_s
from torchvision.models.video.mvit import MViT

from reskd.models.video_model import VideoModel3d

PATCH_FRAMES = 2


class MViTFeatures(nn.Module):
    """torchvision's MViTv2 without its head, with its tensor names: (B, 3, T, r, r) -> (B, C, T', h, w).

    torchvision's forward accepts clips of one size only and returns the class token. Version 2 has no absolute
    positions, and resamples its tables of relative positions to any map. So here clips may have any size, and the cells
    of the last map are returned.
    """

    def __init__(self, mvit: MViT) -> None:
        super().__init__()
        self.conv_proj = mvit.conv_proj
        self.pos_encoding = mvit.pos_encoding
        self.blocks = mvit.blocks
        self.norm = mvit.norm

    def forward(self, clips: Tensor) -> Tensor:
        patches = self.conv_proj(clips)
        size = tuple(patches.shape[2:])
        tokens = self.pos_encoding(patches.flatten(2).transpose(1, 2))  # puts the class token first
        for block in self.blocks:
            tokens, size = block(tokens, size)
        cells: Tensor = self.norm(tokens)[:, 1:]
        return cells.transpose(1, 2).unflatten(2, torch.Size(size))


def video_mvit(*, num_classes: int, dropout: float) -> VideoModel3d:
    """A randomly initialised MViTv2-S. Its last map has stride 32 in space and one cell for two frames.

    The classifier gets the mean of the cells; in torchvision it gets the class token.
    """
    return mvit_model(mvit_v2_s(weights=None), num_classes=num_classes, dropout=dropout)


def mvit_model(mvit: MViT, *, num_classes: int, dropout: float) -> VideoModel3d:
    """torchvision's MViTv2 without its head, as a VideoModel."""
    return VideoModel3d(
        MViTFeatures(mvit),
        num_features=mvit.norm.normalized_shape[0],
        num_classes=num_classes,
        dropout=dropout,
        time_stride=PATCH_FRAMES,
    )
