"""Clip classifiers with one common structure: maps over time, pooling, dropout and one linear layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reskd.normalisation import IMAGENET
from reskd.recipe import HEAD_STD


class ClipOutput(NamedTuple):
    """The output of a forward: B clips, K classes, T' maps in time. In a 2-D network, T' is the number of frames T."""

    features: Tensor
    """(B * T', C, h, w): the last stage's maps, after its ReLU or norm."""
    frame_logits: Tensor
    """(B, T', K): logits of each map alone; pooled over space, without dropout."""
    clip_logits: Tensor
    """(B, K): logits of the clip; pooled over space and time, then dropout."""

    def to(self, dtype: torch.dtype) -> ClipOutput:
        """The same values in another type, since autocast leaves them in a narrow one."""
        return ClipOutput(*(part.to(dtype) for part in self))


def new_classifier(num_features: int, num_classes: int) -> nn.Linear:
    """A linear layer with the small initial weights of TSN heads, so that the first softmax is nearly uniform."""
    classifier = nn.Linear(num_features, num_classes)
    nn.init.normal_(classifier.weight, std=HEAD_STD)
    nn.init.zeros_(classifier.bias)
    return classifier


class VideoModel(nn.Module):
    """A 2-D backbone on every frame, then pooling, dropout and one linear layer (the TSN head). T' = T.

    ``backbone`` maps (N, 3, r, r) to (N, num_features, h, w). The state dict has the keys ``backbone.*`` and
    ``classifier.*``.
    """

    time_stride = 1
    """Number of frames per map in time."""
    normalisation = IMAGENET
    """The normalisation of the frames that it gets."""

    def __init__(self, backbone: nn.Module, *, num_features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = num_classes
        self.backbone = backbone
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = new_classifier(num_features, num_classes)

    @property
    def classifiers(self) -> tuple[nn.Linear, ...]:
        """All linear layers that give logits of clips."""
        return (self.classifier,)

    def num_time_cells(self, num_frames: int) -> int:
        """T', the number of maps for a clip of ``num_frames`` frames."""
        return -(-num_frames // self.time_stride)

    def forward_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, r, r) normalised frames -> (B * T', C, h, w)."""
        frames = clips.flatten(0, 1)
        features: Tensor = self.backbone(frames)
        return features

    def forward_head(self, features: Tensor, *, num_frames: int) -> tuple[Tensor, Tensor]:
        """(B * T', C, h, w) of clips of ``num_frames`` frames -> frame logits (B, T', K) and clip logits (B, K).

        All cells have equal size. So the mean over time of means over space equals a 3-D head's pooling over both at
        once.
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
        """The scalar loss on the labels (B,): the cross-entropy of the clip's logits."""
        return F.cross_entropy(output.clip_logits, labels)

    def frames_used(self, output: ClipOutput) -> Tensor | None:
        """(B,) number of frames behind each clip's logits, for a network with early exit; None: all frames."""
        return None


class VideoModel3d(VideoModel):
    """A 3-D backbone on the whole clip, with the same head.

    ``backbone`` maps (B, 3, T, r, r) to (B, num_features, T', h, w), where T' = T / ``time_stride``, rounded up.
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


def set_head_std(model: VideoModel, std: float) -> None:
    """Scale the weights of new classifiers to another standard deviation. The random numbers stay the same."""
    for classifier in model.classifiers:
        classifier.weight.data.mul_(std / HEAD_STD)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context with the model in eval mode. Afterwards each module has its former mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes.items():
            module.training = was_training
