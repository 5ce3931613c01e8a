"""timm's 2-D networks as TSN backbones, by name: ``timm:convnext_atto``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reskd.errors import BadInput
from reskd.models.backbones.timm_names import PREFIX, require
from reskd.models.video_model import VideoModel


class TimmModel(VideoModel):
    """A TSN on the last map of a timm network. Layers behind that map are not part of it."""

    def __init__(self, backbone: nn.Module, *, name: str, num_classes: int, dropout: float) -> None:
        channels = backbone.feature_info.channels()  # type: ignore[union-attr, operator]
        super().__init__(backbone, num_features=channels[-1], num_classes=num_classes, dropout=dropout)
        self.name = name
        self._channels_last = str(getattr(backbone, "output_fmt", "")).endswith("NHWC")  # Swin's

    def forward_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, r, r) normalised frames -> (B * T, C, h, w)."""
        try:
            features: Tensor = self.backbone(clips.flatten(0, 1))[-1]
        except AssertionError as error:  # timm's error for a frame size that the network cannot take
            raise BadInput(f"model.resolution does not suit {self.name!r}: {error}") from error
        return features.permute(0, 3, 1, 2) if self._channels_last else features


def tsn_timm(*, name: str, num_classes: int, dropout: float) -> VideoModel:
    """A randomly initialised timm network with a TSN head; ``name`` includes its prefix.

    Raises BadInput if timm is not installed, has no such network, or gives no maps of it.
    """
    timm = require(name)
    try:
        backbone = timm.create_model(name.removeprefix(PREFIX), pretrained=False, features_only=True, out_indices=(-1,))
    except Exception as error:  # timm has no type of its own for networks without maps
        reason = str(error).partition("\n")[0]
        raise BadInput(f"model.name: {name!r} cannot be a backbone, timm gives no maps of it ({reason})") from error
    return TimmModel(backbone, name=name, num_classes=num_classes, dropout=dropout)


def from_timm(state: Mapping[str, Any], *, name: str, own: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A state dict of a whole timm network under our names, and the names of its tensors behind the last map.

    Its classifier is not among the latter: it becomes ``classifier.*``. In timm's backbones, the first dot of some
    names is an underscore. A tensor that the whole network does not have keeps its name, so that it is reported as
    unexpected.
    """
    with torch.device("meta"):
        whole = require(name).create_model(name.removeprefix(PREFIX), pretrained=False)
    theirs, classifier = whole.state_dict(), f"{whole.pretrained_cfg.get('classifier', '')}."
    ours: dict[str, Any] = {}
    behind = []
    for key, value in state.items():
        names = (f"backbone.{key}", f"backbone.{key.replace('.', '_', 1)}")
        found = next((candidate for candidate in names if candidate in own), None)
        if found is None and key in theirs and key.startswith(classifier):
            ours[key.replace(classifier, "classifier.", 1)] = value
        elif found is None and key in theirs:
            behind.append(key)
        else:
            ours[found or names[0]] = value
    return ours, behind
