"""Small networks for small frames, which a laptop can train: those of the demo, and the smallest 3-D networks.

With a ResNet's stride of 32, a 64-pixel frame has 2x2 cells and a 24-pixel frame has one. A map of one cell has no
positions. These networks have stride 8: 8x8 cells at 64 pixels, 3x3 at 24.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.video.swin_transformer import SwinTransformer3d

from reskd.models.backbones.slowonly import slowonly_model
from reskd.models.backbones.swin3d import swin_block, swin_model
from reskd.models.backbones.tsn import Backbone
from reskd.models.video_model import VideoModel, VideoModel3d

STEM_WIDTH = 32
STAGES = {4: ((32, 2), (64, 2), (96, 1), (128, 1)), 2: ((64, 2), (128, 2))}
"""Number of stages -> (width, stride) of each stage. Both forms end with stride 8 and 128 channels."""


def tsn_mini(*, num_blocks: int, num_classes: int, dropout: float, num_stages: int = 4) -> VideoModel:
    """A small network with two or four stages of ``num_blocks`` basic blocks and a TSN head."""
    backbone, num_features = mini_backbone(num_blocks, num_stages)
    return VideoModel(backbone, num_features=num_features, num_classes=num_classes, dropout=dropout)


def slowonly_mini(*, num_blocks: int, num_classes: int, dropout: float) -> VideoModel3d:
    """`tsn_mini` inflated to 3-D. Its last two stages look at several frames, and every frame keeps its map."""
    return slowonly_model(
        _resnet(num_blocks),
        over_time=("conv1", "conv2"),
        num_features=STAGES[4][-1][0],
        num_classes=num_classes,
        dropout=dropout,
    )


def swin3d_mini(*, num_classes: int, dropout: float) -> VideoModel3d:
    """A Video Swin with three stages of two blocks; stride 16 in space, 0.4 M parameters."""
    swin = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=24,
        depths=[2, 2, 2],
        num_heads=[1, 2, 4],
        window_size=[8, 7, 7],
        block=swin_block,
    )
    return swin_model(swin, num_classes=num_classes, dropout=dropout)


def mini_backbone(num_blocks: int, num_stages: int = 4) -> Backbone:
    """A 5x5 stem with stride 2 and stages of ``num_blocks`` basic blocks, randomly initialised."""
    backbone = _resnet(num_blocks, num_stages)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return Backbone(backbone, STAGES[num_stages][-1][0])


def _resnet(num_blocks: int, num_stages: int = 4) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(3, STEM_WIDTH, kernel_size=5, stride=2, padding=2, bias=False)
    layers["bn1"] = nn.BatchNorm2d(STEM_WIDTH)
    layers["relu"] = nn.ReLU(inplace=True)
    num_inputs = STEM_WIDTH
    for number, (width, stride) in enumerate(STAGES[num_stages], start=1):
        layers[f"layer{number}"] = _stage(num_inputs, width, stride=stride, num_blocks=num_blocks)
        num_inputs = width
    return nn.Sequential(layers)


def _stage(num_inputs: int, width: int, *, stride: int, num_blocks: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or num_inputs != width:
        projection = nn.Conv2d(num_inputs, width, kernel_size=1, stride=stride, bias=False)
        shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))
    first = BasicBlock(num_inputs, width, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(num_blocks - 1)))
