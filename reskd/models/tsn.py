"""TSN on torchvision's networks: those of the paper's ActivityNet, FCVID and Mini-Kinetics tables."""

from __future__ import annotations

from torch import nn
from torchvision.models import mobilenet_v2, resnet18, resnet34, resnet50, resnet101, resnet152

from reskd.models.video_model import VideoModel

RESNETS = {18: resnet18, 34: resnet34, 50: resnet50, 101: resnet101, 152: resnet152}


def tsn_resnet(*, depth: int, num_classes: int, dropout: float) -> VideoModel:
    """A randomly initialised ResNet of ``depth`` layers under a TSN head; its last map has stride 32.

    The backbone keeps torchvision's own tensor names, so that torchvision's files fit it.
    """
    resnet = RESNETS[depth](weights=None)
    backbone = resnet_stages(resnet)
    return VideoModel(backbone, num_features=resnet.fc.in_features, num_classes=num_classes, dropout=dropout)


def resnet_stages(resnet: nn.Module) -> nn.Sequential:
    """All of a ResNet of torchvision's but its pooling and its classifier; its children run one after another."""
    stages = nn.Sequential()
    for name, stage in resnet.named_children():
        if name not in ("avgpool", "fc"):
            stages.add_module(name, stage)
    return stages


def tsn_mobilenet_v2(*, num_classes: int, dropout: float) -> VideoModel:
    """A randomly initialised MobileNetV2 under a TSN head; its last map has stride 32 and 1280 channels."""
    mobilenet = mobilenet_v2(weights=None)
    backbone = nn.Sequential()
    backbone.add_module("features", mobilenet.features)  # under torchvision's own name, so that its files fit
    return VideoModel(backbone, num_features=mobilenet.last_channel, num_classes=num_classes, dropout=dropout)
