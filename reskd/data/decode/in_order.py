"""Frames of a video stream in the order in which they are shown, from its start or from a key frame.

A decoder returns a frame even where its bits are damaged: it fills the gaps from other frames, and marks the result.
A frame may depend on one that is shown later (B-frames). So both functions say with each frame which later one the
decoder has got by then: only when that is out too, and not marked, the frame is surely right.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from reskd.data.decode.opening import CONTENT_ERRORS, opened, read_through, words
from reskd.data.decode.packets import PacketTable
from reskd.runtime.progress import tick

MAX_LATER = 32
"""A frame depends on none that is shown more than this many frames later. Encoders use groups of up to 16 B-frames."""


class SeekMissed(Exception):
    """The decoder did not give the frames that the packet table promises. A sequential decode must decide."""


class DecodeStopped(Exception):
    """The rest of the file does not decode. The message says after which frame and why."""

    def __init__(self, reason: str, *, is_cut: bool = False) -> None:
        """is_cut: the file ends there; what was decoded before is right."""
        super().__init__(reason)
        self.is_cut = is_cut


def decode_from_start(path: Path) -> Generator[tuple[int | None, VideoFrame]]:
    """Yield (latest, frame) from the start; latest is the last time of all packets that the decoder has got, if known.

    Raises DecodeStopped at the first packet or frame that is damaged.
    """
    num_decoded = 0
    latest: int | None = None
    with opened(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    reason = f"after {num_decoded} frames a packet is cut off or marked as damaged"
                    raise DecodeStopped(reason, is_cut=True)
                if packet.pts is not None:
                    latest = packet.pts if latest is None else max(latest, packet.pts)
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise DecodeStopped(f"after {num_decoded} frames one is damaged")
                    tick()
                    yield latest, frame
                    num_decoded += 1
        except CONTENT_ERRORS as error:
            read_through(path)
            raise DecodeStopped(f"decoding stops after {num_decoded} frames: {words(error)}") from error


def decode_from_key(
    container: InputContainer, stream: VideoStream, table: PacketTable, key: int
) -> Iterator[tuple[int, int, VideoFrame]]:
    """Yield (number, due, frame) from a key frame on, or from an earlier one if the demuxer lands before it.

    due: the number of the last frame that the decoder has got, on which this one may depend.
    """
    landing, packets = _seek(container, stream, table, key)
    number = due = table.keys[landing]
    start = table.times[number]
    for packet in packets:
        if packet.pts is not None and not packet.is_corrupt:
            due = max(due, table.last_before(packet.pts))
        # A truncated packet is not decoded, but the decoder still returns the frames before it.
        for frame in stream.codec_context.decode(None) if packet.is_corrupt else packet.decode():
            if frame.pts is not None and frame.pts < start:
                continue  # open GOP: this frame depends on frames before the key frame
            if number >= table.num_present or frame.pts != table.times[number] or frame.is_corrupt:
                raise SeekMissed
            tick()
            yield number, min(due, number + MAX_LATER), frame
            number += 1
        if packet.is_corrupt:
            return


def _seek(
    container: InputContainer, stream: VideoStream, table: PacketTable, key: int
) -> tuple[int, Iterator[Packet[VideoStream]]]:
    """The position in `table.keys` where the demuxer landed, and the packets from there."""
    # Matroska seeks by presentation time and mp4 by decode time. One of the two lands on or before the key frame.
    for time in (table.times[table.keys[key]], table.key_decode_times[key]):
        container.seek(time, stream=stream)
        packets = container.demux(stream)
        first = next(packets)
        landing = table.key_at(first.pts)
        if landing is not None and landing <= key:
            return landing, chain([first], packets)
    raise SeekMissed
