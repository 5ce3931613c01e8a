"""Which frames of a video make a clip, and the seed of every random choice; integers only, no video."""

from __future__ import annotations

import hashlib
import json
import random


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


def view_indices(num_total: int, *, num_frames: int, num_views: int) -> list[int]:
    """The frames of ``num_views`` test views of a video, one view after another, each over the whole video.

    View v takes from each of the equal, fractional segments the frame at (v + 0.5) / num_views of it, so one view is
    ``segment_indices`` of test, and all views together are that of num_frames * num_views frames. A video shorter than
    ``num_frames`` is looped, the same in every view.
    """
    assert num_views >= 1, num_views
    if num_total < num_frames:
        return segment_indices(num_total, num_frames=num_frames, rng=None) * num_views
    every = num_frames * num_views
    # (i + (v + 0.5) / num_views) * num_total / num_frames rounded down, without floats
    return [
        (2 * (num_views * i + v) + 1) * num_total // (2 * every) for v in range(num_views) for i in range(num_frames)
    ]
