"""The metrics of an evaluation and its record, which is stored beside its logits."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from reskd.data.dataset import VideoDataset
from reskd.data.pack_record import packed_words
from reskd.evaluation.clip_logits import ClipLogits
from reskd.evaluation.metrics import evaluate_scores
from reskd.files import Json
from reskd.protocol import Protocol


def versions() -> dict[str, str]:
    """Versions that a result may depend on; recorded, never part of identity."""
    found = {"python": platform.python_version()}
    for name in ("reskd", "torch", "torchvision", "av", "pillow", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def evaluation_metrics(clips: ClipLogits, name: str, *, teacher_logits: np.ndarray | None) -> dict[str, float] | None:
    """top1, top5 and mAP of the model ``name``; with a teacher also agreement; with early exits also frames_used.

    ``teacher_logits``: (N, K) of the same clips, or None. A metric that is not defined for these clips is left out.
    None if the model's logits are not finite.
    """
    logits = clips.logits[name]
    if not np.isfinite(logits).all():
        return None
    scores = evaluate_scores(logits, clips.targets, teacher_logits=teacher_logits)
    if name in clips.frames_used:
        scores["frames_used"] = float(clips.frames_used[name].mean())
    return {metric: value for metric, value in scores.items() if math.isfinite(value)}


def evaluation_record(
    clips: ClipLogits, dataset: VideoDataset, *, protocol: Protocol, metrics: Mapping[str, float]
) -> Json:
    """The record of an evaluation on ``dataset``: metrics, counts of clips, and names of skipped clips.

    num_missing counts annotated clips without a video; they are no part of the other counts. packed says how the
    frames were packed, in words; it is empty for original videos.
    """
    return {
        "protocol": protocol.to_dict(),
        "metrics": dict(metrics),
        "num_clips": len(clips.indices),
        "num_skipped": len(dataset) - len(clips.indices),
        "num_missing": dataset.num_missing,
        "packed": packed_words(dataset.root),
        "skipped": sorted(damage.path for damage in clips.damaged),
    }
