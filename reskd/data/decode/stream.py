"""A video file opened with PyAV, and which frames it holds, told by its packets without decoding any."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from reskd.errors import VideoOpenError

TIMED_CONTAINERS = frozenset({"mp4", "matroska"})
"""Formats that store each packet's time; elsewhere FFmpeg derives times, not always right with B-frames."""

ONE_PACKET_ONE_FRAME = frozenset({"h264", "hevc", "vp9", "av1"})
"""Not MPEG-4 ASP, where a packed B-frame leaves a packet without a frame, nor VP8, whose alt-ref packets show none."""

CONTENT_ERRORS = (av.FFmpegError, ValueError, IndexError)
"""What PyAV raises for content that it cannot read; IndexError for a stream that begins after the file was opened."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its video stream with one decoder thread; closed at the end, since PyAV leaks what is not."""
    with path.open("rb") as file:  # missing, a directory, no permission, broken disk: Python's own OSError
        if not file.read(1):
            raise VideoOpenError(str(path), "the file is empty")
    try:
        # An absolute path, so that a colon in a name is not taken for a protocol.
        container = av.open(str(path.absolute()), metadata_errors="ignore")
    except CONTENT_ERRORS as error:
        read_through(path)
        raise VideoOpenError(str(path), f"not a video: {words(error)}") from error
    with container:
        streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not streams or container.format.name == "tty":  # FFmpeg would draw a text file as a terminal's screen
            raise VideoOpenError(str(path), "no video stream")
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoOpenError(str(path), "no decoder for its video stream")
        stream.codec_context.thread_count = 1
        yield container, stream


def read_through(path: Path) -> None:
    """Raise the file system's own error if it is to blame: FFmpeg's cannot tell a bad disk from bad content."""
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@dataclass(frozen=True, slots=True)
class PacketTable:
    """Frames in order of presentation, without those that an edit list hides."""

    num_claimed: int
    """Frames the file says it has."""
    num_present: int
    """Frames whose packets are there and whose number is certain; fewer than claimed if the file was cut."""
    times: tuple[int, ...] = ()
    """Presentation time of each present frame. Empty unless a sequential decode surely gives these very frames."""
    keys: tuple[int, ...] = ()
    """Numbers of the key frames, ascending."""
    key_decode_times: tuple[int, ...] = ()

    @property
    def can_seek(self) -> bool:
        return bool(self.times)

    @property
    def is_cut(self) -> bool:
        return self.num_present < self.num_claimed

    def key_before(self, number: int) -> int:
        """Position in `keys` of the last key frame at or before a frame."""
        return bisect_right(self.keys, number) - 1

    def key_at(self, time: int | None) -> int | None:
        """Position in `keys` of the key frame with this presentation time."""
        if time is None:
            return None
        number = bisect_left(self.times, time)
        key = bisect_left(self.keys, number)
        is_there = key < len(self.keys) and self.keys[key] == number and self.times[number] == time
        return key if is_there else None


@dataclass(slots=True)
class _Packets:
    """Presentation time, decode time, is key: of the whole packets in decode order."""

    shown: list[tuple[int | None, int | None, bool]] = field(default_factory=list)
    num_hidden: int = 0
    num_lost: int = 0
    lost_from: int | None = None
    """Decode time of the first lost packet: frames up to it are certain, since none is shown before it is decoded."""
    is_regular: bool = True


def read_table(container: InputContainer, stream: VideoStream, *, file_size: int) -> PacketTable:
    """One pass over the stream's packets; leaves the container at its end."""
    packets = _collect(container, stream)
    _count_beyond_end(packets, stream, file_size=file_size)
    shown = packets.shown
    if packets.num_lost:
        end = packets.lost_from
        shown = [packet for packet in shown if end is None or packet[0] is None or packet[0] < end]
    num_claimed = len(packets.shown) + packets.num_lost
    formats = set(container.format.name.split(","))
    codec = stream.codec_context.codec.canonical_name
    may_seek = packets.is_regular and bool(formats & TIMED_CONTAINERS) and codec in ONE_PACKET_ONE_FRAME
    timed = [(pts, dts, is_key) for pts, dts, is_key in shown if pts is not None]
    if not may_seek or packets.num_hidden or len(timed) < len(shown) or not _is_seekable(timed):
        return PacketTable(num_claimed=num_claimed, num_present=len(shown))
    times = sorted(pts for pts, _, _ in timed)
    key_packets = [(pts, dts) for pts, dts, is_key in timed if is_key]
    return PacketTable(
        num_claimed=num_claimed,
        num_present=len(times),
        times=tuple(times),
        keys=tuple(bisect_left(times, pts) for pts, _ in key_packets),
        key_decode_times=tuple(pts if dts is None else dts for pts, dts in key_packets),
    )


def _collect(container: InputContainer, stream: VideoStream) -> _Packets:
    packets = _Packets()
    try:
        for packet in container.demux(stream):
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                continue  # PyAV's last packet, which only flushes the decoder
            if packet.is_corrupt or packets.num_lost:
                if not packets.num_lost:
                    packets.lost_from = packet.dts
                packets.num_lost += 1
            elif packet.is_discard:
                packets.num_hidden += 1
            else:
                packets.shown.append((packet.pts, packet.dts, packet.is_keyframe))
                packets.is_regular &= packet.size > 0
    except CONTENT_ERRORS:
        packets.is_regular = False  # the sequential decode meets the same error and tells it with the frame
    return packets


def _count_beyond_end(packets: _Packets, stream: VideoStream, *, file_size: int) -> None:
    """Add the packets that the index lists past the end of a file cut short; only mp4's index lists every packet."""
    num_whole = len(packets.shown) + packets.num_hidden
    index = stream.index_entries
    if len(index) <= num_whole:
        return
    missing = [entry for entry in index[num_whole:] if not entry.is_discard]
    if any(entry.pos + entry.size > file_size for entry in missing):
        packets.num_lost = len(missing)
        packets.lost_from = missing[0].timestamp


def _is_seekable(packets: Sequence[tuple[int, int | None, bool]]) -> bool:
    """Whether times are distinct and in order, and nothing is shown before the first packet, which must be a key."""
    if not packets or not packets[0][2]:
        return False
    times = [pts for pts, _, _ in packets]
    decode_times = [dts for _, dts, _ in packets if dts is not None]  # Matroska lacks them for the first B-frames
    keys = [pts for pts, _, is_key in packets if is_key]
    return (
        len(set(times)) == len(times)
        # Such frames come first in an open group of pictures that was cut off from the one before; decoders drop them.
        and min(times) == times[0]
        and all(before <= after for before, after in pairwise(decode_times))
        and all(before < after for before, after in pairwise(keys))
    )
