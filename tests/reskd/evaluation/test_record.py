from __future__ import annotations

import numpy as np

from reskd.evaluation.clip_logits import ClipLogits
from reskd.evaluation.record import evaluation_metrics

LOGITS = np.float32([[3, 1, 0], [0, 2, 1], [1, 0, 5], [4, 0, 1]])
"""Four clips, three classes; the answers are 0, 1, 2, 0."""


def clips_of(labels, logits=LOGITS, **used):
    return ClipLogits({"a": logits}, np.eye(3, dtype=bool)[labels], np.arange(4), (), used)


def test_three_of_four_right_is_75_and_a_teacher_that_answers_alike_twice_is_agreed_with_by_half():
    found = evaluation_metrics(clips_of([0, 1, 2, 1]), "a", teacher_logits=LOGITS[[0, 0, 2, 1]])
    assert found is not None
    assert (found["top1"], found["agreement"]) == (0.75, 0.5)
    assert "frames_used" not in found


def test_frames_used_are_the_mean_over_clips_and_without_a_teacher_nothing_agrees():
    found = evaluation_metrics(clips_of([0, 1, 2, 0], a=np.float32([1, 2, 4, 8])), "a", teacher_logits=None)
    assert found is not None
    assert found["frames_used"] == 3.75
    assert "agreement" not in found


def test_logits_that_are_not_finite_have_no_metrics():
    broken = LOGITS.copy()
    broken[2, 1] = np.inf
    assert evaluation_metrics(clips_of([0, 1, 2, 0], logits=broken), "a", teacher_logits=None) is None
