"""Finds the frames of a video stream from its packets, without decoding."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from reskd.data.decode.limits import check_frames
from reskd.data.decode.opening import CONTENT_ERRORS

TIMED_CONTAINERS = frozenset({"mp4", "matroska"})
"""Formats that store the time of each packet. For others FFmpeg derives times, which can be wrong with B-frames."""

ONE_PACKET_ONE_FRAME = frozenset({"h264", "hevc", "vp9", "av1"})
"""Codecs with one frame per packet. MPEG-4 ASP (packed B-frames) and VP8 (alt-ref packets) have packets without one."""


@dataclass(frozen=True, slots=True)
class PacketTable:
    """The frames in presentation order, without those that an edit list hides."""

    num_claimed: int
    """Number of frames that the file claims."""
    num_present: int
    """Frames with a packet in the file and a certain number; fewer than claimed if the file is truncated."""
    times: tuple[int, ...] = ()
    """Presentation time of each present frame, in units of the stream's time base. Empty if seeking is not safe."""
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

    def last_before(self, time: int) -> int:
        """Number of the last frame that is shown by this time."""
        return bisect_right(self.times, time) - 1

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
    """The packets of a stream. `shown` holds (presentation time, decode time, is key) in decode order."""

    shown: list[tuple[int | None, int | None, bool]] = field(default_factory=list)
    num_hidden: int = 0
    num_lost: int = 0
    lost_from: int | None = None
    """Decode time of the first lost packet. Earlier frames are certain, since a frame is decoded before it is shown."""
    is_regular: bool = True


def read_table(path: Path, container: InputContainer, stream: VideoStream, *, file_size: int) -> PacketTable:
    """Read all packets of the stream once. Afterwards the container is at its end.

    Raises VideoOpenError for more than `limits.MAX_FRAMES` of them.
    """
    packets = _collect(path, container, stream)
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


def _collect(path: Path, container: InputContainer, stream: VideoStream) -> _Packets:
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
                check_frames(path, len(packets.shown))
    except CONTENT_ERRORS:
        packets.is_regular = False  # the sequential decode meets the same error and reports the frame
    return packets


def _count_beyond_end(packets: _Packets, stream: VideoStream, *, file_size: int) -> None:
    """Add the packets that the index lists beyond the end of a truncated file. Only mp4's index lists all packets."""
    num_whole = len(packets.shown) + packets.num_hidden
    index = stream.index_entries
    if len(index) <= num_whole:
        return
    missing = [entry for entry in index[num_whole:] if not entry.is_discard]
    if any(entry.pos + entry.size > file_size for entry in missing):
        packets.num_lost = len(missing)
        packets.lost_from = missing[0].timestamp


def _is_seekable(packets: Sequence[tuple[int, int | None, bool]]) -> bool:
    """Whether times are distinct and ordered, the first packet is a key frame, and no frame is shown before it."""
    if not packets or not packets[0][2]:
        return False
    times = [pts for pts, _, _ in packets]
    decode_times = [dts for _, dts, _ in packets if dts is not None]  # Matroska lacks them for the first B-frames
    keys = [pts for pts, _, is_key in packets if is_key]
    return (
        len(set(times)) == len(times)
        # Earlier frames belong to an open GOP whose predecessor was cut off; decoders drop them.
        and min(times) == times[0]
        and all(before <= after for before, after in pairwise(decode_times))
        and all(before < after for before, after in pairwise(keys))
    )
