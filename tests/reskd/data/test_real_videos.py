"""Real surveillance clips of mixed sizes and frame rates, where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from reskd.data.annotations import load_annotations
from reskd.data.check import check_videos
from reskd.data.decode.dispatch import read_frames
from reskd.data.sampling import segment_indices
from reskd.recipe import DataSpec

FIGHTS = Path(__file__).parents[4] / "shared" / "data" / "fights"

pytestmark = pytest.mark.skipif(not FIGHTS.is_dir(), reason=f"the real clips are not in {FIGHTS}")


def test_every_real_clip_opens_and_the_classes_are_balanced() -> None:
    spec = DataSpec(name="fights", root=str(FIGHTS), num_frames=8)
    report = check_videos(spec, quick=True, workers=1, cache=None, on_progress=None)
    assert report.ok
    assert report.splits["train"].class_counts == {"fight": 35, "noFight": 35}
    assert report.splits["val"].class_counts == {"fight": 15, "noFight": 15}


def test_sampled_frames_of_real_clips_are_those_of_a_sequential_decode() -> None:
    records = load_annotations(DataSpec(name="fights", root=str(FIGHTS))).train
    for record in records[::10]:
        path = FIGHTS / record.path
        with av.open(str(path)) as container:
            every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        indices = segment_indices(len(every), num_frames=16, rng=None)
        sampled = read_frames(path, lambda num_frames: segment_indices(num_frames, num_frames=16, rng=None))
        np.testing.assert_array_equal(sampled, np.stack([every[index] for index in indices]))
