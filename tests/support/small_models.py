"""Networks that are smaller than those of the catalogue, or wider than the teacher of the tests' trainings."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock

from reskd.models.backbones.mini import mini_backbone
from reskd.models.catalogue import MODELS, Network
from reskd.models.video_model import VideoModel

NUM_CHANNELS = {"tsn_wide": 160, "tsn_tiny": 16}


def _wide(*, num_classes: int, dropout: float) -> VideoModel:
    """`tsn_mini10` and a layer that widens its maps."""
    backbone, num_features = mini_backbone(1)
    num_channels = NUM_CHANNELS["tsn_wide"]
    head = nn.Sequential(nn.Conv2d(num_features, num_channels, 1, bias=False), nn.BatchNorm2d(num_channels), nn.ReLU6())
    return _model(nn.Sequential(backbone, head), num_channels, num_classes=num_classes, dropout=dropout)


def _tiny(*, num_classes: int, dropout: float) -> VideoModel:
    """A layer with stride 8, and one around which its input passes, as in the large networks."""
    num_channels = NUM_CHANNELS["tsn_tiny"]
    layer = nn.Conv2d(3, num_channels, kernel_size=8, stride=8, bias=False)
    backbone = nn.Sequential(layer, nn.BatchNorm2d(num_channels), nn.ReLU(), BasicBlock(num_channels, num_channels))
    return _model(backbone, num_channels, num_classes=num_classes, dropout=dropout)


def _model(backbone: nn.Module, num_features: int, *, num_classes: int, dropout: float) -> VideoModel:
    return VideoModel(backbone, num_features=num_features, num_classes=num_classes, dropout=dropout)


def install() -> None:
    MODELS.update(tsn_wide=Network(_wide), tsn_tiny=Network(_tiny))
