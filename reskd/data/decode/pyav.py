"""Exact frame access with PyAV. It seeks if the packets prove that this is exact, else it decodes from the start."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reskd.data.decode.in_order import MAX_LATER, DecodeStopped, SeekMissed, decode_from_key, decode_from_start
from reskd.data.decode.opening import CONTENT_ERRORS, duration_s, opened
from reskd.data.decode.packets import PacketTable, read_table
from reskd.data.decode.presentation import Presentation
from reskd.data.decode.types import Indices, Keep, Kept, Once, Rows, Survey, VideoInfo, whole
from reskd.errors import VideoOpenError, VideoReadError

NO_FRAMES = "its video stream has no frames"


class _Picker:
    """Collects the wanted frames from a decode, in the requested order."""

    def __init__(self, presentation: Presentation, numbers: list[int], *, keep: Keep) -> None:
        self._presentation = presentation
        self._rows = Rows(numbers, keep=keep)

    @property
    def missing(self) -> set[int]:
        return self._rows.missing

    def take(self, number: int, frame: VideoFrame) -> None:
        self._presentation.see(number, frame)
        if number in self.missing:
            self._rows.take(number, self._presentation.picture(number, frame))

    def frames(self) -> NDArray[np.uint8]:
        return self._rows.frames()


def read_frames(path: Path, indices: Indices, *, keep: Keep = whole) -> NDArray[np.uint8]:
    """See `dispatch.read_frames`."""
    with opened(path) as (container, stream):
        table = _packet_table(path, container, stream)
        presentation = Presentation(path, container, stream)
        numbers = _resolve(path, indices, table.num_claimed)
        if table.can_seek:
            _refuse_absent(path, numbers, table)
            picker = _Picker(presentation, numbers, keep=keep)
            try:
                _pick_by_seeking(container, stream, table, picker)
                return picker.frames()
            except (SeekMissed, *CONTENT_ERRORS):
                pass  # a decode from the start gives the frames, or the error and where it is
    picker = _Picker(presentation, numbers, keep=keep)
    num_decoded = _pick_sequentially(path, picker, to_end=callable(indices))
    if callable(indices) and num_decoded not in (None, 0, table.num_claimed) and not table.is_cut:
        picker = _Picker(presentation, _resolve(path, indices, num_decoded), keep=keep)
        num_decoded = _pick_sequentially(path, picker, to_end=False)
    if num_decoded == 0:
        raise VideoOpenError(str(path), "no frame of it decodes")
    if picker.missing:
        reason = f"frame {min(picker.missing)} was asked for, but the file ends after {num_decoded} frames"
        raise VideoReadError(str(path), reason)
    return picker.frames()


def probe(path: Path) -> VideoInfo:
    """See `dispatch.probe`."""
    with opened(path) as (container, stream):
        table = _packet_table(path, container, stream)
        codec = stream.codec_context.codec.canonical_name
        first = _Picker(Presentation(path, container, stream), [0], keep=whole)
    num_decoded = _pick_sequentially(path, first, to_end=not table.can_seek and not table.is_cut)
    if first.missing:
        raise VideoOpenError(str(path), "no frame of it decodes")
    _, height, width, _ = first.frames().shape
    return VideoInfo(num_frames=num_decoded or table.num_claimed, height=height, width=width, codec=codec)


def survey(path: Path, *, quick: bool) -> Survey:
    """See `dispatch.survey`."""
    with opened(path) as (container, stream):
        table = read_table(path, container, stream, file_size=path.stat().st_size)
        length_s = duration_s(container, stream)
        presentation = Presentation(path, container, stream)
    if table.num_claimed == 0:
        return Survey(num_claimed=0, num_decoded=0, reason=NO_FRAMES)
    if quick:
        num_present, reason = table.num_present, ""
        if table.is_cut:
            reason = f"cut short: {num_present} of {table.num_claimed} frames are there"
        return Survey(num_claimed=table.num_claimed, num_decoded=num_present, reason=reason, duration_s=length_s)
    num_decoded, reason = 0, ""
    try:
        with closing(decode_from_start(path)) as frames:
            for _, frame in frames:
                presentation.check(num_decoded, frame)
                num_decoded += 1
    except DecodeStopped as error:
        reason = str(error)
    except VideoReadError as error:
        reason = error.reason
    # Packets that do not allow seeking do not give the number of frames of an undamaged file either.
    is_told = table.can_seek or table.is_cut or reason
    num_claimed = max(table.num_claimed, num_decoded) if is_told else num_decoded
    if num_decoded < num_claimed:
        reason = reason or f"only {num_decoded} of {num_claimed} frames decode"
    return Survey(num_claimed=num_claimed, num_decoded=num_decoded, reason=reason, duration_s=length_s)


def read_once(
    path: Path, choose: Callable[[int], Sequence[int]], keep: Callable[[NDArray[np.uint8]], Kept]
) -> Once[Kept]:
    """Decode a file once from start to end, and apply `keep` to each frame that `choose` selects.

    `choose` gets the number of frames. If the packets gave a wrong number, the file is decoded a second time. Raises
    VideoReadError if any frame does not decode; `read_frames` only needs the requested frames.
    """
    with opened(path) as (container, stream):
        table = _packet_table(path, container, stream)
        fps = None if stream.average_rate is None else float(stream.average_rate)
        show = partial(_keep_once, path, presentation=Presentation(path, container, stream), keep=keep)
    is_told = table.can_seek or table.is_cut
    kept, num_decoded = show(set(choose(table.num_claimed)))
    if num_decoded == 0:
        raise VideoOpenError(str(path), "no frame of it decodes")
    if is_told and num_decoded < table.num_claimed:
        raise VideoReadError(str(path), f"only {num_decoded} of {table.num_claimed} frames decode")
    if num_decoded != table.num_claimed:
        kept, num_decoded = show(set(choose(num_decoded)))
    return Once(num_decoded, fps, kept)


def _keep_once(
    path: Path, wanted: set[int], *, presentation: Presentation, keep: Callable[[NDArray[np.uint8]], Kept]
) -> tuple[list[tuple[int, float | None, Kept]], int]:
    kept: list[tuple[int, float | None, Kept]] = []
    num_decoded = 0
    try:
        with closing(decode_from_start(path)) as frames:
            for _, frame in frames:
                presentation.see(num_decoded, frame)
                if num_decoded in wanted:
                    kept.append((num_decoded, frame.time, keep(presentation.picture(num_decoded, frame))))
                num_decoded += 1
    except DecodeStopped as error:
        raise VideoReadError(str(path), str(error)) from error
    return kept, num_decoded


def _packet_table(path: Path, container: InputContainer, stream: VideoStream) -> PacketTable:
    table = read_table(path, container, stream, file_size=path.stat().st_size)
    if table.num_claimed == 0:
        raise VideoOpenError(str(path), NO_FRAMES)
    return table


def _resolve(path: Path, indices: Indices, num_frames: int) -> list[int]:
    numbers = [operator.index(index) for index in (indices(num_frames) if callable(indices) else indices)]
    assert numbers, "no frame was asked for"
    if min(numbers) < 0:
        raise VideoReadError(str(path), f"frame {min(numbers)} was asked for; the first one is 0")
    return numbers


def _refuse_absent(path: Path, numbers: list[int], table: PacketTable) -> None:
    number = max(numbers)
    if number >= table.num_claimed:
        raise VideoReadError(str(path), f"frame {number} was asked for, but the file has {table.num_claimed} frames")
    if number >= table.num_present:
        present = f"is cut short: {table.num_present} of {table.num_claimed} frames are there"
        raise VideoReadError(str(path), f"frame {number} was asked for, but the file {present}")


def _pick_by_seeking(container: InputContainer, stream: VideoStream, table: PacketTable, picker: _Picker) -> None:
    """Decode only from the nearest key frames. Raises SeekMissed if a frame is not the promised one, or is damaged."""
    decoded: Iterator[tuple[int, int, VideoFrame]] = iter(())
    reached = due = -2
    # Always decode frame 0: a file that was cut before a dependent frame loses its first frames.
    for wanted in sorted({0, *picker.missing}):
        key = table.key_before(wanted)
        if table.keys[key] > reached + 1:
            _read_on(decoded, reached, due)
            decoded = decode_from_key(container, stream, table, key)
        for reached, due, frame in decoded:  # noqa: B007 (used when a seek follows, and at the end)
            if reached == wanted:
                picker.take(wanted, frame)
                break
        else:
            raise SeekMissed
    _read_on(decoded, reached, due)


def _read_on(decoded: Iterator[tuple[int, int, VideoFrame]], reached: int, due: int) -> None:
    """Decode up to frame `due`: the frames before may depend on it, and it may be damaged."""
    if reached < due:
        for number, _, _ in decoded:
            if number >= due:
                return


def _pick_sequentially(path: Path, picker: _Picker, *, to_end: bool) -> int | None:
    """Decode from the start and return the number of frames; None if all wanted frames came before the end."""
    num_decoded = 0
    due: int | None = None  # when the last frame is shown on which the wanted ones may depend
    num_later = 0  # frames decoded after the wanted ones
    is_sure = False  # the wanted frames are there, and none that they depend on is damaged
    try:
        with closing(decode_from_start(path)) as frames:
            for latest, frame in frames:
                was_missing = bool(picker.missing)
                picker.take(num_decoded, frame)
                num_decoded += 1
                if picker.missing or is_sure:
                    continue
                due, num_later = (latest, 0) if was_missing else (due, num_later + 1)
                is_late = due is not None and frame.pts is not None and frame.pts >= due
                is_sure = is_late or num_later == MAX_LATER
                if is_sure and not to_end:
                    return None
    except DecodeStopped as error:
        if picker.missing:
            raise VideoReadError(str(path), f"frame {min(picker.missing)} cannot be decoded: {error}") from error
        if not is_sure and not error.is_cut:
            raise VideoReadError(str(path), f"a frame that is needed may be damaged: {error}") from error
        return None
    return num_decoded
