"""Statistics from stored logits: two models compared clip by clip, and one model class by class. No video is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reskd.evaluation.metrics import Scores, Targets, softmax

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
BOOTSTRAP_SEED = 0
"""Fixed, so that the same logits give the same interval."""
MAX_VALUES = 10_000_000
"""Most values that a bootstrap holds at once. This bounds its memory to about 160 MB."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same clips. Accuracies are shares in [0, 1]; the difference is first minus second."""

    num_clips: int
    accuracy_first: float
    accuracy_second: float
    difference: float
    low: float
    high: float
    """`low` and `high` are the percentile bootstrap over clips. It does not cover the choice of seeds."""
    only_first: int
    """Clips that only the first model gets right."""
    only_second: int
    p_value: float
    """McNemar's exact test, two-sided."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of one model."""

    name: str
    num_clips: int
    """Clips that count as this class; see `true_classes`."""
    num_correct: int
    average_precision: float
    """Average precision when all clips are ranked by this class; nan if no clip has it, or if it was not asked for."""

    @property
    def accuracy(self) -> float:
        """nan when no clip counts as this class."""
        return self.num_correct / self.num_clips if self.num_clips else float("nan")


def correct(logits: Scores, targets: Targets) -> NDArray[np.bool_]:
    """Bool (N,): whether a clip's best class is one of its labels (top-1)."""
    return targets[np.arange(len(targets)), logits.argmax(axis=1)]


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """Compare two models by bool (N,) arrays that say which clips each gets right.

    Raises ValueError unless both arrays have the same length, at least 1.
    """
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise ValueError(f"{first.shape} against {second.shape} clips; both must be the same clips, at least one")
    difference = first.astype(np.float64) - second
    low, high = bootstrap_interval(difference)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return Paired(
        num_clips=len(first),
        accuracy_first=float(first.mean()),
        accuracy_second=float(second.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar_exact(only_first, only_second),
    )


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap interval (low, high) of the mean of (N,) values, one per clip."""
    from scipy.stats import bootstrap

    if len(values) == 1:
        return float(values[0]), float(values[0])  # scipy refuses one value
    result = bootstrap(
        (values,),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, MAX_VALUES // len(values)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test; 1 if the models never differ.

    Null hypothesis: a clip that only one model gets right favours either model with probability 1/2.
    """
    from scipy.stats import binomtest

    num_differing = only_first + only_second
    return float(binomtest(only_first, num_differing, 0.5).pvalue) if num_differing else 1.0


def true_classes(logits: Scores, targets: Targets) -> NDArray[np.int64]:
    """int64 (N,): the class that a clip counts as. For several labels: the predicted one, else the first."""
    predicted = logits.argmax(axis=1)
    return np.where(correct(logits, targets), predicted, targets.argmax(axis=1))


def confusion(logits: Scores, targets: Targets) -> NDArray[np.int64]:
    """Confusion matrix (K, K) of clip counts. Rows: true class (see `true_classes`); columns: predicted class."""
    matrix = np.zeros((logits.shape[1], logits.shape[1]), np.int64)
    np.add.at(matrix, (true_classes(logits, targets), logits.argmax(axis=1)), 1)
    return matrix


def class_scores(
    logits: Scores, targets: Targets, *, classes: tuple[str, ...], with_precision: bool = True
) -> list[ClassScore]:
    """The score of each class, in order. Average precision ranks clips by softmax, as mAP does; it takes time."""
    matrix = confusion(logits, targets)
    precisions = _average_precisions(softmax(logits), targets) if with_precision else [float("nan")] * len(classes)
    return [
        ClassScore(
            name=name,
            num_clips=int(matrix[number].sum()),
            num_correct=int(matrix[number, number]),
            average_precision=precisions[number],
        )
        for number, name in enumerate(classes)
    ]


def _average_precisions(probabilities: Scores, targets: Targets) -> list[float]:
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(truth, scores)) if truth.any() else float("nan")
        for truth, scores in zip(targets.T, probabilities.T, strict=True)
    ]
