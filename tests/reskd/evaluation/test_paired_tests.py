"""Statistics from stored logits, against formulas written out and values worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.evaluation.metrics import mean_average_precision, softmax, top_k
from reskd.evaluation.paired_tests import (
    bootstrap_interval,
    class_scores,
    compare,
    confusion,
    correct,
    mcnemar_exact,
    true_classes,
)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemars_p_value_is_twice_the_binomial_tail(only_first: int, only_second: int):
    num, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(num, k) for k in range(fewer + 1)) / 2**num
    assert mcnemar_exact(only_first, only_second) == pytest.approx(min(1.0, 2 * tail))


def test_two_models_that_differ_on_ten_clips_as_worked_by_hand():
    both, first_only, second_only, neither = [1, 1], [1, 0], [0, 1], [0, 0]
    right = np.array([both] * 60 + [first_only] * 9 + [second_only] * 1 + [neither] * 30, dtype=bool)
    paired = compare(right[:, 0], right[:, 1])
    assert (paired.num_clips, paired.only_first, paired.only_second) == (100, 9, 1)
    assert (paired.accuracy_first, paired.accuracy_second) == (0.69, 0.61)
    assert paired.difference == pytest.approx(0.08)
    assert paired.p_value == pytest.approx(2 * (1 + 10) / 2**10)  # 0 or 1 of 10, either way round
    other_way = compare(right[:, 1], right[:, 0])
    assert (other_way.difference, other_way.p_value) == (pytest.approx(-0.08), paired.p_value)


def test_the_bootstrap_interval_is_the_normal_one_where_there_are_many_clips():
    values = np.repeat([1.0, 0.0, -1.0], [300, 1500, 200])
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == (pytest.approx(0.05 - half, abs=0.001), pytest.approx(0.05 + half, abs=0.001))
    assert (low, high) == bootstrap_interval(values)  # the seed is fixed


def test_models_that_never_differ_have_no_width_and_p_1():
    right = np.array([True, False, True])
    paired = compare(right, right)
    assert (paired.difference, paired.low, paired.high, paired.p_value) == (0, 0, 0, 1)
    one = compare(right[:1], ~right[:1])
    assert (one.difference, one.low, one.high, one.p_value) == (1, 1, 1, 1)


LOGITS = np.array([[3.0, 1, 0], [0, 2, 1], [2, 1, 0], [0, 1, 2], [1, 0, 2]])
TARGETS = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]], dtype=bool)


def test_confusion_and_class_accuracies_as_counted_by_hand():
    # Predicted 0 1 0 2 2; the last clip has labels 1 and 2 and counts as 2, which was predicted.
    assert true_classes(LOGITS, TARGETS).tolist() == [0, 1, 1, 2, 2]
    assert confusion(LOGITS, TARGETS).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 2]]
    scores = class_scores(LOGITS, TARGETS, classes=("a", "b", "c"))
    assert [(score.name, score.num_clips, score.accuracy) for score in scores] == [
        ("a", 1, 1),
        ("b", 2, 0.5),
        ("c", 2, 1),
    ]


def test_all_classes_together_are_top_1_and_mAP():
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(40, 5))
    targets = np.eye(5, dtype=bool)[generator.integers(0, 4, 40)]  # the last class has no clip
    scores = class_scores(logits, targets, classes=tuple("abcde"))
    assert (
        sum(score.num_correct for score in scores) / 40
        == top_k(logits, targets, k=1)
        == correct(logits, targets).mean()
    )
    assert math.isnan(scores[4].accuracy)
    precisions = [score.average_precision for score in scores[:4]]
    assert np.mean(precisions) == pytest.approx(mean_average_precision(softmax(logits), targets))
