"""Reads a clip from a folder of .jpg or .png frames, in the natural order of their names: img_2 before img_10.

Pillow decodes them, because decode_png of torchvision 0.29 crashes the process on a damaged file.
"""

from __future__ import annotations

import io
import operator
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from reskd.data.decode.limits import check_frames, check_pixels
from reskd.data.decode.types import Indices, Keep, Kept, Once, Rows, Survey, VideoInfo, whole
from reskd.errors import DecodeError, VideoOpenError, VideoReadError

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Pillow's modes with 8 bits or fewer. Pillow would clip deeper pixels at 255."""

ORIENTATION = ExifTags.Base.Orientation


def frame_names(folder: Path) -> list[str]:
    """Names of the frames in a folder, in order. Hidden files, other files and subfolders are ignored."""
    names = [name for name in os.listdir(folder) if _is_frame(name)]
    return sorted(names, key=lambda name: ([_digits(part) for part in re.split(r"([0-9]+)", name)], name))


def holds_only_frames(folder: Path, *, videos: frozenset[str]) -> bool:
    """Whether a folder is a clip: it holds frames, no subfolder and no file with a suffix in ``videos``."""
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
    others = any(entry.is_dir() or Path(entry.name).suffix.lower() in videos for entry in seen)
    return not others and any(_is_frame(entry.name) for entry in seen)


def read_frames(path: Path, indices: Indices, *, keep: Keep = whole) -> NDArray[np.uint8]:
    """See `dispatch.read_frames`. Index i is the i-th frame in order; the number in its name does not matter."""
    names = _whole(path)
    numbers = [operator.index(index) for index in (indices(len(names)) if callable(indices) else indices)]
    assert numbers, "no frame was asked for"
    for number in (min(numbers), max(numbers)):
        if not 0 <= number < len(names):
            raise VideoReadError(str(path), f"frame {number} was asked for, but the folder has {len(names)} frames")
    each = list(dict.fromkeys(numbers))
    rows = Rows(numbers, keep=keep)
    for number, image in zip(each, _decode(path, [names[number] for number in each]), strict=True):
        rows.take(number, image)
    return rows.frames()


def read_once(
    path: Path, choose: Callable[[int], Sequence[int]], keep: Callable[[NDArray[np.uint8]], Kept]
) -> Once[Kept]:
    """Apply `keep` to each frame that `choose` selects, in the folder's order. Other frames are not decoded."""
    names = _whole(path)
    numbers = sorted(set(choose(len(names))))
    decoded = _decode(path, [names[number] for number in numbers])
    return Once(len(names), None, [(number, None, keep(image)) for number, image in zip(numbers, decoded, strict=True)])


def probe(path: Path) -> VideoInfo:
    """See `dispatch.probe`. The codec is the file format of the first frame."""
    names = _whole(path)
    height, width, _ = next(_decode(path, names)).shape
    codec = "png" if names[0].lower().endswith(".png") else "jpeg"
    return VideoInfo(num_frames=len(names), height=height, width=width, codec=codec)


def survey(path: Path, *, quick: bool) -> Survey:
    """See `dispatch.survey`. Frames missing from the numbering count as claimed."""
    names = _some(path)
    num_missing, reason = _gap(names)
    if quick or reason:
        return Survey(num_claimed=len(names) + num_missing, num_decoded=len(names), reason=reason)
    num_decoded = 0
    try:
        for _ in _decode(path, names):
            num_decoded += 1
    except VideoReadError as error:
        reason = error.reason
    return Survey(num_claimed=len(names), num_decoded=num_decoded, reason=reason)


def _is_frame(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(FRAME_SUFFIXES)


def _digits(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isascii() and part.isdigit() else (-1, part)


def _some(folder: Path) -> list[str]:
    """The names of a folder's frames. Raises VideoOpenError if there are none."""
    names = frame_names(folder)
    if not names:
        raise VideoOpenError(str(folder), f"a folder without frames; looked for {' '.join(FRAME_SUFFIXES)}")
    check_frames(folder, len(names))
    return names


def _whole(folder: Path) -> list[str]:
    """The names of a folder's frames. Raises VideoReadError if their numbering has a gap."""
    names = _some(folder)
    _, reason = _gap(names)
    if reason:
        raise VideoReadError(str(folder), reason)
    return names


def _gap(names: list[str]) -> tuple[int, str]:
    """How many frames are missing, and a text that says where; (0, "") if none.

    It is known only for names with one common prefix and evenly spaced numbers.
    """
    parts = [re.fullmatch(r"(.*?)([0-9]+)\.[^.]+", name) for name in names]
    if None in parts or len({part[1] for part in parts if part}) > 1:
        return 0, ""
    numbers = [int(part[2]) for part in parts if part]
    steps = [after - before for before, after in pairwise(numbers)]
    if not steps or min(steps) == max(steps) > 0:
        return 0, ""
    at = steps.index(0) if 0 in steps else next(i for i, step in enumerate(steps) if step > min(steps))
    pair = f"{names[at]} and {names[at + 1]}"
    if 0 in steps:
        return 0, f"{pair} have one number; keep one of them"
    return (numbers[-1] - numbers[0]) // min(steps) + 1 - len(names), f"a frame is missing between {pair}"


def _decode(folder: Path, names: list[str]) -> Iterator[NDArray[np.uint8]]:
    """Yield these frames as RGB (H, W, 3). Raises VideoReadError if their sizes differ."""
    size: tuple[int, ...] | None = None
    for name in names:
        frame = _decode_one(folder, name)
        size = size or frame.shape
        if frame.shape != size:
            sizes = f"{names[0]} is {size[1]}x{size[0]}, {name} is {frame.shape[1]}x{frame.shape[0]}"
            raise VideoReadError(str(folder), f"frames differ in size: {sizes}")
        yield frame


def _decode_one(folder: Path, name: str) -> NDArray[np.uint8]:
    content = (folder / name).read_bytes()  # outside the try: a file-system error stays an OSError
    if not content:
        raise VideoReadError(str(folder), f"frame {name}: the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            check_pixels(folder / name, width=image.width, height=image.height)
            if image.mode in EIGHT_BIT_MODES:
                return np.asarray(_upright(image.convert("RGB")))
            reason = f"its pixels ({image.mode}) have more than 8 bits"
    except DecodeError:
        raise
    except Exception as error:  # Pillow raises many types; all are due to the content, which is already read
        raise VideoReadError(str(folder), f"frame {name} does not decode: {error}") from error
    raise VideoReadError(str(folder), f"frame {name}: {reason}")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its Exif data say."""
    try:
        is_turned = image.getexif().get(ORIENTATION, 1) != 1
    except Exception:  # Exif data that do not parse, which no viewer minds
        return image
    return ImageOps.exif_transpose(image) if is_turned else image
