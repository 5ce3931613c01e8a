"""Folders of frames as clips: each index the frame meant, damage named by its file, all of it part of identity."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image

from reskd.data.check import check_videos
from reskd.data.dataset import VideoDataset
from reskd.data.decode.dispatch import probe, read_frames, survey
from reskd.data.decode.types import Survey
from reskd.data.manifest import build_manifest
from reskd.deploy.card import Card, Exported
from reskd.deploy.predict import find_videos, predict
from reskd.errors import BadInput, VideoOpenError, VideoReadError
from reskd.recipe import DataSpec
from tests.support.frame_folders import HEIGHT, WIDTH, write_clip, write_frame
from tests.support.video_files import frame_numbers, numbered_frame, write_video

SMALL = np.full((9, 7, 3), 90, np.uint8)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_index_i_is_the_ith_frame_by_the_number_in_its_name(tmp_path: Path, backend: str) -> None:
    clip = write_clip(tmp_path / "a")  # img_1 ... img_12, which the alphabet would begin 1, 10, 11, 12, 2
    numbers = [11, 0, 9, 9, 1]
    found = read_frames(clip, numbers, backend=backend)
    assert found.dtype == np.uint8
    for number, frame in zip(numbers, found, strict=True):
        np.testing.assert_array_equal(frame, numbered_frame(number, height=HEIGHT, width=WIDTH))
    assert frame_numbers(read_frames(clip, lambda n: [n - 1, n // 2])) == [11, 6]


@pytest.mark.parametrize(
    ("name", "first"), [("{:05d}.jpg", 1), ("frame {}.JPEG", 0), ("v2_x{:03d}.jpg", 95), ("²{}.jpg", 8)]
)
def test_jpegs_of_any_numbering_keep_their_order(tmp_path: Path, name: str, first: int) -> None:
    clip = write_clip(tmp_path / "a", name=name, first=first)
    assert frame_numbers(read_frames(clip, range(12))) == list(range(12))
    info = probe(clip)
    assert (info.num_frames, info.height, info.width, info.codec) == (12, HEIGHT, WIDTH, "jpeg")


def test_other_files_hidden_ones_and_steps_of_five_are_no_trouble(tmp_path: Path) -> None:
    clip = tmp_path / "a"
    for number in range(4):
        write_frame(clip / f"{5 * number}.png", numbered_frame(number, height=HEIGHT, width=WIDTH))
    (clip / "._0.png").write_bytes(b"a Mac was here")
    (clip / "notes.txt").write_text("every fifth frame")
    (clip / "flow").mkdir()
    assert frame_numbers(read_frames(clip, range(4))) == [0, 1, 2, 3]


def test_grey_and_palette_frames_come_as_rgb(tmp_path: Path) -> None:
    grey = np.arange(63, dtype=np.uint8).reshape(7, 9)
    for name, mode in (("1.png", "L"), ("2.png", "P"), ("3.png", "RGBA")):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(grey).convert(mode).save(tmp_path / "a" / name)
    found = read_frames(tmp_path / "a", range(3))
    assert (found == grey[None, :, :, None]).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_frame_is_turned_and_mirrored_as_its_exif_data_say(tmp_path: Path, suffix: str) -> None:
    """The eight numbers by the words of the Exif standard: where the stored first row and column are when shown."""
    shown = {
        1: lambda stored: stored,
        2: lambda stored: stored[:, ::-1],  # top, right
        3: lambda stored: stored[::-1, ::-1],  # bottom, right
        4: lambda stored: stored[::-1],  # bottom, left
        5: lambda stored: stored.swapaxes(0, 1),  # left, top
        6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],  # right, top
        7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: lambda stored: stored.swapaxes(0, 1)[::-1],  # left, bottom
    }
    image = Image.fromarray(numbered_frame(5, height=48, width=64))
    path = tmp_path / "a" / f"1{suffix}"
    path.parent.mkdir()
    image.save(path)
    stored = read_frames(path.parent, [0])[0]
    for number, turned in shown.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = number
        image.save(path, exif=exif)
        np.testing.assert_array_equal(read_frames(path.parent, [0])[0], turned(stored))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_data_that_do_not_parse_are_ignored(tmp_path: Path) -> None:
    image = Image.fromarray(numbered_frame(5, height=48, width=64))
    image.save(tmp_path / "1.jpg")
    stored = read_frames(tmp_path, [0])[0]
    image.save(tmp_path / "1.jpg", exif=b"Exif\x00\x00II*\x00" + b"\xff" * 40)
    np.testing.assert_array_equal(read_frames(tmp_path, [0])[0], stored)


def damaged(kind: str, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "overwritten": content[:100] + b"\xa5" * 50 + content[150:],
            "empty": b"",
            "page": b"<html>404</html>",
        }[kind]
    )


@pytest.mark.parametrize("kind", ["cut", "overwritten", "empty", "page"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_frame_is_named_and_the_others_are_read(tmp_path: Path, kind: str, suffix: str) -> None:
    clip = write_clip(tmp_path / "a", num_frames=4, name=f"img_{{}}.{suffix}")
    if (kind, suffix) == ("overwritten", "jpg"):
        content = (clip / "img_3.jpg").read_bytes()
        (clip / "img_3.jpg").write_bytes(content[:20] + b"\xa5" * 300 + content[320:])  # its tables
    else:
        damaged(kind, clip / f"img_3.{suffix}")
    with pytest.raises(VideoReadError, match=rf"a: frame img_3\.{suffix}"):
        read_frames(clip, [0, 2])
    assert frame_numbers(read_frames(clip, [3, 1])) == [3, 1]
    found = survey(clip, quick=False)
    assert (found.num_claimed, found.num_decoded) == (4, 2)
    assert f"img_3.{suffix}" in found.reason
    assert survey(clip, quick=True) == Survey(num_claimed=4, num_decoded=4, reason="")


def test_a_missing_frame_is_named_by_its_neighbours(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a", num_frames=9)
    (clip / "img_4.png").unlink()
    (clip / "img_5.png").unlink()
    with pytest.raises(VideoReadError, match=r"missing between img_3\.png and img_6\.png"):
        read_frames(clip, [0])
    found = survey(clip, quick=True)
    assert (found.num_claimed, found.num_decoded) == (9, 7)
    with pytest.raises(VideoReadError, match="frame 9 was asked for, but the folder has 9 frames"):
        read_frames(write_clip(tmp_path / "b", num_frames=9), [9])


def test_folders_that_are_no_clip_say_why(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoOpenError, match="without frames"):
        read_frames(tmp_path / "none", [0])
    with pytest.raises(VideoOpenError, match="without frames"):
        survey(tmp_path / "none", quick=True)
    write_frame(tmp_path / "sizes" / "1.png", SMALL)
    write_frame(tmp_path / "sizes" / "2.png", SMALL[:5])
    with pytest.raises(VideoReadError, match=r"1\.png is 7x9, 2\.png is 7x5"):
        read_frames(tmp_path / "sizes", [0, 1])
    write_frame(tmp_path / "twice" / "1.png", SMALL)
    write_frame(tmp_path / "twice" / "1.jpg", SMALL)
    with pytest.raises(VideoReadError, match="have one number"):
        read_frames(tmp_path / "twice", [0])
    (tmp_path / "deep").mkdir()
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep" / "1.png")
    with pytest.raises(VideoReadError, match=r"1\.png: its pixels .* more than 8 bits"):
        read_frames(tmp_path / "deep", [0])


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    """Two folders and a video, whose square frames a crop leaves whole."""
    root = tmp_path / "set"
    write_clip(root / "clips/one", num_frames=20, name="{:05d}.jpg", height=WIDTH)
    write_clip(root / "clips/two", num_frames=3, height=WIDTH)
    write_video(root / "clips/three.mp4", num_frames=20, height=WIDTH, width=WIDTH)
    (root / "train.csv").write_text("path,label\nclips/one,a\nclips/three.mp4,b\n")
    (root / "val.csv").write_text("path,label\nclips/two,b\n")
    return DataSpec(root=str(root), num_frames=4, short_side=WIDTH, crop_size=WIDTH, crop_scales=(1.0,), flip=False)


def numbers_of(clip: torch.Tensor) -> list[int]:
    """Of a crop (T, 3, S, S)."""
    return frame_numbers(clip.permute(0, 2, 3, 1).numpy())


def test_a_data_set_of_folders_and_videos_trains_and_validates(spec: DataSpec) -> None:
    manifest, root = build_manifest(spec), Path(str(spec.root))
    train, val = (
        VideoDataset(manifest.split(split), root=root, spec=spec, num_classes=2, split=split, data_seed=0)
        for split in ("train", "val")
    )
    drawn = [train.collate([train[(epoch, sample)] for sample in (0, 1)]).clips for epoch in range(3)]
    for clip in torch.cat(drawn):
        assert [number // 5 for number in numbers_of(clip)] == [0, 1, 2, 3]  # one of each segment
    assert len({str(numbers_of(folder)) for folder, _ in drawn}) == 3
    assert numbers_of(val.collate([val[(0, 0)]]).clips[0]) == [0, 1, 2, 0]


def test_a_folder_counts_by_its_names_sizes_and_content(spec: DataSpec, tmp_path: Path) -> None:
    root = Path(str(spec.root))
    before = build_manifest(spec, cache=tmp_path / "cache.json")
    sizes = [path.stat().st_size for path in (root / "clips/one").iterdir()]
    assert before.train[0].size == sum(sizes)
    shutil.copytree(root, tmp_path / "moved")
    (tmp_path / "moved/clips/one/notes.txt").write_text("no frame")
    moved = DataSpec(root=str(tmp_path / "moved"))
    assert build_manifest(moved).sha256 == before.sha256
    last = tmp_path / "moved/clips/one/00020.jpg"
    content = last.read_bytes()
    last.write_bytes(content[:-1] + b"x")
    assert build_manifest(moved).sha256 != before.sha256
    last.write_bytes(content)
    assert build_manifest(moved).sha256 == before.sha256
    last.rename(last.with_name("00021.jpg"))
    assert build_manifest(moved).sha256 != before.sha256


def test_the_cache_sees_a_frame_written_again_in_place(spec: DataSpec, tmp_path: Path) -> None:
    cache, root = tmp_path / "cache.json", Path(str(spec.root))
    for path in root.rglob("*"):
        os.utime(path, ns=(0, 10**18))
    before = build_manifest(spec, cache=cache)
    frame = root / "clips/one/00001.jpg"
    content = frame.read_bytes()
    frame.write_bytes(content[:-1] + b"x")
    assert build_manifest(spec, cache=cache).sha256 != before.sha256
    frame.write_bytes(content)
    assert build_manifest(spec, cache=cache).sha256 == before.sha256


def test_a_check_of_the_data_names_damaged_frames_and_clips_too_short_for_a_stride(
    spec: DataSpec, tmp_path: Path
) -> None:
    root = Path(str(spec.root))
    for path in root.rglob("*"):
        os.utime(path, ns=(0, 10**18))
    spec = replace(spec, sampling="dense", frame_stride=6)  # 19 frames from the first to the last of four

    def found(num_examined: int) -> list[tuple[str, str]]:
        report = check_videos(spec, quick=False, workers=1, cache=tmp_path / "cache.json", on_progress=None)
        assert report.num_examined == num_examined
        return [(finding.path, finding.status) for finding in report.findings]

    assert found(3) == [("clips/two", "short")]
    assert found(0) == [("clips/two", "short")]
    damaged("cut", root / "clips/one/00007.jpg")
    assert found(1) == [("clips/one", "damaged"), ("clips/two", "short")]


def test_an_empty_folder_in_the_annotations_is_a_missing_video(spec: DataSpec) -> None:
    shutil.rmtree(Path(str(spec.root)) / "clips/two")
    (Path(str(spec.root)) / "clips/two").mkdir()
    with pytest.raises(BadInput, match="1 of 3 videos are missing: clips/two"):
        build_manifest(spec)


def test_predict_takes_a_folder_of_frames_alone_for_a_clip_and_any_other_for_a_folder_of_videos(
    spec: DataSpec,
) -> None:
    clips = Path(str(spec.root)) / "clips"
    assert find_videos([clips / "one"]) == [clips / "one"]
    assert find_videos([clips]) == [clips / "three.mp4"]
    shutil.copy(clips / "three.mp4", clips / "one" / "clip.mp4")
    assert find_videos([clips / "one"]) == [clips / "one/clip.mp4"]


@pytest.mark.parametrize(("stride", "expected"), [(None, [2, 7, 12, 17]), (3, [4, 7, 10, 13])])
def test_predict_samples_as_the_models_recipe_does(spec: DataSpec, stride: int | None, expected: list[int]) -> None:
    # 20 frames: middles of four segments of 5, or 20 - 12 + 1 = 9 starts, the middle one 4.
    sizes = {"num_frames": 4, "stride": stride, "resolution": WIDTH, "short_side": WIDTH, "crop_size": WIDTH}
    card = Card(step_id="a", model="m", classes=("x", "y"), **sizes)  # type: ignore[arg-type]
    seen: list[list[int]] = []

    def logits(clips: torch.Tensor) -> NDArray[np.float32]:
        seen.extend(map(numbers_of, clips))
        return np.zeros((len(clips), 2), np.float32)

    clips = Path(str(spec.root)) / "clips"
    answers = list(predict(Exported(logits, card), [clips / "one", clips / "three.mp4"]))
    assert [answer.reason for answer in answers] == ["", ""]
    assert seen == [expected, expected]
