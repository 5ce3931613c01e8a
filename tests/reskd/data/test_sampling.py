from __future__ import annotations

import collections
import hashlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.data.sampling import (
    dense_indices,
    dense_view_indices,
    eval_indices,
    num_steps,
    seed_of,
    segment_indices,
    step_groups,
    train_indices,
    view_indices,
)


@pytest.mark.parametrize(
    ("num_total", "num_frames", "expected"),
    [
        (8, 4, [1, 3, 5, 7]),
        (10, 4, [1, 3, 6, 8]),
        (16, 16, list(range(16))),
        (300, 8, [18, 56, 93, 131, 168, 206, 243, 281]),
        (7, 1, [3]),
        (1, 1, [0]),
        (3, 8, [0, 1, 2, 0, 1, 2, 0, 1]),
        (1, 4, [0, 0, 0, 0]),
    ],
)
def test_a_test_clip_takes_the_middle_of_each_segment(num_total, num_frames, expected):
    assert segment_indices(num_total, num_frames=num_frames, rng=None) == expected


@given(st.integers(1, 10**6), st.integers(1, 64))
def test_the_middle_equals_the_formula_in_floating_point(num_total, num_frames):
    indices = segment_indices(num_total, num_frames=num_frames, rng=None)
    if num_total < num_frames:
        assert indices == [i % num_total for i in range(num_frames)]
    else:
        assert indices == [int((i + 0.5) * num_total / num_frames) for i in range(num_frames)]


