"""Classifiers of clips with one shape: a map at each cell of time, pooling, dropout and one linear layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ClipOutput(NamedTuple):
    """What one forward gives: B clips, K classes, T' cells of time, which are the T frames themselves in a 2-D net."""

    features: Tensor
    """(B * T', C, h, w): the last stage's map at each cell of time, after its ReLU or its norm."""
    frame_logits: Tensor
    """(B, T', K): the classes of each cell of time alone; space pooled, no dropout."""
    clip_logits: Tensor
    """(B, K): the clip's classes; space and time pooled, then dropout."""

    def to(self, dtype: torch.dtype) -> ClipOutput:
        """The same numbers in another type; autocast leaves them in a narrow one."""
        return ClipOutput(*(part.to(dtype) for part in self))


def new_classifier(num_features: int, num_classes: int) -> nn.Linear:
    """A linear layer as TSN heads start: small on purpose, so that the first softmax is near uniform."""
    classifier = nn.Linear(num_features, num_classes)
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)
    return classifier


class VideoModel(nn.Module):
    """A 2-D backbone on every frame, then pooling, dropout and one linear layer (the TSN head): T' = T.

    ``backbone`` maps (N, 3, r, r) to (N, num_features, h, w). Tensors of the state dict are called
    ``backbone.*`` and ``classifier.*``.
    """

    time_stride = 1
    """Frames that one cell of time stands for."""

    def __init__(self, backbone: nn.Module, *, num_features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = num_classes
        self.backbone = backbone
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = new_classifier(num_features, num_classes)

    def num_time_cells(self, num_frames: int) -> int:
        """T', the maps that a clip of ``num_frames`` frames leaves."""
        return -(-num_frames // self.time_stride)

    def forward_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, r, r) normalised frames -> (B * T', C, h, w)."""
        frames = clips.flatten(0, 1)
        features: Tensor = self.backbone(frames)
        return features

    def forward_head(self, features: Tensor, *, num_frames: int) -> tuple[Tensor, Tensor]:
        """(B * T', C, h, w) of clips of ``num_frames`` frames -> frame logits (B, T', K) and clip logits (B, K).

        Cells are of one size, so the mean over time of the mean over space is a 3-D head's pooling of both at once.
        """
        num_cells = self.num_time_cells(num_frames)
        frame_features = self.pool(features).flatten(1).unflatten(0, (-1, num_cells))  # (B, T', C)
        frame_logits = self.classifier(frame_features)
        clip_logits = self.classifier(self.dropout(frame_features.mean(dim=1)))
        return frame_logits, clip_logits

    def forward(self, clips: Tensor) -> ClipOutput:
        """(B, T, 3, r, r) -> everything that the task loss and any distillation level need."""
        features = self.forward_features(clips)
        frame_logits, clip_logits = self.forward_head(features, num_frames=clips.shape[1])
        return ClipOutput(features, frame_logits, clip_logits)

    def task_loss(self, output: ClipOutput, labels: Tensor) -> Tensor:
        """What is learned from labels (B,) alone, a scalar: the cross-entropy of the clip's logits."""
        return F.cross_entropy(output.clip_logits, labels)

    def frames_used(self, output: ClipOutput) -> Tensor | None:
        """(B,) frames that each clip's logits rest on, of a network that may stop early; None: all of them."""
        return None


class VideoModel3d(VideoModel):
    """A 3-D backbone on the whole clip under the same head.

    ``backbone`` maps (B, 3, T, r, r) to (B, num_features, T', h, w) with T' = T / ``time_stride``, rounded up.
    """

    def __init__(
        self, backbone: nn.Module, *, num_features: int, num_classes: int, dropout: float, time_stride: int
    ) -> None:
        super().__init__(backbone, num_features=num_features, num_classes=num_classes, dropout=dropout)
        self.time_stride = time_stride

    def forward_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, r, r) normalised frames -> (B * T', C, h, w)."""
        features: Tensor = self.backbone(clips.transpose(1, 2))
        return features.transpose(1, 2).flatten(0, 1)


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
