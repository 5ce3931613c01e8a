"""Small nets for small frames: what the demo trains on a laptop.

A ResNet's stride of 32 leaves a 64-pixel frame 2x2 cells and a 24-pixel frame one, and a map of one cell
cannot say where something is. These have stride 8: 8x8 cells at 64 pixels, 3x3 at 24.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models.resnet import BasicBlock

from reskd.models.tsn import Backbone
from reskd.models.video_model import VideoModel

WIDTHS = (32, 64, 96, 128)
STRIDES = (2, 2, 1, 1)


def tsn_mini(*, num_blocks: int, num_classes: int, dropout: float) -> VideoModel:
    """A small net of four stages of ``num_blocks`` basic blocks under a TSN head."""
    backbone, num_features = mini_backbone(num_blocks)
    return VideoModel(backbone, num_features=num_features, num_classes=num_classes, dropout=dropout)


def mini_backbone(num_blocks: int) -> Backbone:
    """A 5x5 stem of stride 2 and four stages of ``num_blocks`` basic blocks, randomly initialised."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(3, WIDTHS[0], kernel_size=5, stride=2, padding=2, bias=False)
    layers["bn1"] = nn.BatchNorm2d(WIDTHS[0])
    layers["relu"] = nn.ReLU(inplace=True)
    num_inputs = WIDTHS[0]
    for number, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True), start=1):
        layers[f"layer{number}"] = _stage(num_inputs, width, stride=stride, num_blocks=num_blocks)
        num_inputs = width
    backbone = nn.Sequential(layers)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return Backbone(backbone, num_inputs)


def _stage(num_inputs: int, width: int, *, stride: int, num_blocks: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or num_inputs != width:
        projection = nn.Conv2d(num_inputs, width, kernel_size=1, stride=stride, bias=False)
        shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))
    first = BasicBlock(num_inputs, width, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(num_blocks - 1)))
