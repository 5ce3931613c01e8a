"""A file is shown as it says: turned, mirrored, with square pixels, in one size. Expected pictures come from the
stored ones by the definition of each word."""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.data.decode.container_facts import track_facts
from reskd.data.decode.dispatch import probe, read_frames, survey
from reskd.data.decode.presentation import orientation
from reskd.data.decode.pyav import read_once
from reskd.errors import VideoOpenError, VideoReadError
from tests.support.mp4_boxes import edit_list, put_box
from tests.support.shown_videos import MATRICES, ONE, Film, join, stored, write_films
from tests.support.video_files import frame_numbers


def laid(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The pixel in column p and row q goes to column a*p + c*q and row b*p + d*q; the picture begins at 0."""
    a, b, c, d = (number // ONE for number in matrix)
    height, width, _ = image.shape
    rows, columns = np.mgrid[0:height, 0:width]
    to_column, to_row = a * columns + c * rows, b * columns + d * rows
    to_column, to_row = to_column - to_column.min(), to_row - to_row.min()
    shown = np.zeros((to_row.max() + 1, to_column.max() + 1, 3), np.uint8)
    shown[to_row, to_column] = image
    return shown


@pytest.mark.parametrize("matrix", MATRICES)
def test_each_of_the_eight_orientations_is_shown(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = write_films(tmp_path / "laid.mp4", Film(matrix=matrix))
    expected = [laid(image, matrix) for image in stored(path)]
    np.testing.assert_array_equal(read_frames(path, range(10)), expected)
    assert (probe(path).height, probe(path).width) == expected[0].shape[:2]
    once = read_once(path, range, np.ascontiguousarray)
    np.testing.assert_array_equal([image for _, _, image in once.kept], expected)


@given(
    turn=st.integers(0, 3),
    is_mirrored=st.booleans(),
    scale=st.floats(0.01, 100),
    tilt=st.floats(-0.015, 0.015),
)
def test_scale_and_rounding_of_a_display_matrix_do_not_matter(
    turn: int, is_mirrored: bool, scale: float, tilt: float
) -> None:
    angle = turn * np.pi / 2
    plain = np.round([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if is_mirrored:
        plain = plain @ np.diag([-1, 1])
    tilted = scale * plain @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    (a, b), (c, d) = tilted
    expected = laid(image, tuple(int(ONE * number) for number in plain.flatten()))
    np.testing.assert_array_equal(orientation((a, b, 0, c, d, 0, 0, 0, 1)).turned(image), expected)


def test_another_angle_is_refused_by_name_by_reader_and_check(tmp_path: Path) -> None:
    cos, sin = round(ONE * np.cos(0.5)), round(ONE * np.sin(0.5))
    path = write_films(tmp_path / "tilted.mp4", Film(matrix=(cos, sin, -sin, cos)))
    with pytest.raises(VideoReadError, match=r"tilted\.mp4: frame 0: it is shown turned by 29 degrees"):
        read_frames(path, [4])
    found = survey(path, quick=False)
    assert (found.num_decoded, found.reason[:8]) == (0, "frame 0:")


def test_a_rotate_tag_turns_clockwise_where_there_is_no_matrix(tmp_path: Path) -> None:
    path = write_films(tmp_path / "tagged.mkv", Film(rotate_tag="90"))
    expected = [np.rot90(image, -1) for image in stored(path)]
    np.testing.assert_array_equal(read_frames(path, [0, 7]), [expected[0], expected[7]])
    plain = write_films(tmp_path / "nonsense.mkv", Film(rotate_tag="upright"))
    np.testing.assert_array_equal(read_frames(plain, [3])[0], stored(plain)[3])


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        (Fraction(2), (64, 192)),
        (Fraction(1, 2), (128, 96)),
        (Fraction(64, 45), (64, 137)),
        (Fraction(1), (64, 96)),
        (Fraction(512, 513), (64, 96)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])  # .ts: the codec alone tells
def test_pixels_become_square(tmp_path: Path, suffix: str, ratio: Fraction, size: tuple[int, int]) -> None:
    path = write_films(tmp_path / f"wide{suffix}", Film(pixel_ratio=ratio))
    frames = read_frames(path, [0, 6])
    assert frames.shape == (2, *size, 3)
    assert frame_numbers(frames) == [0, 6]
    assert (probe(path).height, probe(path).width) == size
    if size == (64, 96):
        np.testing.assert_array_equal(frames[1], stored(path)[6])
    else:  # a mean over the added pixels gives the stored ones, but for the resampler's edges
        shown = frames[1].astype(float)
        across, down = size[1] / 96, size[0] / 64
        columns, rows = (np.arange(96) * across).astype(int), (np.arange(64) * down).astype(int)
        near = np.add.reduceat(np.add.reduceat(shown, columns, axis=1), rows, axis=0)
        counts = np.add.reduceat(np.add.reduceat(np.ones_like(shown), columns, axis=1), rows, axis=0)
        assert np.abs(near / counts - stored(path)[6]).mean() < 6


def test_wide_pixels_of_a_turned_picture_are_high_when_shown(tmp_path: Path) -> None:
    path = write_films(tmp_path / "both.mp4", Film(pixel_ratio=Fraction(2), matrix=(0, ONE, -ONE, 0)))
    assert read_frames(path, [5]).shape == (1, 192, 64, 3)
    assert frame_numbers([np.rot90(read_frames(path, [5])[0])]) == [5]


def test_a_shape_of_pixels_that_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    path = write_films(tmp_path / "wrong.mp4", Film(pixel_ratio=Fraction(50, 3)))
    with pytest.raises(VideoReadError, match=r"wrong\.mp4: frame 0: its pixels are said to have the shape 50:3"):
        read_frames(path, [2])
    assert "50:3" in survey(path, quick=False).reason


VP8 = {"codec": "libvpx"}
CHANGING = [("changing.webm", VP8), ("changing.mkv", {"codec": "mjpeg", "pix_fmt": "yuvj420p"})]


@pytest.mark.parametrize(("name", "codec"), CHANGING)
def test_frames_of_another_size_are_resized_to_the_first(tmp_path: Path, name: str, codec: dict[str, str]) -> None:
    suffix = name[-4:] if name[-4] == "." else name[-5:]
    wide = write_films(tmp_path / f"wide{suffix}", Film(**codec))
    high = write_films(tmp_path / f"high{suffix}", Film(width=64, height=96, **codec))
    path = join(tmp_path / name, wide, high)
    frames = read_frames(path, range(20))
    assert frames.shape == (20, 64, 96, 3)
    assert frame_numbers(frames) == [*range(10), *range(10)]
    np.testing.assert_array_equal(frames[:10], stored(wide))
    np.testing.assert_array_equal(read_frames(path, [15, 3]), frames[[15, 3]])  # however they are asked for
    np.testing.assert_array_equal(read_frames(path, lambda n: [n - 1]), frames[[19]])
    found = survey(path, quick=False)
    assert (found.num_decoded, found.reason) == (20, "")
    assert len(read_once(path, range, np.copy).kept) == 20


@pytest.mark.parametrize(
    ("suffix", "films", "right"),
    [
        (".mp4", (Film(width=48, height=32, is_default=True), Film(num_frames=7, is_default=True)), 1),
        (".mp4", (Film(num_frames=7, is_default=True), Film(width=48, height=32, is_default=True)), 0),
        (".mp4", (Film(num_frames=7, width=48, height=32), Film()), 0),  # an mp4 marks the first unless told otherwise
        (".mkv", (Film(num_frames=7), Film()), 0),  # of equals the first
        (".mkv", (Film(is_default=False), Film(num_frames=7, width=48, height=32, is_default=True)), 1),
        (".mp4", (Film(num_frames=1, width=192, height=128), Film(num_frames=7)), 1),  # a still is never the film
        (".mkv", (Film(num_frames=1, codec="mjpeg", pix_fmt="yuvj420p", is_default=True), Film(num_frames=7)), 1),
    ],
)
def test_of_several_streams_the_film_is_read(tmp_path: Path, suffix: str, films: tuple[Film, Film], right: int) -> None:
    path = write_films(tmp_path / f"several{suffix}", *films)
    expected = stored(path, stream=right)
    assert len(expected) == 7
    info = probe(path)
    assert (info.num_frames, info.height, info.width) == (7, films[right].height, films[right].width)
    np.testing.assert_array_equal(read_frames(path, lambda n: [0, n - 1]), [expected[0], expected[-1]])
    assert survey(path, quick=True).num_decoded == survey(path, quick=False).num_decoded == 7


def test_an_edit_list_of_several_parts_is_read_in_its_order(tmp_path: Path) -> None:
    path = write_films(tmp_path / "edited.mp4", Film(num_frames=20, codec="mpeg4"))  # its key frames: 0 and 12
    with av.open(str(path)) as container:
        one = round(1 / 25 / container.streams.video[0].time_base)
    # In the movie's thousandths of a second: nothing for 0.2 s, then frames 15 to 19, then frames 5 to 9.
    edits = edit_list((200, -1, 1), (200, 15 * one, 1), (200, 5 * one, 1))
    put_box(path, [b"moov", b"trak", b"edts", b"elst"], edits)
    frames = read_frames(path, lambda n: range(n))
    assert frame_numbers(frames) == [15, 16, 17, 18, 19, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(read_frames(path, [9, 0, 6]), frames[[9, 0, 6]])
    assert survey(path, quick=False).num_decoded == 10


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([(400, 0, 0.5)], "plays parts of it at the speeds 0.5"),
        ([(200, 0, 1), (100, 2000, 0), (100, 2000, 2)], "plays parts of it at the speeds 1, 0, 2"),
        ([(100, 0, 1), (100, -1, 1), (100, 2000, 1)], "has a pause"),
    ],
)
def test_an_edit_list_that_ffmpeg_does_not_follow_is_refused_by_name(
    tmp_path: Path, edits: list[tuple[int, int, float]], said: str
) -> None:
    path = write_films(tmp_path / "edited.mp4", Film())
    put_box(path, [b"moov", b"trak", b"edts", b"elst"], edit_list(*edits))
    with pytest.raises(VideoOpenError, match=rf"edited\.mp4: its edit list {said}; encode it"):
        read_frames(path, [0])


def test_only_the_clean_aperture_is_shown(tmp_path: Path) -> None:
    path = write_films(tmp_path / "aperture.mp4", Film(matrix=(0, ONE, -ONE, 0)))
    # 80 x 60 of 96 x 64, its centre 2 to the right of the picture's and 1 above it: columns 10 to 89, rows 1 to 60.
    put_box(path, CLAP, struct.pack(">8i", 80, 1, 60, 1, 2, 1, -1, 1))
    expected = [np.rot90(image[1:61, 10:90], -1) for image in stored(path)]
    np.testing.assert_array_equal(read_frames(path, range(10)), expected)


def test_a_clean_aperture_of_wide_pixels_is_cut_out_first(tmp_path: Path) -> None:
    path = write_films(tmp_path / "aperture.mp4", Film(pixel_ratio=Fraction(2)))
    put_box(path, CLAP, struct.pack(">8i", 80, 1, 60, 1, 0, 1, 0, 1))
    assert read_frames(path, [3]).shape == (1, 60, 160, 3)


def test_a_clean_aperture_larger_than_the_picture_is_ignored(tmp_path: Path) -> None:
    path = write_films(tmp_path / "aperture.mp4", Film())
    put_box(path, CLAP, struct.pack(">8i", 97, 1, 60, 1, 0, 1, 0, 1))
    np.testing.assert_array_equal(read_frames(path, [3])[0], stored(path)[3])


CLAP = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1", b"clap"]


@pytest.mark.parametrize(
    ("element", "shown"),
    [
        (b"\x54\xcc", np.s_[:, 8:]),
        (b"\x54\xdd", np.s_[:, :-8]),
        (b"\x54\xbb", np.s_[8:]),
        (b"\x54\xaa", np.s_[:-8]),
    ],
)
def test_only_the_part_that_matroska_names_is_shown(tmp_path: Path, element: bytes, shown: tuple[slice, ...]) -> None:
    path = write_films(tmp_path / "cropped.mkv", Film())
    content = path.read_bytes()
    display_unit, crop = b"\x54\xb2\x81\x04", element + b"\x81\x08"
    assert content.count(display_unit) == 1
    path.write_bytes(content.replace(display_unit, crop))
    np.testing.assert_array_equal(read_frames(path, range(10)), [image[shown] for image in stored(path)])


@given(seed=st.integers(0, 2**32), name=st.sampled_from(["any.mp4", "any.mkv"]))
def test_damaged_headers_never_raise(tmp_path_factory: pytest.TempPathFactory, seed: int, name: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "headers"
    folder.mkdir(exist_ok=True)
    path = folder / name
    if not path.exists():
        write_films(path, Film())
    rng = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 10, 100])):
        content[rng.randrange(len(content))] = rng.choice([0, 1, 255, rng.randrange(256)])
    damaged = folder / f"damaged_{name}"
    damaged.write_bytes(content[: rng.choice([len(content), rng.randrange(1, len(content))])])
    facts = track_facts(damaged, container="mp4" if name.endswith("4") else "matroska", track=1, index=0)
    assert len(facts.crop) == 4
