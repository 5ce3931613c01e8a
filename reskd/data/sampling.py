"""Chooses the frame numbers of a clip and the seed of every random choice. It works on integers, without any video."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Sequence
from fractions import Fraction

from reskd.errors import BadInput


def seed_of(*key: str | int) -> int:
    """A 32-bit seed, the same on every machine. Different keys give unrelated seeds.

    It is the first four bytes, big endian, of the sha256 of the key as a JSON list. The list makes ``("ab", 1)`` differ
    from ``("a", "b1")``. torch's CPU generator reads only 32 bits.
    """
    digest = hashlib.sha256(json.dumps(list(key)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def segment_indices(num_total: int, *, num_frames: int, rng: random.Random | None, stretch: bool = False) -> list[int]:
    """One frame number from each of ``num_frames`` uniform segments of ``num_total`` frames, ascending.

    With ``rng`` (training), the frame is drawn uniformly from its segment. All segments then have the integer length
    ``num_total // num_frames``, so up to ``num_frames - 1`` frames at the end are never drawn (ResKD's recipe). Without
    ``rng`` (test), it is the middle of each of the equal, fractional segments.

    A video shorter than ``num_frames`` is looped in both cases, unless it is to ``stretch``. Then its frames are
    repeated in place: in test those in the middle of the segments, in training those nearest to the beginnings of the
    segments, without any draw, as in mmaction2's SampleFrames. (There the last numbers can round up to num_total and
    wrap to frame 0; here they stay at the last frame.)
    """
    assert num_total >= 1, num_total
    assert num_frames >= 1, num_frames
    if num_total < num_frames and not stretch:
        return [i % num_total for i in range(num_frames)]
    if num_total < num_frames and rng is not None:
        return [min(round(Fraction(i * num_total, num_frames)), num_total - 1) for i in range(num_frames)]
    if rng is not None:
        length = num_total // num_frames
        return [i * length + rng.randrange(length) for i in range(num_frames)]
    # (i + 0.5) * num_total / num_frames rounded down, without floats
    return [(2 * i + 1) * num_total // (2 * num_frames) for i in range(num_frames)]


def view_indices(
    num_total: int, *, num_frames: int, num_views: int, twice: bool = False, stretch: bool = False
) -> list[int]:
    """Frame numbers of ``num_views`` test views, one view after another. Each view covers the whole video.

    View v takes the frame at position (v + 0.5) / num_views of each equal, fractional segment. So one view equals
    ``segment_indices`` of test, and all views together equal those of num_frames * num_views segments. With ``twice``,
    as many views follow with the frames at v / num_views. For one view these are the first frames of the segments, as
    in mmaction2's ``twice_sample``. A video shorter than ``num_frames`` is looped, the same in every view, unless it is
    to ``stretch``: then its views are those of any video, and a frame can come several times in a row.
    """
    assert num_views >= 1, num_views
    if num_total < num_frames and not stretch:
        return segment_indices(num_total, num_frames=num_frames, rng=None) * (num_views * (1 + twice))
    every = num_frames * num_views
    # (i + (v + half / 2) / num_views) * num_total / num_frames rounded down, without floats
    return [
        (2 * (num_views * i + v) + half) * num_total // (2 * every)
        for half in ((1, 0) if twice else (1,))
        for v in range(num_views)
        for i in range(num_frames)
    ]


def dense_indices(num_total: int, *, num_frames: int, stride: int, rng: random.Random) -> list[int]:
    """Frame numbers of a dense training clip: ``num_frames`` frames, ``stride`` apart, from a uniformly drawn start.

    The clip spans num_frames * stride frames, including the last stride, and lies inside the video. In a shorter video
    it starts at frame 0 and wraps around (mmaction2's SampleFrames with one clip).
    """
    start = rng.randrange(_num_starts(num_total, num_frames=num_frames, stride=stride))
    return _clip(start, num_total, num_frames=num_frames, stride=stride)


def dense_view_indices(
    num_total: int, *, num_frames: int, stride: int, num_views: int, twice: bool = False
) -> list[int]:
    """Frame numbers of ``num_views`` dense test clips spread evenly over a video, one clip after another.

    The possible start frames are cut into num_views equal, fractional parts. Clip v starts in the middle of part v.
    With ``twice``, as many clips follow that start at the beginning of each part (mmaction2's SampleFrames in test
    mode). A single view is the middle clip. In a video shorter than a clip, all start at frame 0 and wrap around.
    """
    assert num_views >= 1, num_views
    starts = _num_starts(num_total, num_frames=num_frames, stride=stride)
    return [
        index
        for half in ((1, 0) if twice else (1,))
        for v in range(num_views)
        # (v + half / 2) * starts / num_views rounded down, without floats
        for index in _clip((2 * v + half) * starts // (2 * num_views), num_total, num_frames=num_frames, stride=stride)
    ]


def train_indices(
    num_total: int, *, num_frames: int, stride: int | None, rng: random.Random, stretch: bool = False
) -> list[int]:
    """Frame numbers of a training clip: a dense clip if ``stride`` is given, else one frame of each segment.

    ``stretch``: see `segment_indices`; a dense clip always wraps around in a shorter video.
    """
    if stride is None:
        return segment_indices(num_total, num_frames=num_frames, rng=rng, stretch=stretch)
    return dense_indices(num_total, num_frames=num_frames, stride=stride, rng=rng)


def eval_indices(
    num_total: int,
    *,
    num_frames: int,
    stride: int | None,
    num_views: int = 1,
    twice: bool = False,
    stretch: bool = False,
) -> list[int]:
    """Frame numbers of all test views: dense clips if ``stride`` is given, else one frame of each segment per view.

    ``stretch``: see `segment_indices`; a dense clip always wraps around in a shorter video.
    """
    if stride is None:
        return view_indices(num_total, num_frames=num_frames, num_views=num_views, twice=twice, stretch=stretch)
    return dense_view_indices(num_total, num_frames=num_frames, stride=stride, num_views=num_views, twice=twice)


def _num_starts(num_total: int, *, num_frames: int, stride: int) -> int:
    """Number of frames at which a dense clip can start; 1 for a video shorter than the clip."""
    assert num_total >= 1, num_total
    assert num_frames >= 1, num_frames
    assert stride >= 1, stride
    return max(1, num_total - num_frames * stride + 1)


def _clip(start: int, num_total: int, *, num_frames: int, stride: int) -> list[int]:
    return [(start + i * stride) % num_total for i in range(num_frames)]


def num_steps(num_clips: int, batch_size: int, *, keep_last: bool = False) -> int:
    """Number of steps per epoch: whole batches, and with ``keep_last`` one more for clips that are left over.

    Raises BadInput if there is not even one whole batch.
    """
    if num_clips < batch_size:
        raise BadInput(
            f"{num_clips} training clips are fewer than one batch: optim.batch_size is {batch_size}; "
            "lower it or add clips"
        )
    return num_clips // batch_size + (keep_last and num_clips % batch_size > 0)


def step_groups(order: Sequence[int], *, batch_size: int, num_groups: int, keep_last: bool = False) -> list[list[int]]:
    """The groups of an epoch, ``num_groups`` for each of its steps, as consecutive parts of ``order``.

    With ``keep_last``, clips that are left over after the last whole batch are one more step. It has as many groups, of
    equal size; the first clips of ``order`` fill them up, as torch's DistributedSampler does for equal shares.
    """
    whole = len(order) - len(order) % batch_size
    sizes = [batch_size // num_groups] * (whole // batch_size * num_groups)
    clips = list(order[:whole])
    if keep_last and whole < len(order):
        size = math.ceil((len(order) - whole) / num_groups)
        sizes += [size] * num_groups
        clips = [*order, *order[: sum(sizes) - len(order)]]
    ends = list(itertools.accumulate(sizes))
    return [clips[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def epoch_order(num_clips: int, *, data_seed: int, epoch: int) -> list[int]:
    """The order of the samples in a training epoch: a permutation of the clip numbers."""
    order = list(range(num_clips))
    random.Random(seed_of("order", data_seed, epoch)).shuffle(order)
    return order
