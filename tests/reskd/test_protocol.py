"""Names of protocols, and their sizes beside those of training."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.errors import BadInput
from reskd.protocol import Protocol, parse_protocol
from reskd.recipe import DataSpec, EvalSpec, ModelSpec, Recipe

SIZES = st.none() | st.integers(200, 400)


@given(
    frames=st.integers(1, 64),
    stride=st.none() | st.integers(1, 16),
    views=st.integers(1, 10),
    crops=st.sampled_from((1, 3)),
    twice=st.booleans(),
    short_side=st.none() | st.integers(400, 600),
    crop_size=SIZES,
)
def test_a_name_is_read_back(
    frames: int, stride: int | None, views: int, crops: int, twice: bool, short_side: int | None, crop_size: int | None
) -> None:
    protocol = Protocol("val", frames, views, crops, stride, twice, short_side, crop_size)
    assert parse_protocol(protocol.name) == protocol


def test_the_official_tests_have_these_names_and_words() -> None:
    slow = Protocol(num_frames=8, stride=8, num_views=10, num_crops=3, short_side=224)
    assert slow.name == "val-f8s8-v10x3-r224"
    assert slow.words == (
        "8 frames of stride 8, 10 temporal views x 3 crops, short side 224 px, their softmax averaged"
    )
    tsm = Protocol(num_frames=8, num_crops=3, twice=True, crop_size=256)
    assert tsm.name == "val-f8-v1x3-twice-c256"
    assert tsm.to_dict() == {"split": "val", "num_frames": 8, "views": 1, "crops": 3, "crop_size": 256, "twice": True}
    assert tsm.with_sizes(short_side=256, crop_size=224).name == "val-f8-v1x3-twice-r256-c256"


def test_sizes_that_are_trainings_own_are_not_named() -> None:
    """Else one test would have two names, and a validation would not count as the final test."""
    recipe = Recipe(eval=EvalSpec(short_side=256, crop_size=224))
    assert recipe.test_protocol == Recipe().test_protocol
    assert replace(recipe, eval=EvalSpec(short_side=224)).test_protocol.name == "val-f16-v1x1-r224"


def test_a_crop_larger_than_the_frame_is_refused() -> None:
    with pytest.raises(BadInput, match=r"eval\.short_side.*at least the crop of the final test \(256.*got 240"):
        Recipe(data=DataSpec(short_side=240), eval=EvalSpec(crop_size=256))
    with pytest.raises(BadInput, match=r"eval\.short_side.*224.*got 200"):
        Recipe(eval=EvalSpec(short_side=200))
    with pytest.raises(BadInput, match="short side must be at least its crop size 256, got 224"):
        Protocol(short_side=224, crop_size=256)


@pytest.mark.parametrize(("resolution", "seen"), [(224, 256), (112, 128), (56, 64)])
def test_a_larger_crop_is_seen_by_a_larger_input(resolution: int, seen: int) -> None:
    """mmaction2's ThreeCrop(256) of a network for 224 pixels gives it 256 pixels, not 256 shrunk to 224."""
    assert ModelSpec(resolution=resolution).at_crop(256, trained_at=224).input_size == seen


def test_an_enlarged_input_grows_with_the_crop_too() -> None:
    grown = ModelSpec(resolution=112, enlarge_to=224).at_crop(256, trained_at=224)
    assert (grown.resolution, grown.enlarge_to) == (128, 256)
    assert ModelSpec(resolution=112).at_crop(224, trained_at=224) == ModelSpec(resolution=112)
