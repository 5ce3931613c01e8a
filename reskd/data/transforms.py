"""From decoded frames to a model's input: resize and crop uint8 on the CPU, then normalise and resize on the device."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from reskd.normalisation import IMAGENET, Normalisation
from reskd.recipe import DataSpec, Resample

AREA_SHARES = (0.08, 1.0)
"""Smallest and largest share of the frame's area for a random resized crop."""
SIDE_RATIOS = (3 / 4, 4 / 3)
"""Smallest and largest ratio of width to height of a random resized crop."""
NUM_ATTEMPTS = 10
"""Attempts to fit a random resized crop into the frame. After that, the largest centre square is used."""


class Box(NamedTuple):
    """A rectangle of pixels inside a frame."""

    top: int
    left: int
    height: int
    width: int


def train_crop(frames: Tensor, *, spec: DataSpec, rng: random.Random) -> Tensor:
    """uint8 (T, C, H, W) -> uint8 (T, C, S, S): short-side resize, random crop and flip, the same for all frames."""
    resample = spec.resample
    frames = resize_short_side(frames, short_side=spec.short_side, resample=resample)
    if spec.crop == "random_resized":
        box = draw_resized_box(*frames.shape[-2:], rng=rng)
    else:
        box = draw_box(*frames.shape[-2:], crop_size=spec.crop_size, scales=spec.crop_scales, rng=rng)
    frames = resize(_cut(frames, box), height=spec.crop_size, width=spec.crop_size, resample=resample)
    return frames.flip(-1) if spec.flip and rng.random() < 0.5 else frames


def test_crop(frames: Tensor, *, spec: DataSpec) -> Tensor:
    """uint8 (T, C, H, W) -> uint8 (T, C, S, S): short-side resize, centre crop."""
    return view_crops(frames, spec=spec, num_crops=1)[0]


test_crop.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test


def view_crops(frames: Tensor, *, spec: DataSpec, num_crops: int) -> list[Tensor]:
    """uint8 (T, C, H, W) -> list of ``num_crops`` crops, each uint8 (T, C, S, S), after the short-side resize.

    1: the centre crop. 3: the two ends and the centre of the long side, in the middle of the short side. Their order is
    left to right, or top to bottom for a frame that is taller than wide.
    """
    assert num_crops in (1, 3), num_crops
    frames = resize_short_side(frames, short_side=spec.short_side, resample=spec.resample)
    size = spec.crop_size
    spare_height, spare_width = (side - size for side in frames.shape[-2:])
    top, left = spare_height // 2, spare_width // 2
    if num_crops == 1:
        places = [(top, left)]
    elif spare_height > spare_width:
        places = [(0, left), (top, left), (spare_height, left)]
    else:
        places = [(top, 0), (top, left), (top, spare_width)]
    return [_cut(frames, Box(*place, size, size)) for place in places]


