"""Collects the logits of every clip of a split from several models in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reskd.data.dataset import Damage, VideoDataset
from reskd.data.loader import val_groups
from reskd.data.model_inputs import ModelInputs
from reskd.data.val_cache import GroupCache
from reskd.models.video_model import VideoModel, evaluating
from reskd.protocol import Protocol
from reskd.recipe import ModelSpec
from reskd.runtime import precision
from reskd.runtime.workers import Workers

__all__ = ["ClipLogits", "Judged", "Protocol", "average_views", "collect_logits"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A model to evaluate and the input it takes."""

    model: VideoModel
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class ClipLogits:
    """Logits of every clip of a split that decodes, ordered by clip number. Every worker holds all of them.

    logits: model name -> (N, K) float32; targets: (N, K) bool; indices: (N,) clip numbers in the split.
    """

    logits: dict[str, np.ndarray]
    targets: np.ndarray
    indices: np.ndarray
    damaged: tuple[Damage, ...]
    frames_used: dict[str, np.ndarray] = field(default_factory=dict)
    """Model name -> (N,) number of frames used for a clip, mean over its views. Only for networks with early exit."""

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays that an evaluation of this model stores."""
        arrays = {"logits": self.logits[name], "targets": self.targets, "indices": self.indices}
        return arrays | ({"frames_used": self.frames_used[name]} if name in self.frames_used else {})


def collect_logits(
    models: Mapping[str, Judged],
    dataset: VideoDataset,
    *,
    workers: Workers,
    batch_size: int,
    dtype: torch.dtype,
    autocast: torch.dtype | None,
    loader_workers: int,
    on_group: Callable[[int], None] | None = None,
    cache: GroupCache | None = None,
) -> ClipLogits:
    """Run all models over the split once. Workers share the clips; all models see the same decoded clips.

    At most ``batch_size`` views go through a model together. The views of a clip are averaged to one row of logits.
    ``on_group`` gets the number of clips that this worker has finished. ``cache`` keeps clips for the next pass of the
    same kind and changes no result. ``autocast`` is the type for autocast, or None. A collective call.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in models}
    used: dict[str, list[np.ndarray]] = {}
    indices: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    damaged: list[Damage] = []
    groups = val_groups(
        dataset,
        batch_size=max(1, batch_size // dataset.views_per_clip),
        rank=workers.rank,
        world_size=workers.world_size,
        loader_workers=loader_workers,
        cache=cache,
    )
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(precision.autocast(workers.device, autocast))
        for judged in models.values():
            stack.enter_context(evaluating(judged.model))
        done = 0
        for group in groups:
            done += len(group.indices) + len(group.damaged)
            if on_group is not None:
                on_group(done)
            damaged.extend(group.damaged)
            if len(group.indices) == 0:
                continue
            answers: dict[str, list[Tensor]] = {name: [] for name in models}
            frames: dict[str, list[Tensor]] = {}
            for clips in group.clips.split(batch_size):
                inputs = ModelInputs(clips, device=workers.device, dtype=dtype)
                for name, judged in models.items():
                    output = judged.model(inputs.of(judged.spec, judged.model.normalisation))
                    answers[name].append(output.clip_logits.float().cpu())
                    if (stopped := judged.model.frames_used(output)) is not None:
                        frames.setdefault(name, []).append(stopped.float().cpu())
            for name, answer in answers.items():
                parts[name].append(average_views(torch.cat(answer), views_per_clip=dataset.views_per_clip).numpy())
            for name, counts in frames.items():
                of_views = torch.cat(counts).unflatten(0, (-1, dataset.views_per_clip))
                used.setdefault(name, []).append(of_views.mean(dim=1).numpy())
            indices.append(group.indices.numpy())
            targets.append(group.targets.numpy())
    return _joined(workers.gather((indices, targets, parts, damaged, used)), names=list(models))


def average_views(logits: Tensor, *, views_per_clip: int) -> Tensor:
    """Logits (B * P, K) with a clip's P views adjacent -> (B, K): log of the mean softmax over views, float32.

    It averages probabilities, not logits, like mmaction2's ``average_clips='prob'``. The softmax of the result is the
    mean probability, so the result can be used like logits. With one view, the logits are returned unchanged.
    """
    if views_per_clip == 1:
        return logits
    each = logits.double().log_softmax(dim=-1).unflatten(0, (-1, views_per_clip))  # (B, P, K)
    return (each.logsumexp(dim=1) - math.log(views_per_clip)).float()


def _joined(shares: list[Any], *, names: list[str]) -> ClipLogits:
    indices = np.concatenate([part for share in shares for part in share[0]] or [np.zeros(0, np.int64)])
    order = np.argsort(indices)

    def in_order(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts)[order] if parts else np.zeros((0, 0))

    return ClipLogits(
        logits={name: in_order([part for share in shares for part in share[2][name]]) for name in names},
        targets=in_order([part for share in shares for part in share[1]]),
        indices=indices[order],
        damaged=tuple(sorted({damage for share in shares for damage in share[3]}, key=lambda damage: damage.path)),
        frames_used={
            name: in_order([part for share in shares for part in share[4].get(name, [])])
            for name in sorted({name for share in shares for name in share[4]})
        },
    )
