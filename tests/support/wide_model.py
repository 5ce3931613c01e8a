"""A small network whose maps have more channels than those of the teacher of these tests."""

from __future__ import annotations

from torch import nn

from reskd.models.backbones.mini import mini_backbone
from reskd.models.catalogue import MODELS, Network
from reskd.models.video_model import VideoModel

NUM_CHANNELS = 160


def _wide(*, num_classes: int, dropout: float) -> VideoModel:
    backbone, num_features = mini_backbone(1)
    head = nn.Sequential(nn.Conv2d(num_features, NUM_CHANNELS, 1, bias=False), nn.BatchNorm2d(NUM_CHANNELS), nn.ReLU6())
    return VideoModel(
        nn.Sequential(backbone, head), num_features=NUM_CHANNELS, num_classes=num_classes, dropout=dropout
    )


def install() -> None:
    MODELS["tsn_wide"] = Network(_wide)
