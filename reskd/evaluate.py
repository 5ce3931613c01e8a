"""Validation and test: each clip's logits from several models at once, then metrics from the logits."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reskd import precision
from reskd.cohort import Views
from reskd.data.dataset import Damage, VideoDataset, val_groups
from reskd.models import VideoModel, evaluating
from reskd.recipe import ModelSpec
from reskd.workers import Workers


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


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a step is judged; its own record, never part of what was trained."""

    split: str = "val"
    num_frames: int = 16
    num_views: int = 1
    num_crops: int = 1

    @property
    def name(self) -> str:
        return f"{self.split}-f{self.num_frames}-v{self.num_views}x{self.num_crops}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "num_frames": self.num_frames,
            "views": self.num_views,
            "crops": self.num_crops,
        }


def collect_logits(
    models: Mapping[str, Judged],
    dataset: VideoDataset,
    *,
    workers: Workers,
    batch_size: int,
    dtype: torch.dtype,
    autocast: torch.dtype | None,
    loader_workers: int,
) -> ClipLogits:
    """One pass over the split, its clips dealt out to the workers; every model sees the same decoded clips.

    ``autocast`` is what autocast narrows to, None for none.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in models}
    indices: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    damaged: list[Damage] = []
    groups = val_groups(
        dataset,
        batch_size=batch_size,
        rank=workers.rank,
        world_size=workers.world_size,
        loader_workers=loader_workers,
    )
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(precision.autocast(workers.device, autocast))
        for judged in models.values():
            stack.enter_context(evaluating(judged.model))
        for group in groups:
            damaged.extend(group.damaged)
            if len(group.indices) == 0:
                continue
            views = Views(group.clips, device=workers.device, dtype=dtype)
            for name, judged in models.items():
                parts[name].append(judged.model(views.of(judged.spec)).clip_logits.float().cpu().numpy())
            indices.append(group.indices.numpy())
            targets.append(group.targets.numpy())
    return _joined(workers.gather((indices, targets, parts, damaged)), names=list(models))


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
    )
