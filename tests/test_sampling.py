from __future__ import annotations

import collections
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.data.sampling import seed_of, segment_indices


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


def test_a_seed_is_the_first_32_bits_of_the_keys_hash():
    assert seed_of("order", 3, 0) == int(hashlib.sha256(b'["order", 3, 0]').hexdigest()[:8], 16)


@given(st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=4))
def test_keys_that_read_alike_when_joined_get_different_seeds(key):
    assert seed_of(*key) == seed_of(*key)
    assert seed_of(*key, "a", "b") != seed_of(*key, "ab")
    assert seed_of(*key, 12) != seed_of(*key, 1, 2)
    assert seed_of(*key, 1) != seed_of(*key, "1")
