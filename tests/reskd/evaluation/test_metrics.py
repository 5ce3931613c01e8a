import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from reskd.evaluation.metrics import agreement, evaluate_scores, mean_average_precision, softmax, top_k


def one_hot(labels: list[int], num_classes: int) -> np.ndarray:
    return np.eye(num_classes, dtype=bool)[labels]


@st.composite
def scored_clips(draw):
    """Scores with ties, and multi-hot targets with at least one label a clip."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 8)))
    scores = draw(arrays(np.float64, shape, elements=st.integers(-3, 3).map(float)))
    targets = draw(arrays(np.bool_, shape))
    targets[:, 0] |= ~targets.any(axis=1)
    return scores, targets


def test_top_k_counts_clips_whose_label_is_among_the_best():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    targets = one_hot([1, 1, 0], 3)
    assert top_k(scores, targets, k=1) == pytest.approx(1 / 3)
    assert top_k(scores, targets, k=2) == pytest.approx(2 / 3)
    assert top_k(scores, targets, k=3) == 1.0


def test_any_one_of_several_labels_makes_a_clip_right():
    scores = np.array([[0.1, 0.7, 0.2]])
    assert top_k(scores, np.array([[True, True, False]]), k=1) == 1.0
    assert top_k(scores, np.array([[True, False, True]]), k=1) == 0.0


def test_k_beyond_the_classes_means_all_of_them():
    assert top_k(np.array([[1.0, 0.0]]), one_hot([1], 2), k=5) == 1.0


def test_of_equal_scores_the_lower_class_counts_as_better():
    scores = np.zeros((1, 3))
    assert [top_k(scores, one_hot([label], 3), k=2) for label in range(3)] == [1.0, 1.0, 0.0]
    assert agreement(scores, np.array([[1.0, 1.0, 0.0]])) == 1.0


def test_average_precision_is_the_one_computed_by_hand():
    # Ranking + - + -: precision 1 at the first positive, 2/3 at the second; each adds half the recall.
    scores = np.array([[4.0], [3.0], [2.0], [1.0]])
    assert mean_average_precision(scores, np.array([[True], [False], [True], [False]])) == pytest.approx(5 / 6)


def test_tied_scores_share_one_step_of_the_curve():
    scores = np.zeros((4, 1))
    assert mean_average_precision(scores, np.array([[True], [False], [False], [False]])) == pytest.approx(1 / 4)


def test_a_class_without_positives_does_not_enter_the_mean():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.1], [0.3, 0.2, 0.9]])
    targets = np.array([[True, False, False], [False, True, False], [True, False, False]])
    assert mean_average_precision(scores, targets) == 1.0


def test_map_equals_scikit_learns_macro_average_where_every_class_has_positives():
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(50, 6)), rng.random((50, 6)) < 0.3
    expected = average_precision_score(targets, scores, average="macro")
    assert mean_average_precision(scores, targets) == pytest.approx(expected)


def test_map_equals_scikit_learns_and_torchmetrics_on_the_columns_with_positives():
    from torchmetrics.functional.classification import multilabel_average_precision  # seconds to load

    rng = np.random.default_rng(1)
    scores, targets = softmax(rng.normal(size=(80, 12))), rng.random((80, 12)) < 0.1
    targets[:, [2, 7]] = False
    held = targets.any(axis=0)
    assert held.sum() == 10
    expected = average_precision_score(targets[:, held], scores[:, held], average="macro")
    # scikit-learn warns of the empty columns and counts 0, so with them its mean is too low.
    with pytest.warns(UserWarning, match="No positive class"):
        assert average_precision_score(targets, scores, average="macro") == pytest.approx(expected * 10 / 12)
    assert mean_average_precision(scores, targets) == pytest.approx(expected, abs=1e-12)
    columns = torch.from_numpy(scores[:, held]), torch.from_numpy(targets[:, held].astype(int))
    assert mean_average_precision(scores, targets) == pytest.approx(
        float(multilabel_average_precision(*columns, num_labels=10, average="macro")), abs=1e-6
    )


@pytest.mark.parametrize("k", [1, 2, 5, 11])
def test_top_k_equals_torchmetrics(k):
    from torchmetrics.functional.classification import multiclass_accuracy

    rng = np.random.default_rng(k)
    scores, labels = rng.normal(size=(200, 11)), rng.integers(0, 11, size=200)
    expected = multiclass_accuracy(
        torch.from_numpy(scores), torch.from_numpy(labels), num_classes=11, top_k=k, average="micro"
    )
    assert top_k(scores, one_hot(labels.tolist(), 11), k=k) == pytest.approx(float(expected), abs=1e-6)


def test_map_without_any_positive_is_nan():
    assert math.isnan(mean_average_precision(np.zeros((3, 2)), np.zeros((3, 2), dtype=bool)))


def test_agreement_is_the_share_of_equal_best_classes():
    a = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    b = np.array([[5.0, 4.0], [0.0, 1.0], [0.0, 9.0], [0.0, 1.0]])
    assert agreement(a, b) == 0.75


def test_softmax_sums_to_one_and_survives_large_logits():
    probabilities = softmax(np.array([[1000.0, 1000.0 + math.log(3)], [-1e4, 0.0]]))
    np.testing.assert_allclose(probabilities, [[0.25, 0.75], [0.0, 1.0]])


def test_evaluate_scores_ranks_clips_by_softmax_and_not_by_logit():
    # The second clip's logits are larger, but its probability of class 0 is smaller.
    logits = np.array([[2.0, 0.0], [5.0, 5.0]])
    targets = np.array([[True, False], [False, True]])
    assert mean_average_precision(logits, targets) == 0.75
    assert evaluate_scores(logits, targets) == {"top1": 0.5, "top5": 1.0, "mAP": 1.0}


def test_evaluate_scores_adds_the_agreement_with_a_teacher():
    logits, targets = np.array([[2.0, 0.0], [0.0, 1.0]], dtype=np.float32), one_hot([0, 1], 2)
    assert evaluate_scores(logits, targets, teacher_logits=logits[::-1])["agreement"] == 0.0
    assert evaluate_scores(logits, targets, teacher_logits=logits)["agreement"] == 1.0


@given(scored_clips())
def test_metrics_are_shares_and_top5_never_falls_below_top1(clips):
    metrics = evaluate_scores(*clips, teacher_logits=clips[0])
    assert all(0 <= value <= 1 for value in metrics.values())
    assert metrics["top5"] >= metrics["top1"]
    assert metrics["agreement"] == 1.0


@given(scored_clips(), st.randoms(use_true_random=False))
def test_the_order_of_the_clips_does_not_matter(clips, rng):
    scores, targets = clips
    order = rng.sample(range(len(scores)), len(scores))
    assert evaluate_scores(scores[order], targets[order]) == pytest.approx(evaluate_scores(scores, targets))


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_classes_does_not_matter_without_ties(seed):
    rng = np.random.default_rng(seed)
    scores, targets, order = rng.normal(size=(9, 7)), rng.random((9, 7)) < 0.3, rng.permutation(7)
    targets[0, 0] = True
    assert evaluate_scores(scores[:, order], targets[:, order]) == pytest.approx(evaluate_scores(scores, targets))


@given(scored_clips(), st.integers(1, 10))
def test_top_k_equals_a_loop_over_sorted_classes(clips, k):
    scores, targets = clips
    right = 0
    for row, labels in zip(scores, targets, strict=True):
        ranking = sorted(range(len(row)), key=lambda label: (-row[label], label))
        right += any(labels[label] for label in ranking[:k])
    assert top_k(scores, targets, k=k) == pytest.approx(right / len(scores))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_with_the_clip(bad):
    scores, targets = np.zeros((3, 2)), one_hot([0, 1, 0], 2)
    scores[1, 1] = bad
    for call in (
        lambda: top_k(scores, targets, k=1),
        lambda: mean_average_precision(scores, targets),
        lambda: agreement(np.zeros((3, 2)), scores),
        lambda: evaluate_scores(scores, targets),
    ):
        with pytest.raises(ValueError, match=r"1 of 3 clips are not finite.*clip 1"):
            call()


def test_arrays_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="targets of shape"):
        top_k(np.zeros((3, 2)), one_hot([0, 1], 2), k=1)
    with pytest.raises(ValueError, match="must be bool"):
        top_k(np.zeros((2, 2)), np.eye(2), k=1)
    with pytest.raises(ValueError, match="at least one"):
        top_k(np.zeros((0, 2)), np.zeros((0, 2), dtype=bool), k=1)
    with pytest.raises(ValueError, match="k must be"):
        top_k(np.zeros((2, 2)), np.eye(2, dtype=bool), k=0)
    with pytest.raises(ValueError, match="against"):
        agreement(np.zeros((3, 2)), np.zeros((2, 2)))
