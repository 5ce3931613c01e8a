"""Makes pictures of a stream's frames as a player shows them: upright, with square pixels, all of one size.

A file says in several places how its frames are shown: the display matrix (turned and mirrored), the shape of a pixel,
the part of the picture that is shown, and the size of each frame. The rules are those of the ffmpeg program, except
where a docstring says otherwise.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reskd.data.decode.container_facts import Edit, track_facts
from reskd.data.decode.limits import check_pixels
from reskd.errors import VideoOpenError, VideoReadError

RULES = 3
"""The version of the rules by which files are read. 1, the first one, heeded quarter turns alone; 2 also took frames
that the decoder marks as damaged."""
CONVERSION_ERRORS = (av.FFmpegError, ValueError)
MAX_TILT = math.tan(math.radians(1))
"""A display matrix within one degree of a quarter turn is one. It has this much beside its large numbers at most."""
ROUNDING = 0.01
"""Pixels are square up to this difference: encoders that keep the shape of the picture round its size to whole pixels,
and write the rest as the shape of a pixel."""
SPEED_ROUNDING = 0.001
MAX_PIXEL_RATIO = 4
"""No known format has pixels that are wider or higher than this. A larger ratio is an error in the file."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to lay a picture: rows and columns exchanged or not, then mirrored or not."""

    is_transposed: bool = False
    mirrors_columns: bool = False
    """Left and right change places."""
    mirrors_rows: bool = False
    """Top and bottom change places."""

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the turn; a second turn of the same kind gives the first size again."""
        return (height, width) if self.is_transposed else (width, height)

    def turned(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) as stored -> (H, W, 3) or (W, H, 3) as shown, a view of the same memory."""
        if self.is_transposed:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.mirrors_rows else 1, :: -1 if self.mirrors_columns else 1]


UPRIGHT = Orientation()


