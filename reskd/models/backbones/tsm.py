"""TSM (Lin et al. 2019): a TSN in which frames exchange some channels with their neighbours inside residual blocks.

The shift is where the official configurations have it (mmaction2's ``blockres``): before the first convolution of a
block; the shortcut is not shifted. It needs no multiplication and has no tensor. So a TSM has the same tensors as the
TSN of its backbone, with the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

from reskd.models.backbones.tsn import Backbone, mobilenet_v2_backbone, resnet_backbone
from reskd.models.video_model import VideoModel

SHIFT_DIV = 8
"""1 / SHIFT_DIV of the channels comes from the next frame, and as many from the previous one."""


def temporal_shift(frames: Tensor, *, num_frames: int, shift_div: int = SHIFT_DIV) -> Tensor:
    """Shift channels in time: (B * T, C, h, w) -> the same shape.

    The first C // shift_div channels come from the next frame, as many following ones from the previous frame. Frames
    outside of the clip are zeros.
    """
    clips = frames.unflatten(0, (-1, num_frames))  # (B, T, C, h, w)
    fold = frames.shape[1] // shift_div
    following, preceding, own = clips[:, :, :fold], clips[:, :, fold : 2 * fold], clips[:, :, 2 * fold :]
    none = torch.zeros_like(following[:, :1])
    following = torch.cat((following[:, 1:], none), dim=1)
    preceding = torch.cat((none, preceding[:, :-1]), dim=1)
    return torch.cat((following, preceding, own), dim=2).flatten(0, 1)


@dataclass
class ClipLength:
    """Number of frames per clip. All shifts of a model share one object, which each forward sets."""

    num_frames: int = 1


class ShiftedConv2d(nn.Conv2d):
    """A convolution that gets its frames after the shift. It has the tensors of the convolution that it replaces."""

    def __init__(self, conv: nn.Conv2d, *, clip: ClipLength) -> None:
        assert not isinstance(conv.padding, str)
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            (conv.kernel_size[0], conv.kernel_size[1]),
            stride=(conv.stride[0], conv.stride[1]),
            padding=(conv.padding[0], conv.padding[1]),
            dilation=(conv.dilation[0], conv.dilation[1]),
            groups=conv.groups,
            bias=conv.bias is not None,
            device="meta",  # no new weights are drawn; the replaced layer's are used
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.clip = clip

    def forward(self, frames: Tensor) -> Tensor:
        """(B * T, C, h, w) -> (B * T, D, h', w')."""
        return super().forward(temporal_shift(frames, num_frames=self.clip.num_frames))


class ShiftModel(VideoModel):
    """A TSN with shifted convolutions in its backbone. Each forward tells them the number of frames per clip."""

    def __init__(
        self, backbone: nn.Module, *, num_features: int, num_classes: int, dropout: float, clip: ClipLength
    ) -> None:
        super().__init__(backbone, num_features=num_features, num_classes=num_classes, dropout=dropout)
        self._clip = clip

    def forward_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, r, r) normalised frames -> (B * T, C, h, w)."""
        self._clip.num_frames = clips.shape[1]
        return super().forward_features(clips)


def tsm_resnet(*, depth: int, num_classes: int, dropout: float) -> VideoModel:
    """A ResNet of up to 50 layers with a shift in every residual block. (Deeper ones have it in every second block.)"""
    return _shifted(resnet_backbone(depth), num_classes=num_classes, dropout=dropout)


def tsm_mobilenet_v2(*, num_classes: int, dropout: float) -> VideoModel:
    """A MobileNetV2 with a shift in each inverted residual block that has a shortcut and an expansion."""
    return _shifted(mobilenet_v2_backbone(), num_classes=num_classes, dropout=dropout)


def _shifted(backbone: Backbone, *, num_classes: int, dropout: float) -> VideoModel:
    clip = ClipLength()
    for owner, name, conv in list(_first_convs(backbone.module)):
        setattr(owner, name, ShiftedConv2d(conv, clip=clip))
    return ShiftModel(
        backbone.module, num_features=backbone.num_features, num_classes=num_classes, dropout=dropout, clip=clip
    )


def _first_convs(backbone: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d]]:
    """The convolutions to be shifted, each with its parent module and its name there."""
    for block in backbone.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            yield block, "conv1", block.conv1
        elif isinstance(block, InvertedResidual) and block.use_res_connect:
            expansion = block.conv[0]  # without one, the block opens with its depthwise convolution
            if expansion[0].kernel_size == (1, 1):
                yield expansion, "0", expansion[0]
