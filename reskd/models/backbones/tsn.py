"""TSN on torchvision's networks, as in the paper's ActivityNet, FCVID and Mini-Kinetics tables."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn
from torchvision.models import mobilenet_v2, resnet18, resnet34, resnet50, resnet101, resnet152

from reskd.models.video_model import VideoModel

RESNETS = {18: resnet18, 34: resnet34, 50: resnet50, 101: resnet101, 152: resnet152}


class Backbone(NamedTuple):
    """A network without pooling and classifier, with torchvision's tensor names."""

    module: nn.Sequential
    """(N, 3, r, r) -> (N, num_features, h, w)."""
    num_features: int


def resnet_backbone(depth: int) -> Backbone:
    """A randomly initialised ResNet of ``depth`` layers; its last map has stride 32."""
    resnet = RESNETS[depth](weights=None)
    return Backbone(resnet_stages(resnet), resnet.fc.in_features)


def resnet_stages(resnet: nn.Module) -> nn.Sequential:
    """A ResNet of torchvision without its pooling and classifier; its children run one after another."""
    stages = nn.Sequential()
    for name, stage in resnet.named_children():
        if name not in ("avgpool", "fc"):
            stages.add_module(name, stage)
    return stages


def set_stride(model: VideoModel, stride: int) -> bool:
    """Reduce the stride of a new ResNet's last map from 32 to 16 pixels, by a max pooling with stride 1.

    The tensors do not change, so the same weights fit. Returns False, and changes nothing, if the network has no such
    pooling or another stride is asked for.
    """
    pooling = getattr(model.backbone, "maxpool", None)
    if not isinstance(pooling, nn.MaxPool2d) or stride != 16:
        return False
    pooling.stride = 1
    return True


def mobilenet_v2_backbone() -> Backbone:
    """A randomly initialised MobileNetV2; its last map has stride 32 and 1280 channels."""
    mobilenet = mobilenet_v2(weights=None)
    backbone = nn.Sequential()
    backbone.add_module("features", mobilenet.features)  # under torchvision's own name, so that its files fit
    return Backbone(backbone, mobilenet.last_channel)


def tsn_resnet(*, depth: int, num_classes: int, dropout: float) -> VideoModel:
    """A ResNet under a TSN head."""
    backbone, num_features = resnet_backbone(depth)
    return VideoModel(backbone, num_features=num_features, num_classes=num_classes, dropout=dropout)


def tsn_mobilenet_v2(*, num_classes: int, dropout: float) -> VideoModel:
    """A MobileNetV2 under a TSN head."""
    backbone, num_features = mobilenet_v2_backbone()
    return VideoModel(backbone, num_features=num_features, num_classes=num_classes, dropout=dropout)
