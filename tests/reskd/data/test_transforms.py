from __future__ import annotations

import collections
import random

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reskd.data import transforms
from reskd.data.transforms import (
    box_corners,
    box_sizes,
    draw_box,
    draw_resized_box,
    model_input,
    normalise,
    resize,
    resize_short_side,
    train_crop,
)
from reskd.recipe import DataSpec

SCALES = (1.0, 0.875, 0.75, 0.66)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def ramp(height: int, width: int) -> torch.Tensor:
    """One frame whose channels are its row, its column and 7, so that each pixel says where it came from."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows % 256, columns % 256, torch.full_like(rows, 7)]).to(torch.uint8)[None]


def test_the_crop_sizes_of_a_340_by_256_frame_are_these_ten():
    assert sorted(box_sizes(256, crop_size=224, scales=SCALES)) == [
        *[(168, 168), (168, 192)],
        *[(192, 168), (192, 192), (192, 224)],
        *[(224, 192), (224, 224), (224, 256)],
        *[(256, 224), (256, 256)],
    ]


def test_the_places_of_a_192_high_168_wide_crop_in_a_340_by_256_frame_are_these_thirteen():
    # 64 rows to spare in steps of 16, 172 columns in steps of 43
    assert sorted(box_corners(256 - 192, 340 - 168)) == [
        *[(0, 0), (0, 86), (0, 172)],
        *[(16, 43), (16, 129)],
        *[(32, 0), (32, 86), (32, 172)],
        *[(48, 43), (48, 129)],
        *[(64, 0), (64, 86), (64, 172)],
    ]


def test_steps_are_whole_pixels_so_the_far_corner_may_miss_the_edge_by_three():
    assert max(box_corners(7, 3)) == (4, 0)


def test_a_side_within_two_pixels_of_the_output_becomes_the_output():
    assert box_sizes(258, crop_size=224, scales=(0.875,)) == [(224, 224)]  # 225 by the scale
    assert box_sizes(255, crop_size=224, scales=(0.875,)) == [(224, 224)]  # 223 by the scale
    assert box_sizes(260, crop_size=224, scales=(0.875,)) == [(227, 227)]


@given(
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(1, 300),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_every_drawn_box_lies_inside_the_frame(height, width, crop_size, scales, seed):
    box = draw_box(height, width, crop_size=crop_size, scales=scales, rng=random.Random(seed))
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width
    assert min(box.height, box.width) >= 1


def test_sizes_and_places_are_drawn_equally_often():
    rng = random.Random(0)
    boxes = [draw_box(256, 340, crop_size=224, scales=SCALES, rng=rng) for _ in range(13_000)]
    sizes = collections.Counter((box.height, box.width) for box in boxes)
    assert len(sizes) == 10
    assert all(1120 < count < 1480 for count in sizes.values())  # 1300 by chance, five standard deviations
    smallest = collections.Counter((box.top, box.left) for box in boxes if (box.height, box.width) == (168, 168))
    assert len(smallest) == 13
    assert all(50 < count < 150 for count in smallest.values())


def test_a_random_resized_box_is_the_formula_of_its_four_draws():
    for seed in range(50):
        rng = random.Random(seed)
        while True:
            share, log_ratio = (
                0.08 + 0.92 * rng.random(),
                np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * rng.random(),
            )
            height = int(np.rint(np.sqrt(share * 256 * 340 / np.exp(log_ratio))))
            width = int(np.rint(np.sqrt(share * 256 * 340 * np.exp(log_ratio))))
            if height <= 256 and width <= 340:
                break
        corner = rng.randint(0, 256 - height), rng.randint(0, 340 - width)
        assert draw_resized_box(256, 340, rng=random.Random(seed)) == (*corner, height, width)


def test_random_resized_boxes_spread_over_areas_and_ratios_evenly():
    rng = random.Random(0)
    boxes = [draw_resized_box(1000, 1000, rng=rng) for _ in range(4000)]
    shares = np.array([box.height * box.width / 1e6 for box in boxes])
    ratios = np.array([box.width / box.height for box in boxes])
    assert 0.0795 < shares.min() < 0.09
    assert 0.745 < ratios.min() < 0.76
    assert 1.32 < ratios.max() < 1.342
    # Below half of the area every draw fits, so the quarters of (0.08, 0.5) are equally likely.
    counts, _ = np.histogram(shares, bins=np.linspace(0.08, 0.5, 5))
    assert counts.max() - counts.min() < 0.25 * counts.mean()


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 2**32 - 1))
def test_every_random_resized_box_lies_inside_the_frame(height, width, seed):
    box = draw_resized_box(height, width, rng=random.Random(seed))
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width
    assert min(box.height, box.width) >= 1


def test_a_frame_too_long_for_any_box_gives_its_centre_square():
    # The flattest box of the smallest area, 0.08 * 10 * 1000 at 4 : 3, is sqrt(600) = 24.5 pixels high
    boxes = {draw_resized_box(10, 1000, rng=random.Random(seed)) for seed in range(30)}
    assert boxes == {(0, 495, 10, 10)}


def test_a_random_resized_training_crop_is_the_box_resized_and_one_for_all_frames():
    spec = DataSpec(short_side=128, crop_size=64, crop="random_resized", flip=False)
    frames = ramp(128, 160).expand(3, -1, -1, -1)
    crop = train_crop(frames, spec=spec, rng=random.Random(5))
    box = draw_resized_box(128, 160, rng=random.Random(5))
    assert torch.equal(crop[0], crop[2])
    rows, columns = crop[0, 0].float(), crop[0, 1].float()
    # A pixel's centre in the crop is at (i + 0.5) * side / 64 - 0.5 of the box
    expected = box.left + (torch.arange(64) + 0.5) * box.width / 64 - 0.5
    assert (columns[32, 3:-3] - expected[3:-3]).abs().max() <= 1
    expected = box.top + (torch.arange(64) + 0.5) * box.height / 64 - 0.5
    assert (rows[3:-3, 32] - expected[3:-3]).abs().max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (256, 340, (256, 340)),
        (720, 1280, (256, 455)),
        (1280, 720, (455, 256)),
        (100, 100, (256, 256)),
        (3, 4, (256, 341)),
    ],
)
def test_the_short_side_takes_its_size_and_the_other_keeps_the_ratio(height, width, expected):
    frames = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    assert resize_short_side(frames, short_side=256).shape[-2:] == expected


def test_a_resize_that_changes_nothing_is_the_input_itself():
    frames = torch.zeros(2, 3, 256, 340, dtype=torch.uint8)
    assert resize_short_side(frames, short_side=256) is frames


def test_uint8_resizing_agrees_with_pillows_antialiased_bilinear():
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    ours = resize_short_side(torch.from_numpy(frame).permute(2, 0, 1)[None], short_side=48)[0].permute(1, 2, 0)
    theirs = np.asarray(Image.fromarray(frame).resize((85, 48), Image.Resampling.BILINEAR))
    assert np.abs(ours.numpy().astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(
    ("size", "target"),
    [((360, 640), (256, 455)), ((168, 300), (256, 457)), ((192, 168), (224, 224)), ((256, 256), (112, 112))],
)
def test_resizing_without_antialias_agrees_with_opencvs_bilinear(size, target):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours = resize(torch.from_numpy(frame).permute(2, 0, 1)[None], height=target[0], width=target[1], resample="opencv")
    theirs = cv2.resize(frame, target[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(ours[0].permute(1, 2, 0).numpy().astype(int) - theirs).max() <= 1


def test_every_resize_of_a_clip_is_by_the_recipes_resampler():
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 90, 160), dtype=np.uint8))
    spec = DataSpec(short_side=48, crop_size=32, resample="opencv", flip=False)
    whole = torch.stack(
        [torch.from_numpy(cv2.resize(frame.permute(1, 2, 0).numpy(), (85, 48))).permute(2, 0, 1) for frame in frames]
    )
    centre = transforms.test_crop(frames, spec=spec)
    assert (centre.int() - whole[..., 8:40, 26:58].int()).abs().max() <= 1
    rng = random.Random(5)
    box = transforms.draw_box(48, 85, crop_size=32, scales=spec.crop_scales, rng=random.Random(5))
    cut = whole[..., box.top : box.top + box.height, box.left : box.left + box.width]
    expected = torch.stack(
        [torch.from_numpy(cv2.resize(part.permute(1, 2, 0).numpy(), (32, 32))).permute(2, 0, 1) for part in cut]
    )
    assert (train_crop(frames, spec=spec, rng=rng).int() - expected.int()).abs().max() <= 2  # a grey level a resize


def test_the_layout_of_the_frames_in_memory_changes_no_byte():
    frames = torch.randint(0, 256, (2, 60, 80, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    spec = DataSpec(short_side=50, crop_size=32)
    crops = [train_crop(f, spec=spec, rng=random.Random(3)) for f in (frames, frames.contiguous())]
    assert torch.equal(*crops)


def test_the_test_crop_is_the_centre_of_the_short_side_resize():
    spec = DataSpec(short_side=256, crop_size=224)
    crop = transforms.test_crop(ramp(256, 340), spec=spec)
    assert crop.shape == (1, 3, 224, 224)
    assert torch.equal(crop, ramp(256, 340)[..., 16:240, 58:282])


def test_a_training_crop_of_full_size_is_a_cut_at_one_of_the_places_and_mirrored_half_of_the_time():
    spec = DataSpec(short_side=128, crop_size=96, crop_scales=(0.75,))
    frames = ramp(128, 160).expand(3, -1, -1, -1)
    num_mirrored = 0
    for seed in range(200):
        crop = train_crop(frames, spec=spec, rng=random.Random(seed))
        assert torch.equal(crop[0], crop[2])  # one choice for all frames of a clip
        is_mirrored = bool(crop[0, 1, 0, 0] > crop[0, 1, 0, 1])
        num_mirrored += is_mirrored
        plain = crop.flip(-1) if is_mirrored else crop
        top, left = int(plain[0, 0, 0, 0]), int(plain[0, 1, 0, 0])
        assert (top, left) in box_corners(32, 64)
        assert torch.equal(plain, frames[..., top : top + 96, left : left + 96])
    assert 65 < num_mirrored < 135


def test_without_flip_no_training_crop_is_mirrored():
    spec = DataSpec(short_side=64, crop_size=64, flip=False)
    for seed in range(50):
        crop = train_crop(ramp(64, 80), spec=spec, rng=random.Random(seed))
        assert crop[0, 1, 0, 0] < crop[0, 1, 0, -1]


@given(st.integers(8, 90), st.integers(8, 90), st.integers(8, 40), st.integers(0, 10), st.integers(0, 2**32 - 1))
def test_both_crops_have_the_asked_size_whatever_the_video(height, width, crop_size, margin, seed):
    spec = DataSpec(short_side=crop_size + margin, crop_size=crop_size)
    frames = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    for crop in (train_crop(frames, spec=spec, rng=random.Random(seed)), transforms.test_crop(frames, spec=spec)):
        assert crop.shape == (2, 3, crop_size, crop_size)
        assert crop.dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_normalise_is_the_formula_per_channel(dtype):
    clips = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 4, 3, 16, 16)
    before = clips.clone()
    normalised = normalise(clips, dtype=dtype)
    assert normalised.dtype == dtype
    assert torch.equal(clips, before)
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (clips[:, :, channel].double() / 255 - mean) / std
        tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 2**-8}[dtype]
        torch.testing.assert_close(normalised[:, :, channel].double(), expected, rtol=tolerance, atol=tolerance)


def test_a_view_of_half_the_size_is_the_mean_of_two_by_two_pixels():
    clips = torch.randn(2, 3, 3, 224, 224)
    halves = clips.reshape(2, 3, 3, 112, 2, 112, 2).mean(dim=(4, 6))
    torch.testing.assert_close(model_input(clips, resolution=112, antialias=False), halves, rtol=0, atol=1e-6)


def test_a_view_of_a_quarter_of_the_size_skips_pixels_unless_antialiased():
    clips = torch.zeros(1, 1, 3, 8, 8)
    clips[..., 0, 0] = 1.0  # outside the 2 x 2 pixels around the centre of the 4 x 4
    assert model_input(clips, resolution=2, antialias=False).abs().max() == 0
    assert model_input(clips, resolution=2, antialias=True)[0, 0, 0, 0, 0] > 0


def test_a_view_at_the_crops_own_size_is_the_input_and_an_empty_batch_stays_empty():
    clips = torch.randn(1, 2, 3, 16, 16)
    assert model_input(clips, resolution=16, antialias=True) is clips
    assert model_input(clips[:0], resolution=8, antialias=False).shape == (0, 2, 3, 8, 8)
