"""torchvision's 3-D ResNet-18 (Tran et al., CVPR 2018), with its Kinetics-400 weights."""

from __future__ import annotations

from torchvision.models.video import r3d_18

from reskd.models.backbones.tsn import resnet_stages
from reskd.models.video_model import VideoModel3d


def video_resnet(*, num_classes: int, dropout: float) -> VideoModel3d:
    """A randomly initialised R3D-18; its last map has stride 16 in space and one cell for eight frames."""
    resnet = r3d_18(weights=None)
    return VideoModel3d(
        resnet_stages(resnet),
        num_features=resnet.fc.in_features,
        num_classes=num_classes,
        dropout=dropout,
        time_stride=8,
    )
