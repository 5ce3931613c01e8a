"""SlowOnly: a ResNet inflated to 3-D. It keeps every frame to the end; its last two stages look at several frames.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019: the slow pathway alone, as in mmaction2's
configuration, on which the paper's Table 3 is based.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from reskd.models.backbones.inflate import inflate
from reskd.models.backbones.tsn import RESNETS, resnet_stages
from reskd.models.video_model import VideoModel3d

OVER_TIME = {
    18: ("conv1", "conv2"),  # both 3x3 of a basic block become 3x3x3
    50: ("conv1",),  # the first 1x1 of a bottleneck becomes 3x1x1
}
"""Depth -> the convolutions in a block of the last two stages that look at three frames."""


def slowonly_resnet(*, depth: int, num_classes: int, dropout: float) -> VideoModel3d:
    """A randomly initialised SlowOnly. Its last map has stride 32 in space and one cell for every frame.

    The backbone keeps the tensor names of torchvision's 2-D ResNet, so that its files fit after inflation.
    """
    resnet = RESNETS[depth](weights=None)
    return slowonly_model(
        resnet_stages(resnet),
        over_time=OVER_TIME[depth],
        num_features=resnet.fc.in_features,
        num_classes=num_classes,
        dropout=dropout,
    )


def slowonly_model(
    backbone: nn.Module, *, over_time: Collection[str], num_features: int, num_classes: int, dropout: float
) -> VideoModel3d:
    """Inflate the stages of a 2-D ResNet. ``over_time`` names the convolutions of a block that look at three frames."""
    names = [name for name, _ in backbone.named_modules()]
    inflate(backbone, over_time=[name for name in names if _looks_over_time(name, over_time)])
    return VideoModel3d(backbone, num_features=num_features, num_classes=num_classes, dropout=dropout, time_stride=1)


def _looks_over_time(name: str, convs: Collection[str]) -> bool:
    stage, _, rest = name.partition(".")  # layer4.0.conv1
    return stage in ("layer3", "layer4") and rest.partition(".")[2] in convs
