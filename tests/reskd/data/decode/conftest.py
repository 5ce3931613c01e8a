"""The videos that every decoder is tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.video_files import overwrite_middle, stream_copy_cut, truncate, write_video
from tests.support.video_kinds import NUM_FRAMES, VIDEOS


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of video, cuts of them, and damaged copies."""
    folder = tmp_path_factory.mktemp("videos")
    for name, write in VIDEOS.items():
        write(folder / name, num_frames=NUM_FRAMES)
    write_video(folder / "one_frame.mp4", num_frames=1)
    stream_copy_cut(folder / "b_frames.mp4", folder / "edit_list.mp4", first_packet=30, num_packets=45, first_frame=37)
    for name in ("headless_open_gop.mp4", "headless_open_gop.mkv"):
        source = folder / "open_gop.mp4"
        stream_copy_cut(source, folder / name, first_packet=17, num_packets=45, first_frame=17)
    write_video(folder / "moov_first.mp4", num_frames=NUM_FRAMES, muxer={"movflags": "faststart"})
    truncate(folder / "moov_first.mp4", folder / "truncated.mp4", share=0.6)
    overwrite_middle(folder / "moov_first.mp4", folder / "overwritten.mp4", share=0.1)
    return folder
