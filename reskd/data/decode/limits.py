"""How large a video may be: bounds that no data set of this field comes near, and that a damaged header or a file made
to do harm passes. With them, a process that decodes needs at most a few gigabytes, whatever the file says."""

from __future__ import annotations

from pathlib import Path

from reskd.errors import VideoOpenError

MAX_PIXELS = 2**26
"""Pixels of a frame, 67 million: twice 8K. A decoder keeps up to 17 such frames, of 1.5 bytes a pixel or more."""
MAX_FRAMES = 1_000_000
"""Frames of a file: nine hours at 30 frames per second. The list of a file's packets needs about 300 bytes each."""
MAX_SECONDS = 7 * 24 * 3600.0
"""Duration that a file states, in seconds: a week. Clocks of transport streams alone may jump by a day."""


def check_pixels(path: Path | str, *, width: int, height: int) -> None:
    """Raise VideoOpenError for frames that are too large."""
    if width * height > MAX_PIXELS:
        reason = f"its frames have {width}x{height} = {width * height:,} pixels, more than {MAX_PIXELS:,}"
        raise VideoOpenError(str(path), f"{reason}; make it smaller")


def check_frames(path: Path | str, num_frames: int) -> None:
    """Raise VideoOpenError for too many frames."""
    if num_frames > MAX_FRAMES:
        reason = f"it has at least {num_frames:,} frames, more than {MAX_FRAMES:,}; cut it into parts"
        raise VideoOpenError(str(path), reason)


def check_duration(path: Path | str, duration_s: float | None) -> None:
    """Raise VideoOpenError for a stated duration that is too long."""
    if duration_s is not None and duration_s > MAX_SECONDS:
        reason = f"it is said to last {duration_s:,.0f} s, more than {MAX_SECONDS:,.0f} s; cut it, or write it anew"
        raise VideoOpenError(str(path), reason)