def resize_short_side(frames: Tensor, *, short_side: int, resample: Resample = "antialias") -> Tensor:
    """Resize so that the shorter side has ``short_side`` pixels. The aspect ratio is kept to the nearest pixel."""
    height, width = frames.shape[-2:]
    shorter = min(height, width)
    # side * short_side / shorter, rounded half up in integers
    height, width = ((2 * side * short_side + shorter) // (2 * shorter) for side in (height, width))
    return resize(frames, height=height, width=width, resample=resample)


def small_image(image: NDArray[np.uint8], *, short_side: int, resample: Resample) -> NDArray[np.uint8]:
    """`resize_short_side` of one frame, uint8 (H, W, 3) -> (h, w, 3): the same bits as of all frames together."""
    pixels = torch.from_numpy(np.require(image, requirements=("C", "W"))).permute(2, 0, 1)[None]
    small = resize_short_side(pixels, short_side=short_side, resample=resample)[0]
    return np.ascontiguousarray(small.permute(1, 2, 0).numpy())


def draw_box(height: int, width: int, *, crop_size: int, scales: Sequence[float], rng: random.Random) -> Box:
    """Draw a multi-scale crop of a frame: a size from ``box_sizes``, then a place from ``box_corners``."""
    box_height, box_width = rng.choice(box_sizes(min(height, width), crop_size=crop_size, scales=scales))
    top, left = rng.choice(box_corners(height - box_height, width - box_width))
    return Box(top, left, box_height, box_width)


def draw_resized_box(height: int, width: int, *, rng: random.Random) -> Box:
    """Draw the random resized crop of Inception (Szegedy et al. 2015), as torchvision and mmaction2 do.

    The share of the area is uniform in AREA_SHARES; the ratio of the sides is log-uniform in SIDE_RATIOS. Sides are
    rounded to whole pixels, and the place is uniform. If NUM_ATTEMPTS draws do not fit, it takes the largest centre
    square.
    """
    for _ in range(NUM_ATTEMPTS):
        area = rng.uniform(*AREA_SHARES) * height * width
        ratio = math.exp(rng.uniform(math.log(SIDE_RATIOS[0]), math.log(SIDE_RATIOS[1])))
        box_height, box_width = max(1, round(math.sqrt(area / ratio))), max(1, round(math.sqrt(area * ratio)))
        if box_height <= height and box_width <= width:
            return Box(rng.randint(0, height - box_height), rng.randint(0, width - box_width), box_height, box_width)
    shorter = min(height, width)
    return Box((height - shorter) // 2, (width - shorter) // 2, shorter, shorter)


def box_sizes(shorter: int, *, crop_size: int, scales: Sequence[float]) -> list[tuple[int, int]]:
    """All (height, width) of the multi-scale crop, equally likely. Sides are shares of the frame's shorter side.

    Both sides use the same scale or neighbours in the list (mmaction2's ``max_wh_scale_gap`` 1). A side less than
    3 pixels from ``crop_size`` becomes ``crop_size``, which saves a resize (as in mmaction2).
    """
    sides = [max(1, int(shorter * scale)) for scale in scales]
    sides = [min(crop_size, shorter) if abs(side - crop_size) < 3 else side for side in sides]
    return [(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1]


def box_corners(spare_height: int, spare_width: int) -> list[tuple[int, int]]:
    """The 13 (top, left) places of a box, equally likely. The arguments are frame size minus box size, in pixels.

    The places lie on a 5 x 5 lattice of whole-pixel steps. Row and column are both even (corners, edge middles and
    centre: 9 places) or both odd (quarters: 4 places), as in mmaction2's ``num_fixed_crops`` 13.
    """
    step_down, step_right = spare_height // 4, spare_width // 4
    return [(row * step_down, col * step_right) for row in range(5) for col in range(5) if row % 2 == col % 2]


def normalise(clips: Tensor, *, dtype: torch.dtype, by: Normalisation = IMAGENET) -> Tensor:
    """uint8 (..., 3, H, W) -> the same shape in ``dtype`` on the same device: (x / 255 - mean) / std.

    The computation uses at least float32, whatever ``dtype`` is.
    """
    assert clips.dtype == torch.uint8, clips.dtype
    precise = torch.promote_types(dtype, torch.float32)
    mean, std = _mean_and_std(by, clips.device, precise)
    return clips.to(precise).sub_(mean).div_(std).to(dtype)


def model_input(clips: Tensor, *, resolution: int, antialias: bool, enlarge_to: int | None = None) -> Tensor:
    """The input of a model of that resolution: float (B, T, 3, S, S) -> (B, T, 3, r, r), bilinear, on the same device.

    With ``enlarge_to``, the r x r frames are then enlarged to that many pixels, also bilinear.

    Without antialias, the resize samples pixels, as the official code does: at r = S / 2 each output is the mean of
    2 x 2 pixels; at a smaller r some pixels are skipped. At r = S the output is the input itself.
    """
    seen = _square(clips, size=resolution, antialias=antialias)
    return seen if enlarge_to is None else _square(seen, size=enlarge_to, antialias=False)


def _square(clips: Tensor, *, size: int, antialias: bool) -> Tensor:
    if size == clips.shape[-1]:
        return clips
    resized = F.interpolate(
        clips.flatten(0, 1),  # (B, T, 3, S, S) -> (B * T, 3, S, S)
        size=(size, size),
        mode="bilinear",
        align_corners=False,
        antialias=antialias,
    )
    return resized.unflatten(0, clips.shape[:2])


@functools.lru_cache(maxsize=8)
def _mean_and_std(by: Normalisation, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and std on the scale 0..255, each (3, 1, 1). Cached, since a new copy to the GPU would delay every group."""
    scaled = torch.tensor(by, dtype=torch.float64) * 255
    mean, std = scaled.to(device=device, dtype=dtype)[:, :, None, None]
    return mean, std


def _cut(frames: Tensor, box: Box) -> Tensor:
    return frames[..., box.top : box.top + box.height, box.left : box.left + box.width]


def resize(frames: Tensor, *, height: int, width: int, resample: Resample = "antialias") -> Tensor:
    """Bilinear resize of uint8 frames in integer arithmetic, skipped if the size is right.

    Without antialias each pixel is a mean of its four neighbours, as in cv2.resize with INTER_LINEAR, up to 1 of 255.
    """
    if frames.shape[-2:] == (height, width):
        return frames
    antialias = resample == "antialias"
    return F.interpolate(frames, size=(height, width), mode="bilinear", align_corners=False, antialias=antialias)
