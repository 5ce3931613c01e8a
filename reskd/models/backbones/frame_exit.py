"""Early exit after FrameExit (Ghodrati et al., CVPR 2021, arXiv 2104.13400): frames are processed until a gate opens.

Frames are visited from coarse to fine. After each frame, the features so far are combined by an element-wise maximum.
An exit's own classifier can classify them, and its gate decides whether this is good enough. Gates learn from labels
that the training makes: an exit is good enough if its loss is below a limit that rises with the number of frames.
docs/second_method.md says which parts are the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reskd.errors import BadInput
from reskd.models.backbones.mini import mini_backbone
from reskd.models.backbones.tsn import Backbone, resnet_backbone
from reskd.models.video_model import ClipOutput, VideoModel, new_classifier

GATE_WIDTH = 64


def visiting_order(num_frames: int) -> tuple[int, ...]:
    """The middle, first and last frame; then, repeatedly, the middles between visited frames."""
    order = list(dict.fromkeys((num_frames // 2, 0, num_frames - 1)))
    while len(order) < num_frames:
        visited = sorted(order)
        middles = [(left + right) // 2 for left, right in pairwise(visited)]
        order += [middle for middle in middles if middle not in visited]
    return tuple(order)


class Exits(NamedTuple):
    """The outputs of all exits: B clips, E exits (one per frame), K classes."""

    logits: Tensor
    """(B, E, K)."""
    gates: Tensor
    """(B, G) logits of the gates, one for each exit with a gate. A gate opens at 0 or above."""

    @property
    def taken(self) -> Tensor:
        """(B,) number, from 0, of the first exit whose gate opens; else the last exit, which has no gate."""
        num_exits = self.logits.shape[1]
        opened = self.gates[:, : num_exits - 1] >= 0
        always = torch.ones_like(self.logits[:, :1, 0], dtype=torch.bool)
        return torch.cat((opened, always), dim=1).int().argmax(dim=1)  # of equal ones the first


class Gate(nn.Module):
    """Decides whether to stop, from the features so far and the features before the newest frame."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        # One layer for both inputs, as in the official code. So the first gate, without earlier features, uses it too.
        self.reduce = nn.Sequential(
            nn.Linear(num_features, GATE_WIDTH), nn.ReLU(), nn.Linear(GATE_WIDTH, GATE_WIDTH), nn.ReLU()
        )
        self.decide = nn.Linear(2 * GATE_WIDTH, 1)

    def forward(self, now: Tensor, before: Tensor) -> Tensor:
        """(B, C) and (B, C) -> (B,) logits."""
        logits: Tensor = self.decide(torch.cat((self.reduce(now), self.reduce(before)), dim=1))
        return logits.squeeze(1)


class FrameExitModel(VideoModel):
    """A TSN backbone with an exit after each frame.

    ``classifier`` belongs to the last exit; distillation at frame or pixel level uses it. The others are
    ``early_classifiers``. In training, the clip's logits are those of the last exit; in evaluation, those of the exit
    taken.
    """

    def __init__(
        self, backbone: Backbone, *, num_classes: int, dropout: float, num_exits: int, exit_beta: float
    ) -> None:
        if num_exits < 2:
            raise BadInput(f"data.num_frames is {num_exits}; an early exit needs at least 2 frames")
        num_features = backbone.num_features
        super().__init__(backbone.module, num_features=num_features, num_classes=num_classes, dropout=dropout)
        self.exit_beta = exit_beta
        early = range(num_exits - 1)
        self.early_classifiers = nn.ModuleList(new_classifier(num_features, num_classes) for _ in early)
        self.gates = nn.ModuleList(Gate(num_features) for _ in early)

    @property
    def classifiers(self) -> tuple[nn.Linear, ...]:
        """All linear layers that give logits of clips, in the order of the exits."""
        return (*cast(Iterable[nn.Linear], self.early_classifiers), self.classifier)

    def exits(self, features: Tensor, *, num_frames: int) -> Exits:
        """(B * T, C, h, w) -> outputs of all exits for clips of T frames.

        T is at most the number of exits in the model.
        """
        classifiers = self.classifiers
        if num_frames > len(classifiers):
            raise BadInput(
                f"clips of {num_frames} frames, but this network was trained with {len(classifiers)} exits, one for "
                "each frame; give it as many frames or fewer"
            )
        frames = self.pool(features).flatten(1).unflatten(0, (-1, num_frames))  # (B, T, C)
        before = torch.zeros_like(frames[:, 0])
        logits, gates = [], []
        for number, frame in enumerate(visiting_order(num_frames)):
            now = frames[:, frame] if number == 0 else torch.maximum(before, frames[:, frame])
            logits.append(classifiers[number](self.dropout(now)))
            if number < len(self.gates):
                gates.append(self.gates[number](now, before))
            before = now
        return Exits(torch.stack(logits, dim=1), torch.stack(gates, dim=1))

    def forward_head(self, features: Tensor, *, num_frames: int) -> tuple[Tensor, Tensor]:
        """(B * T, C, h, w) -> frame logits (B, T, K) by the last classifier, and clip logits (B, K)."""
        frame_logits = self.classifier(self.pool(features).flatten(1).unflatten(0, (-1, num_frames)))
        exits = self.exits(features, num_frames=num_frames)
        if self.training:
            return frame_logits, exits.logits[:, -1]
        chosen = exits.taken[:, None, None].expand(-1, 1, exits.logits.shape[2])
        return frame_logits, exits.logits.gather(1, chosen).squeeze(1)

    def task_loss(self, output: ClipOutput, labels: Tensor) -> Tensor:
        """Mean cross-entropy over exits and clips, plus the cross-entropy of the gates with their labels.

        Exit t, from 1, is labelled good enough if its cross-entropy is below ``exit_beta * exp(t / 2)`` (epsilon_t in
        the paper).
        """
        exits = self.exits(output.features, num_frames=output.frame_logits.shape[1])
        losses = F.cross_entropy(
            exits.logits.movedim(2, 1), labels[:, None].expand(-1, exits.logits.shape[1]), reduction="none"
        )  # (B, E)
        num_gates = exits.gates.shape[1]
        limits = torch.tensor([self.exit_beta * math.exp(t / 2) for t in range(1, num_gates + 1)]).to(losses)
        good_enough = losses[:, :num_gates].detach() < limits
        return losses.mean() + F.binary_cross_entropy_with_logits(exits.gates, good_enough.to(exits.gates))

    def frames_used(self, output: ClipOutput) -> Tensor:
        """(B,) number of frames used for each clip."""
        return self.exits(output.features, num_frames=output.frame_logits.shape[1]).taken + 1


def frame_exit_resnet(
    *, depth: int, num_classes: int, dropout: float, num_exits: int, exit_beta: float
) -> FrameExitModel:
    return FrameExitModel(
        resnet_backbone(depth), num_classes=num_classes, dropout=dropout, num_exits=num_exits, exit_beta=exit_beta
    )


def frame_exit_mini(
    *, num_blocks: int, num_classes: int, dropout: float, num_exits: int, exit_beta: float
) -> FrameExitModel:
    return FrameExitModel(
        mini_backbone(num_blocks), num_classes=num_classes, dropout=dropout, num_exits=num_exits, exit_beta=exit_beta
    )
