"""Metrics of clip scores. Inputs are numpy arrays (N clips, K classes); results are shares in [0, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Targets = NDArray[np.bool_]


def top_k(scores: Scores, targets: Targets, *, k: int) -> float:
    """Share of clips with a true label among their ``min(k, K)`` best classes.

    ``targets`` is multi-hot. A clip with several labels is right if any of them is found; a clip without labels is
    wrong. If scores are equal, the lower class index ranks first. Raises ValueError for scores that are not finite,
    arrays that do not match, no clips, or k below 1.
    """
    _check(scores, targets)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # (N, min(k, K))
    return float(np.take_along_axis(targets, best, axis=1).any(axis=1).mean())


def mean_average_precision(scores: Scores, targets: Targets) -> float:
    """Mean over classes of the step-wise average precision (scikit-learn's ``average_precision_score``).

    Classes without a positive clip are left out, since their average precision is undefined (scikit-learn
    would count 0). The result is nan if no class has a positive clip. Raises ValueError as ``top_k`` does.
    """
    from sklearn.metrics import average_precision_score

    _check(scores, targets)
    precisions = [
        average_precision_score(targets[:, column], scores[:, column]) for column in np.flatnonzero(targets.any(axis=0))
    ]
    return float(np.mean(precisions)) if precisions else float("nan")


def agreement(scores_a: Scores, scores_b: Scores) -> float:
    """Share of clips with the same best class in both. If scores are equal, the lower class index is best.

    Raises ValueError as ``top_k`` does.
    """
    _check(scores_a)
    _check(scores_b)
    if scores_a.shape != scores_b.shape:
        raise ValueError(f"scores of shape {scores_a.shape} against {scores_b.shape}; both must be (clips, classes)")
    return float((scores_a.argmax(axis=1) == scores_b.argmax(axis=1)).mean())


def softmax(logits: Scores) -> NDArray[np.float64]:
    """(N, K) logits -> (N, K) probabilities, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def evaluate_scores(logits: Scores, targets: Targets, *, teacher_logits: Scores | None = None) -> dict[str, float]:
    """``top1``, ``top5`` and ``mAP`` of clip logits (N, K); with a teacher's logits also ``agreement`` with it.

    mAP ranks clips by softmax scores, which are comparable across clips, unlike logits. top-k uses logits, because two
    classes can round to the same probability. Raises ValueError as ``top_k`` does.
    """
    _check(logits, targets)
    metrics = {
        "top1": top_k(logits, targets, k=1),
        "top5": top_k(logits, targets, k=5),
        "mAP": mean_average_precision(softmax(logits), targets),
    }
    if teacher_logits is not None:
        metrics["agreement"] = agreement(logits, teacher_logits)
    return metrics


def _check(scores: Scores, targets: Targets | None = None) -> None:
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores of shape {scores.shape}; must be (clips, classes) with at least one of each")
    if targets is not None and (targets.shape != scores.shape or targets.dtype != np.bool_):
        raise ValueError(
            f"targets of shape {targets.shape}, {targets.dtype}; must be bool and of the scores' shape {scores.shape}"
        )
    bad_clips = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad_clips.size:
        raise ValueError(
            f"scores of {bad_clips.size} of {len(scores)} clips are not finite, the first is clip {bad_clips[0]}; "
            "the model that gave them has diverged"
        )
