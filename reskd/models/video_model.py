"""A classifier of clips that looks at each frame alone and averages: the shape of every TSN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn


class ClipOutput(NamedTuple):
    """What one forward gives: B clips of T frames, K classes."""

    features: Tensor
    """(B * T, C, h, w): the last stage's map of each frame, after its ReLU."""
    frame_logits: Tensor
    """(B, T, K): each frame's own classes; space pooled, no dropout."""
    clip_logits: Tensor
    """(B, K): the clip's classes; space and time pooled, then dropout."""


class VideoModel(nn.Module):
    """A 2-D backbone on every frame, then pooling, dropout and one linear layer (the TSN head).

    ``backbone`` maps (N, 3, r, r) to (N, num_features, h, w). Tensors of the state dict are called
    ``backbone.*`` and ``classifier.*``.
    """

    def __init__(self, backbone: nn.Module, *, num_features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = num_classes
        self.backbone = backbone
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(num_features, num_classes)
        # Small on purpose, as TSN heads start: the first softmax is near uniform whatever the backbone's scale.
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, r, r) normalised frames -> (B * T, C, h, w)."""
        frames = clips.flatten(0, 1)
        features: Tensor = self.backbone(frames)
        return features

    def forward_head(self, features: Tensor, *, num_frames: int) -> tuple[Tensor, Tensor]:
        """(B * T, C, h, w) -> frame logits (B, T, K) and clip logits (B, K)."""
        frame_features = self.pool(features).flatten(1).unflatten(0, (-1, num_frames))  # (B, T, C)
        frame_logits = self.classifier(frame_features)
        clip_logits = self.classifier(self.dropout(frame_features.mean(dim=1)))
        return frame_logits, clip_logits

    def forward(self, clips: Tensor) -> ClipOutput:
        """(B, T, 3, r, r) -> everything that the task loss and any distillation level need."""
        features = self.forward_features(clips)
        frame_logits, clip_logits = self.forward_head(features, num_frames=clips.shape[1])
        return ClipOutput(features, frame_logits, clip_logits)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module has the mode it had, also where they differ."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes.items():
            module.training = was_training
