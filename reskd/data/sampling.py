"""Which frames of a video make a clip, and the seed of every random choice; integers only, no video."""

from __future__ import annotations

import hashlib
import json
import random

from reskd.errors import BadInput


def seed_of(*key: str | int) -> int:
    """A 32-bit seed for a random generator, the same on every machine; distinct keys get unrelated seeds.

    It is the first four bytes, big endian, of the sha256 of the key as a JSON list. The list keeps ``("ab", 1)`` apart
    from ``("a", "b1")``; 32 bits are all that torch's CPU generator reads.
    """
    digest = hashlib.sha256(json.dumps(list(key)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def segment_indices(num_total: int, *, num_frames: int, rng: random.Random | None) -> list[int]:
    """One frame from each of ``num_frames`` uniform segments of a video of ``num_total`` frames, ascending.

    With ``rng`` (training) a uniform draw from each segment, all of the whole length ``num_total // num_frames``, so
    that up to ``num_frames - 1`` frames at the end are never drawn (ResKD's recipe). Without (test) the middle of each
    of the equal, fractional segments. A video shorter than ``num_frames`` is looped, in both.
    """
    assert num_total >= 1, num_total
    assert num_frames >= 1, num_frames
    if num_total < num_frames:
        return [i % num_total for i in range(num_frames)]
    if rng is not None:
        length = num_total // num_frames
        return [i * length + rng.randrange(length) for i in range(num_frames)]
    # (i + 0.5) * num_total / num_frames rounded down, without floats
    return [(2 * i + 1) * num_total // (2 * num_frames) for i in range(num_frames)]


def view_indices(num_total: int, *, num_frames: int, num_views: int, twice: bool = False) -> list[int]:
    """The frames of ``num_views`` test views of a video, one view after another, each over the whole video.

    View v takes from each of the equal, fractional segments the frame at (v + 0.5) / num_views of it, so one view is
    ``segment_indices`` of test, and all views together are that of num_frames * num_views frames. With ``twice`` as
    many views follow that take the frame at v / num_views: of one view the segments' first frames, as mmaction2's
    ``twice_sample`` does. A video shorter than ``num_frames`` is looped, the same in every view.
    """
    assert num_views >= 1, num_views
    if num_total < num_frames:
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
    """A training clip: every ``stride``-th frame from a uniformly drawn start on, ``num_frames`` of them.

    The clip spans num_frames * stride frames, its last stride too, and lies inside the video; in a shorter video it
    starts at frame 0 and goes round (mmaction2's SampleFrames with one clip).
    """
    start = rng.randrange(_num_starts(num_total, num_frames=num_frames, stride=stride))
    return _clip(start, num_total, num_frames=num_frames, stride=stride)


def dense_view_indices(
    num_total: int, *, num_frames: int, stride: int, num_views: int, twice: bool = False
) -> list[int]:
    """The frames of ``num_views`` test clips spread evenly over a video, one clip after another.

    The places where a clip can start are cut into num_views equal, fractional parts; clip v starts in the middle of
    part v, and with ``twice`` as many clips follow that start at the parts' beginnings (mmaction2's SampleFrames in
    test mode). One view is the clip in the middle. In a video shorter than a clip all start at frame 0 and go round.
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


def train_indices(num_total: int, *, num_frames: int, stride: int | None, rng: random.Random) -> list[int]:
    """The frames of a training clip: of a dense one with a stride, else one frame of each segment."""
    if stride is None:
        return segment_indices(num_total, num_frames=num_frames, rng=rng)
    return dense_indices(num_total, num_frames=num_frames, stride=stride, rng=rng)


def eval_indices(
    num_total: int, *, num_frames: int, stride: int | None, num_views: int = 1, twice: bool = False
) -> list[int]:
    """The frames of all test views: dense clips with a stride, else views of segments."""
    if stride is None:
        return view_indices(num_total, num_frames=num_frames, num_views=num_views, twice=twice)
    return dense_view_indices(num_total, num_frames=num_frames, stride=stride, num_views=num_views, twice=twice)


def _num_starts(num_total: int, *, num_frames: int, stride: int) -> int:
    """Frames that a dense clip can start at; 1 in a video that is too short for more."""
    assert num_total >= 1, num_total
    assert num_frames >= 1, num_frames
    assert stride >= 1, stride
    return max(1, num_total - num_frames * stride + 1)


def _clip(start: int, num_total: int, *, num_frames: int, stride: int) -> list[int]:
    return [(start + i * stride) % num_total for i in range(num_frames)]


def num_steps(num_clips: int, batch_size: int) -> int:
    """Steps of an epoch: its whole batches."""
    if num_clips < batch_size:
        raise BadInput(
            f"{num_clips} training clips are fewer than one batch: optim.batch_size is {batch_size}; "
            "lower it or add clips"
        )
    return num_clips // batch_size


def epoch_order(num_clips: int, *, data_seed: int, epoch: int) -> list[int]:
    """The samples of a training epoch in the order in which batches take them: a permutation."""
    order = list(range(num_clips))
    random.Random(seed_of("order", data_seed, epoch)).shuffle(order)
    return order
