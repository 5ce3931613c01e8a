"""Validation and test: each clip's logits from several models at once, then metrics from the logits."""

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
from reskd.data.val_cache import GroupCache
from reskd.data.views import Views
from reskd.models.video_model import VideoModel, evaluating
from reskd.protocol import Protocol
from reskd.recipe import ModelSpec
from reskd.runtime import precision
from reskd.runtime.workers import Workers

__all__ = ["ClipLogits", "Judged", "Protocol", "average_views", "collect_logits"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A model to evaluate and the view it takes."""

    model: VideoModel
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class ClipLogits:
    """Logits of every clip of a split that decodes, ordered by clip number; on every worker.

    logits: model name -> (N, K) float32; targets: (N, K) bool; indices: (N,) clip numbers in the split.
    """

    logits: dict[str, np.ndarray]
    targets: np.ndarray
    indices: np.ndarray
    damaged: tuple[Damage, ...]
    frames_used: dict[str, np.ndarray] = field(default_factory=dict)
    """Model name -> (N,) frames that a clip's logits rest on, the mean of its views; only of networks that may stop
    early."""

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """What an evaluation of this model keeps of each clip."""
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
    """One pass over the split, its clips dealt out to the workers; every model sees the same decoded clips.

    At most ``batch_size`` views go through a model together; a clip's own views end up as one row of logits.
    on_group gets the number of clips that this worker has been through.
    ``cache`` keeps the clips for the next pass of this kind; it changes no result.
    ``autocast`` is what autocast narrows to, None for none.
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
                views = Views(clips, device=workers.device, dtype=dtype)
                for name, judged in models.items():
                    output = judged.model(views.of(judged.spec))
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
    """(B * P, K) logits, a clip's P views one after another -> (B, K): log of the mean of their softmax, float32.

    Probabilities are averaged, not logits, as mmaction2's ``average_clips='prob'`` does: a view counts by how sure it
    is, not by how large its logits happen to be. The log makes logits of the mean again, whose softmax is that mean,
    so that everything made for logits holds for them. One view's logits stay as they are, to the bit.
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