def orientation(matrix: Sequence[float]) -> Orientation:
    """The orientation of a display matrix, (a, b, u, c, d, v, x, y, w): the pixel at column p and row q is shown at
    column a*p + c*q and row b*p + d*q (FFmpeg, libavutil/display.h). A matrix of zeros says nothing.

    Raises ValueError for another angle than a quarter turn; the ffmpeg program would turn the picture into a frame of
    the old size with black corners.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if a == b == c == d == 0:
        return UPRIGHT
    if max(abs(b), abs(c)) <= MAX_TILT * min(abs(a), abs(d)):
        return Orientation(mirrors_columns=a < 0, mirrors_rows=d < 0)
    if max(abs(a), abs(d)) <= MAX_TILT * min(abs(b), abs(c)):
        return Orientation(is_transposed=True, mirrors_columns=c < 0, mirrors_rows=b < 0)
    raise ValueError(
        f"it is shown turned by {math.degrees(math.atan2(b, a)):.0f} degrees; only quarter turns and mirror images are "
        "read: encode it upright"
    )


def clockwise(degrees: float) -> tuple[float, ...]:
    """The display matrix of a turn, as far as `orientation` needs it."""
    turn = math.radians(degrees)
    return (math.cos(turn), math.sin(turn), 0, -math.sin(turn), math.cos(turn))


class Presentation:
    """The pictures of one stream. Frame 0 must be seen first, since its size is that of all pictures."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        """Raises VideoOpenError if the file has an edit list that FFmpeg does not follow."""
        self._path = str(path)
        facts = track_facts(path, container=container.format.name, track=stream.id, index=stream.index)
        wrong = _not_followed(facts.edits)
        if wrong:
            raise VideoOpenError(self._path, f"its edit list {wrong}; encode it as it is to be seen")
        self._crop = facts.crop
        self._pixel_ratio = _pixel_ratio(stream)
        self._rotate_tag = _rotate_tag(stream)
        self._size: tuple[int, int] | None = None
        self._kinds: set[tuple[object, ...]] = set()
        self._converter = VideoReformatter()  # shared by all frames: half the time of one per frame

    def see(self, number: int, frame: VideoFrame) -> None:
        """Take the size of the first frame that is seen. Raises VideoReadError as `picture` does, and VideoOpenError
        if it is too large."""
        if self._size is None:
            left, right, top, bottom = self._crop
            width, height = frame.width - left - right, frame.height - top - bottom
            width, height = self._square(number, width, height)
            check_pixels(self._path, width=width, height=height)
            self._size = self._orientation(number, frame).size(width, height)

    def picture(self, number: int, frame: VideoFrame) -> NDArray[np.uint8]:
        """RGB (H, W, 3). A frame with other pixels or of another size than frame 0 is resized to it, bicubically.

        Raises VideoReadError that names the frame if it cannot be shown as the file says.
        """
        self.see(number, frame)
        assert self._size is not None
        orientation = self._orientation(number, frame)
        try:
            return orientation.turned(self._rgb(frame, *orientation.size(*self._size)))
        except CONVERSION_ERRORS as error:
            reason = f"pixels of format {frame.format.name} do not convert to RGB: {error}"
            raise self._refused(number, reason) from error

    def _rgb(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """The shown part of a frame, as stored but for its size."""
        if any(self._crop):
            left, right, top, bottom = self._crop
            image = cast("NDArray[np.uint8]", self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray())
            part = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(part), format="rgb24")
        if (width, height) == (frame.width, frame.height):
            rgb = self._converter.reformat(frame, format="rgb24", threads=1)
        else:
            rgb = self._converter.reformat(
                frame, width=width, height=height, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
            )
        return cast("NDArray[np.uint8]", rgb.to_ndarray())

    def check(self, number: int, frame: VideoFrame) -> None:
        """Raise VideoReadError where `picture` would. Only one frame of each format, size and orientation is tried."""
        kind = (frame.format.name, frame.width, frame.height, self._orientation(number, frame))
        if kind not in self._kinds:
            self.picture(number, frame)
            self._kinds.add(kind)

    def _orientation(self, number: int, frame: VideoFrame) -> Orientation:
        """What the display matrix says if there is one, else the `rotate` tag."""
        try:
            matrix = _display_matrix(frame)
            return orientation(clockwise(self._rotate_tag) if matrix is None else matrix)
        except ValueError as error:
            raise self._refused(number, str(error)) from error

    def _square(self, number: int, width: int, height: int) -> tuple[int, int]:
        """The size with square pixels. The side with fewer pixels for its length grows, so that no pixel is lost."""
        ratio = self._pixel_ratio
        if abs(ratio - 1) <= ROUNDING:
            return width, height
        if not Fraction(1, MAX_PIXEL_RATIO) <= ratio <= MAX_PIXEL_RATIO:
            shape = f"{ratio.numerator}:{ratio.denominator}"
            raise self._refused(number, f"its pixels are said to have the shape {shape}; correct the file's SAR or DAR")
        return (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))

    def _refused(self, number: int, reason: str) -> VideoReadError:
        return VideoReadError(self._path, f"frame {number}: {reason}")


def _not_followed(edits: Sequence[Edit]) -> str:
    """What an edit list says that FFmpeg ignores; empty if nothing. An empty first edit only delays the picture."""
    speeds = [edit.speed for edit in edits if not edit.is_empty]
    if any(abs(speed - 1) > SPEED_ROUNDING for speed in speeds):
        return "plays parts of it at the speeds " + ", ".join(f"{speed:g}" for speed in speeds)
    return "has a pause" if any(edit.is_empty for edit in edits[1:]) else ""


def _pixel_ratio(stream: VideoStream) -> Fraction:
    """Width of a pixel through its height: the container's word, else the codec's, else 1."""
    ratio = stream.sample_aspect_ratio
    return ratio if ratio is not None and ratio > 0 else Fraction(1)


def _rotate_tag(stream: VideoStream) -> float:
    """The `rotate` tag, in degrees clockwise. ffmpeg before version 5 wrote it where a format has no display matrix."""
    try:
        degrees = float(next((value for name, value in stream.metadata.items() if name.lower() == "rotate"), "0"))
    except ValueError:
        return 0.0
    return degrees if math.isfinite(degrees) else 0.0


def _display_matrix(frame: VideoFrame) -> tuple[float, ...] | None:
    """The nine numbers of the frame's display matrix: the container's, else the codec's own. None without one."""
    try:
        found = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    except ValueError:  # the frame has other data too, for which PyAV has no name; it gives the angle all the same
        return clockwise(-frame.rotation) if frame.rotation else None
    return None if found is None else struct.unpack("=9i", bytes(found))
