"""torchvision's MViTv2-S (Li et al., CVPR 2022), at any frame size and number of frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.video import mvit_v2_s
from torchvision.models.video.mvit import MViT

from reskd.models.video_model import VideoModel3d

PATCH_FRAMES = 2


class MViTFeatures(nn.Module):
    """An MViTv2 of torchvision's without its head, under its own names: (B, 3, T, r, r) -> (B, C, T', h, w).

    torchvision's forward takes clips of one size alone and answers with the class token. Version 2 knows no absolute
    positions and resamples its tables of relative ones to any map, so here the size of the clip is the clip's own,
    and the answer is the cells of the last map.
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
    """A randomly initialised MViTv2-S; its last map has stride 32 in space and one cell for two frames.

    The classifier sees the mean of the cells, where torchvision's sees the class token.
    """
    return mvit_model(mvit_v2_s(weights=None), num_classes=num_classes, dropout=dropout)


def mvit_model(mvit: MViT, *, num_classes: int, dropout: float) -> VideoModel3d:
    """An MViTv2 of torchvision's without its head as a VideoModel."""
    return VideoModel3d(
        MViTFeatures(mvit),
        num_features=mvit.norm.normalized_shape[0],
        num_classes=num_classes,
        dropout=dropout,
        time_stride=PATCH_FRAMES,
    )