@given(st.integers(1, 10**6), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_a_training_clip_has_one_frame_in_each_segment(num_total, num_frames, seed):
    indices = segment_indices(num_total, num_frames=num_frames, rng=random.Random(seed))
    assert len(indices) == num_frames
    if num_total >= num_frames:
        length = num_total // num_frames
        assert [index // length for index in indices] == list(range(num_frames))
    else:
        assert indices == [i % num_total for i in range(num_frames)]


def test_a_training_draw_reaches_every_frame_of_a_segment_equally_often():
    rng = random.Random(0)
    drawn = collections.Counter(segment_indices(11, num_frames=2, rng=rng)[1] for _ in range(5000))
    assert sorted(drawn) == [5, 6, 7, 8, 9]  # the eleventh frame belongs to no whole segment
    assert all(850 < count < 1150 for count in drawn.values())  # five standard deviations


def test_the_same_generator_state_draws_the_same_frames():
    first, second = (segment_indices(300, num_frames=8, rng=random.Random(7)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("num_total", "num_frames", "stride", "num_views", "starts"),
    [
        # 300 - 64 + 1 = 237 places to start: 11.85, 35.55, 59.25, 82.95, 106.65, 130.35, 154.05, 177.75, 201.45, 225.15
        (300, 8, 8, 10, [11, 35, 59, 82, 106, 130, 154, 177, 201, 225]),
        (300, 32, 2, 4, [29, 88, 148, 207]),  # 29.625, 88.875, 148.125, 207.375
        (300, 8, 8, 1, [118]),
        (65, 8, 8, 1, [1]),
        (65, 8, 8, 4, [0, 0, 1, 1]),  # 0.25, 0.75, 1.25, 1.75
        (64, 8, 8, 3, [0, 0, 0]),
    ],
)
def test_dense_test_clips_start_in_the_middle_of_equal_parts(num_total, num_frames, stride, num_views, starts):
    clips = dense_view_indices(num_total, num_frames=num_frames, stride=stride, num_views=num_views)
    assert clips == [start + i * stride for start in starts for i in range(num_frames)]


def test_a_video_shorter_than_a_dense_clip_goes_round():
    for clip in (
        dense_view_indices(50, num_frames=8, stride=8, num_views=1),
        dense_indices(50, num_frames=8, stride=8, rng=random.Random(0)),
    ):
        assert clip == [0, 8, 16, 24, 32, 40, 48, 6]
    assert dense_view_indices(1, num_frames=3, stride=2, num_views=2) == [0] * 6
    assert dense_view_indices(3, num_frames=4, stride=2, num_views=1) == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("num_total", "num_frames", "middles", "beginnings"),
    [
        (10, 4, [1, 3, 6, 8], [0, 2, 5, 7]),
        (300, 8, [18, 56, 93, 131, 168, 206, 243, 281], [0, 37, 75, 112, 150, 187, 225, 262]),
        (3, 4, [0, 1, 2, 0], [0, 1, 2, 0]),
    ],
)
def test_twice_takes_the_segments_middles_and_then_their_beginnings(num_total, num_frames, middles, beginnings):
    assert view_indices(num_total, num_frames=num_frames, num_views=1, twice=True) == middles + beginnings


def test_twice_of_several_views_and_of_dense_clips():
    # Two segments of 5 frames; middles of their halves 1.25, 3.75, beginnings 0, 2.5
    assert view_indices(10, num_frames=2, num_views=2, twice=True) == [1, 6, 3, 8, 0, 5, 2, 7]
    starts = [29, 88, 148, 207, 0, 59, 118, 177]  # quarters of 237 begin at 0, 59.25, 118.5, 177.75
    clips = dense_view_indices(300, num_frames=32, stride=2, num_views=4, twice=True)
    assert clips[::32] == starts


def test_an_evaluation_that_says_no_more_takes_one_view_once():
    assert eval_indices(10, num_frames=4, stride=None) == [1, 3, 6, 8]
    assert eval_indices(20, num_frames=4, stride=2) == [6, 8, 10, 12]  # 13 starts, 6 in the middle of them


SIZES = {"num_total": st.integers(1, 5000), "num_frames": st.integers(1, 32), "stride": st.none() | st.integers(1, 9)}


@given(**SIZES, num_views=st.integers(1, 10), twice=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_whatever_the_video_every_index_is_one_of_its_frames(num_total, num_frames, stride, num_views, twice, seed):
    train = train_indices(num_total, num_frames=num_frames, stride=stride, rng=random.Random(seed))
    views = eval_indices(num_total, num_frames=num_frames, stride=stride, num_views=num_views, twice=twice)
    assert len(train) == num_frames
    assert len(views) == num_frames * num_views * (2 if twice else 1)
    assert all(0 <= index < num_total for index in train + views)
    if stride is not None and num_total >= num_frames * stride:
        for clip in (train, *(views[i : i + num_frames] for i in range(0, len(views), num_frames))):
            assert clip == list(range(clip[0], clip[0] + num_frames * stride, stride))


def test_a_dense_training_clip_starts_anywhere_equally_often():
    rng = random.Random(0)
    drawn = collections.Counter(dense_indices(20, num_frames=4, stride=4, rng=rng)[0] for _ in range(5000))
    assert sorted(drawn) == [0, 1, 2, 3, 4]
    assert all(850 < count < 1150 for count in drawn.values())  # five standard deviations


def test_a_seed_is_the_first_32_bits_of_the_keys_hash():
    assert seed_of("order", 3, 0) == int(hashlib.sha256(b'["order", 3, 0]').hexdigest()[:8], 16)


@given(st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=4))
def test_keys_that_read_alike_when_joined_get_different_seeds(key):
    assert seed_of(*key) == seed_of(*key)
    assert seed_of(*key, "a", "b") != seed_of(*key, "ab")
    assert seed_of(*key, 12) != seed_of(*key, 1, 2)
    assert seed_of(*key, 1) != seed_of(*key, "1")


@given(num_total=st.integers(1, 40), num_frames=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_a_stretched_video_keeps_its_order_and_shows_every_frame(num_total: int, num_frames: int, seed: int) -> None:
    stretched = {
        "train": segment_indices(num_total, num_frames=num_frames, rng=random.Random(seed), stretch=True),
        "test": segment_indices(num_total, num_frames=num_frames, rng=None, stretch=True),
        "view": eval_indices(num_total, num_frames=num_frames, stride=None, stretch=True),
    }
    for indices in stretched.values():
        assert len(indices) == num_frames
        assert indices == sorted(indices)
        assert set(indices) <= set(range(num_total))
        if num_total <= num_frames:
            assert set(indices) == set(range(num_total))
    assert stretched["view"] == stretched["test"]


@pytest.mark.parametrize(("num_total", "num_frames"), [(3, 8), (5, 16), (1, 4), (10, 16), (15, 16)])
def test_a_stretched_video_is_sampled_as_mmaction2_does(num_total: int, num_frames: int) -> None:
    """SampleFrames with clip_len 1, in numpy as there; its modulo touches only numbers that rounded past the end."""
    ratio = num_total / num_frames
    train = np.around(np.arange(num_frames) * ratio).astype(int)
    test = (np.arange(num_frames) * ratio + ratio / 2).astype(int)
    ours = segment_indices(num_total, num_frames=num_frames, rng=random.Random(0), stretch=True)
    assert [b for a, b in zip(train, ours, strict=True) if a < num_total] == [int(a) for a in train if a < num_total]
    assert segment_indices(num_total, num_frames=num_frames, rng=None, stretch=True) == test.tolist()


@given(num_clips=st.integers(8, 70), num_groups=st.sampled_from((1, 2, 4)), keep=st.booleans())
def test_every_clip_of_an_epoch_is_in_one_group_and_the_last_step_is_shared_evenly(
    num_clips: int, num_groups: int, keep: bool
) -> None:
    order = random.Random(1).sample(range(num_clips), num_clips)
    groups = step_groups(order, batch_size=8, num_groups=num_groups, keep_last=keep)
    steps = [groups[first : first + num_groups] for first in range(0, len(groups), num_groups)]
    assert len(steps) == num_steps(num_clips, 8, keep_last=keep)
    whole, left_over = divmod(num_clips, 8)
    assert [clip for step in steps[:whole] for group in step for clip in group] == order[: 8 * whole]
    if keep and left_over:
        (last,) = steps[whole:]
        size = -(-left_over // num_groups)
        assert [len(group) for group in last] == [size] * num_groups
        clips = [clip for group in last for clip in group]
        assert clips == order[8 * whole :] + order[: len(clips) - left_over]
    else:
        assert len(steps) == whole
