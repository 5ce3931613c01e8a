"""Packed data sets: the very frames, what is resumed, what is refused, and what a run and a check make of them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.plan.cost import ClipCounts, Costs
from orchestrator.plan.device_profiles import load_profile
from orchestrator.run.pack_on_ray import ray_packing
from orchestrator.spec.sweep import load
from reskd.data.check import check_videos
from reskd.data.dataset import VideoDataset
from reskd.data.decode.dispatch import probe, read_frames, survey
from reskd.data.decode.packed import read_facts
from reskd.data.manifest import Clip, build_manifest
from reskd.data.pack import Job, PackReport, grid, pack
from reskd.data.pack_record import PackSettings
from reskd.data.sampling import segment_indices
from reskd.data.transforms import resize_short_side
from reskd.errors import BadInput, TooManyDamaged, VideoOpenError, VideoReadError
from reskd.recipe import DataSpec
from tests.support.forms import forms
from tests.support.frame_folders import write_clip
from tests.support.open_sockets import waiting_sockets
from tests.support.video_files import frame_numbers, overwrite_middle, write_video

SETTINGS = PackSettings(num_frames=12, short_side=48)
OTHER = PackSettings(num_frames=12, short_side=16)
PACKED = DataSpec(num_frames=4, short_side=32, crop_size=32, classes="classes.txt", max_damaged=0.5)


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """Four clips: 40 frames, 40 of a size that is not shrunk, 7, and 9 images in a folder."""
    root = tmp_path / "originals"
    (root / "b").mkdir(parents=True)
    write_video(root / "long.mp4", num_frames=40)
    write_video(root / "b" / "small.mp4", num_frames=40, height=32, width=80)
    write_video(root / "short.mkv", num_frames=7)
    write_clip(root / "folder", num_frames=9)
    (root / "train.csv").write_text('path,label,label\nlong.mp4,"run, fast",\nb/small.mp4,walk,"run, fast"\n')
    (root / "val.csv").write_text("path,label\nshort.mkv,walk\nfolder,walk\n")
    return root


def packed(root: Path, target: Path, settings: PackSettings = SETTINGS, *, max_damaged: float = 0.5) -> PackReport:
    return pack(DataSpec(root=str(root), max_damaged=max_damaged), target, settings, workers=1)


def middles(num_total: int, num_frames: int) -> list[int]:
    return [int((i + 0.5) * num_total / num_frames) for i in range(num_frames)]


def test_a_packed_video_holds_the_middle_frame_of_each_part_by_its_burnt_in_number(originals, tmp_path):
    target = tmp_path / "packed"
    report = packed(originals, target)
    assert (report.num_packed, report.num_kept, report.damaged) == (4, 0, ())
    expected = {"long.mp4": middles(40, 12), "b/small.mp4": middles(40, 12), "short.mkv": [*range(7)]}
    for name, numbers in expected.items():
        path = target / "videos" / f"{name}.zip"
        assert frame_numbers(read_frames(path, lambda n: range(n))) == numbers
        facts = read_facts(path)
        assert facts.indices == tuple(numbers)
        np.testing.assert_allclose(facts.times_s, np.array(numbers) / 25, atol=1e-3)
        assert facts.num_source_frames == (7 if name == "short.mkv" else 40)
    path = target / "videos" / "long.mp4.zip"
    assert frame_numbers(read_frames(path, [11, 0, 11], backend="decord")) == [38, 1, 38]
    assert (probe(path).height, probe(path).width, probe(path).num_frames) == (48, 72, 12)
    assert probe(target / "videos" / "b" / "small.mp4.zip").height == 32  # never enlarged
    assert frame_numbers(read_frames(target / "videos" / "folder.zip", range(9))) == list(range(9))


@pytest.mark.parametrize("resample", ["antialias", "opencv"])
def test_pixels_are_those_of_the_loaders_own_resize_but_for_jpeg(originals, tmp_path, resample):
    packed(originals, tmp_path / "packed", PackSettings(num_frames=0, short_side=48, quality=100, resample=resample))
    found = read_frames(tmp_path / "packed" / "videos" / "long.mp4.zip", [3, 30]).astype(int)
    original = torch.from_numpy(read_frames(originals / "long.mp4", [3, 30])).permute(0, 3, 1, 2)
    expected = resize_short_side(original, short_side=48, resample=resample).permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(found - expected).mean() < 4  # its colours are stored at half the resolution


def test_a_packs_resampler_is_recorded_only_where_it_is_not_that_of_older_packs():
    assert PackSettings(num_frames=4).record() == {"num_frames": 4, "short_side": 256, "quality": 90}
    opencv = PackSettings(num_frames=4, resample="opencv")
    assert PackSettings(**opencv.record()) == opencv
    assert opencv.words.endswith("short side at most 256, resized without antialiasing")
    with pytest.raises(BadInput, match=r"--resample must be one of antialias, opencv, got 'cubic'"):
        PackSettings(num_frames=4, resample="cubic")


@given(st.integers(1, 3000), st.integers(1, 24), st.sampled_from([1, 3, 5, 7]))
def test_test_frames_of_an_odd_multiple_are_those_of_the_original(num_total, num_frames, multiple):
    kept = grid(num_total, num_frames=num_frames * multiple)
    assert list(kept) == sorted(set(kept))
    assert 0 <= kept[0] <= kept[-1] < num_total
    of_packed = segment_indices(len(kept), num_frames=num_frames, rng=None)
    assert [kept[i] for i in of_packed] == segment_indices(num_total, num_frames=num_frames, rng=None)


def test_python_lists_a_packed_video_and_its_jpegs_are_not_compressed_again(originals, tmp_path):
    packed(originals, tmp_path / "packed")
    path = tmp_path / "packed" / "videos" / "short.mkv.zip"
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert all(f"{number:07d}.jpg" in listed for number in range(7))
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("video.json"))["source"] == "short.mkv"


def test_a_packed_set_is_a_csv_data_set_with_the_same_classes_and_labels(originals, tmp_path):
    target = tmp_path / "packed"
    packed(originals, target)
    before = build_manifest(DataSpec(root=str(originals)))
    after = build_manifest(replace(PACKED, root=str(target)))
    assert after.classes == before.classes == ("run, fast", "walk")
    assert [clip.labels for clip in after.train] == [clip.labels for clip in before.train] == [(0,), (0, 1)]
    assert after.sha256 != before.sha256
    spec = replace(PACKED, root=str(target))
    item = VideoDataset(after.val, root=target, spec=spec, num_classes=2, split="val", data_seed=0)[0, 0]
    assert item.clip is not None
    assert item.clip.shape == (4, 3, 32, 32)


@pytest.mark.parametrize("workers", forms([1, 2], light=[1]))  # each process of its own takes seconds to load
def test_two_packings_give_the_same_bytes_in_this_process_and_in_two_others(originals, tmp_path, workers):
    packed(originals, tmp_path / "first")
    pack(DataSpec(root=str(originals)), tmp_path / "second", SETTINGS, workers=workers)
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.*") if path.is_file())
    assert len(files) == 4 + 6
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_the_same_call_keeps_what_is_whole_and_makes_what_changed(originals, tmp_path):
    target = tmp_path / "packed"
    packed(originals, target)
    kept = target / "videos" / "short.mkv.zip"
    before = kept.stat().st_mtime_ns
    write_video(originals / "long.mp4", num_frames=20)
    (target / "videos" / "folder.zip").unlink()
    report = packed(originals, target)
    assert (report.num_packed, report.num_kept) == (2, 2)
    assert kept.stat().st_mtime_ns == before
    assert read_facts(target / "videos" / "long.mp4.zip").num_source_frames == 20


def test_other_settings_are_refused_with_what_differs(originals, tmp_path):
    packed(originals, tmp_path / "packed")
    with pytest.raises(BadInput, match=r"--frames was 12 and is 20, --quality was 90 and is 75; name another folder"):
        packed(originals, tmp_path / "packed", PackSettings(num_frames=20, short_side=48, quality=75))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(BadInput, match="photos exists already and is no pack"):
        packed(originals, tmp_path / "photos")
    with pytest.raises(BadInput, match="4 videos are packed already"):
        pack(replace(PACKED, root=str(tmp_path / "packed")), tmp_path / "twice", SETTINGS, workers=1)


def test_videos_outside_of_the_root_are_not_packed_to_places_outside_of_the_pack(originals, tmp_path):
    (originals / "short.mkv").rename(tmp_path / "short.mkv")
    (originals / "val.csv").write_text("path,label\n../short.mkv,walk\n")
    spec = DataSpec(root=str(originals), allow_outside=True)
    assert [clip.path for clip in build_manifest(spec).val] == ["../short.mkv"]
    with pytest.raises(BadInput, match=r"1 videos lie outside of this data root: \.\./short\.mkv"):
        pack(spec, tmp_path / "pack" / "here", SETTINGS)
    assert not (tmp_path / "pack").exists()


def test_damaged_videos_are_listed_and_left_out_up_to_the_limit(originals, tmp_path):
    target = tmp_path / "packed"
    overwrite_middle(originals / "long.mp4", originals / "long.mp4", share=0.5)
    report = packed(originals, target)
    assert [path for path, _ in report.damaged] == ["long.mp4"]
    assert "long.mp4," in (target / "damaged.csv").read_text()
    assert json.loads((target / "pack.json").read_text())["num_damaged"] == 1
    assert "long.mp4" not in (target / "train.csv").read_text()
    assert len(build_manifest(replace(PACKED, root=str(target))).train) == 1
    with pytest.raises(TooManyDamaged, match=r"1 of 2 train videos do not decode: long\.mp4; .*damaged\.csv lists"):
        packed(originals, target, max_damaged=0.4)
    with pytest.raises(BadInput, match="half a pack"):
        build_manifest(replace(PACKED, root=str(target)))


def test_a_full_disk_is_named_loses_nothing_and_the_same_call_goes_on(originals, tmp_path, monkeypatch):
    target = tmp_path / "packed"
    sync, calls = os.fsync, []

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) == 4:  # pack.json, two videos, and then
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match=r"packed: the disk is full .* 2 of 4 videos are packed; make room, then type"):
        packed(originals, target)
    monkeypatch.undo()
    assert len(list(target.rglob("*.zip"))) == 2
    assert not list(target.rglob("*.tmp"))
    with pytest.raises(BadInput, match="half a pack"):
        build_manifest(replace(PACKED, root=str(target)))
    report = packed(originals, target)
    assert (report.num_packed, report.num_kept) == (2, 2)
    assert len(build_manifest(replace(PACKED, root=str(target))).train) == 2


def tamper(target: Path, how: str) -> None:
    video = target / "videos" / "short.mkv.zip"
    if how == "another video":
        video.write_bytes((target / "videos" / "long.mp4.zip").read_bytes())
    elif how == "one byte":
        content = bytearray(video.read_bytes())
        content[len(content) // 2] ^= 1
        video.write_bytes(content)
    elif how == "a row of the list":
        (target / "videos.csv").write_text((target / "videos.csv").read_text().replace("short.mkv,", "other.mkv,"))
    elif how == "no list":
        (target / "videos.csv").unlink()
    else:
        (target / "videos" / "new.zip").write_bytes(video.read_bytes())
        (target / "val.csv").write_text("path,label\nvideos/new.zip,walk\n")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("another video", r"1 of 4 packed videos are not as they were packed: videos/short\.mkv\.zip"),
        ("one byte", r"1 of 4 packed videos are not as they were packed: videos/short\.mkv\.zip"),
        ("a row of the list", r"videos\.csv: not the list"),
        ("no list", r"videos\.csv: no such file"),
    ],
)
def test_a_pack_that_does_not_match_its_record_is_refused_and_packed_again(originals, tmp_path, how, words):
    target = tmp_path / "packed"
    packed(originals, target)
    tamper(target, how)
    spec = replace(PACKED, root=str(target))
    with pytest.raises(BadInput, match=f"{words}.*same `reskd data pack` command"):
        build_manifest(spec)
    with pytest.raises(BadInput, match=words):
        check_videos(spec, quick=True, workers=1, cache=None, on_progress=None)
    packed(originals, target)
    assert check_videos(spec, quick=False, workers=1, cache=None, on_progress=None).ok


def test_a_video_that_the_pack_does_not_list_is_refused(originals, tmp_path):
    target = tmp_path / "packed"
    packed(originals, target)
    tamper(target, "a video more")
    with pytest.raises(BadInput, match=r"1 annotated videos are not in the pack's videos\.csv: videos/new\.zip"):
        build_manifest(replace(PACKED, root=str(target)))


def test_what_is_no_packed_video_and_a_frame_that_is_not_there_are_named(originals, tmp_path):
    packed(originals, tmp_path / "packed")
    video = tmp_path / "packed" / "videos" / "short.mkv.zip"
    with pytest.raises(VideoReadError, match="frame 7 was asked for, but 7 frames were packed"):
        read_frames(video, [7])
    content = video.read_bytes()
    with zipfile.ZipFile(video) as archive:
        place = archive.getinfo("0000003.jpg").header_offset + 200
    video.write_bytes(content[:place] + bytes(100) + content[place + 100 :])
    with pytest.raises(VideoReadError, match=r"frame 3 \(0000003\.jpg\) does not decode"):
        read_frames(video, [3])
    assert frame_numbers(read_frames(video, [2, 4])) == [2, 4]
    assert survey(video, quick=False).num_decoded == 3
    for broken in (content[: len(content) // 2], b"", b"no zip at all"):
        video.write_bytes(broken)
        with pytest.raises(VideoOpenError, match="not a packed video"):
            read_frames(video, [0])


def test_the_commands_pack_a_folder_and_check_the_pack(originals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["data", "pack", str(originals), "packed", "--frames", "12", "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "4 videos packed" in result.output
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "question: Is a pack a data set?\n"
        "base:\n"
        "  data: {root: packed, classes: classes.txt, num_frames: 4, short_side: 32, crop_size: 32}\n"
        "  model: {name: tsn_mini10, resolution: 32}\n"
        "rows: {chain: [{row: one}]}\n"
        "seeds: [0]\n"
    )
    result = CliRunner().invoke(app, ["data", "check", str(sweep), "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "2 videos: 2 ok" in result.output


def test_bench_says_what_a_clip_costs_and_how_many_cores_feed_a_gpu(originals, tmp_path):
    packed(originals, tmp_path / "packed")
    arguments = ["data", "bench", str(originals), str(tmp_path / "packed"), "--clips", "2", "--clips-per-s", "1000"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    for line in result.output.splitlines():
        found = json.loads(line)
        assert found["num_clips"] == 2
        parts = [found[f"{name}_ms"] for name in ("decode", "crop", "collate")]
        assert found["total_ms"] == pytest.approx(sum(parts))
        assert 0 <= found["cores_per_gpu"] - sum(parts) < 1  # 1,000 clips a second: a core for each millisecond
    assert len(result.output.splitlines()) == 2


def test_bench_takes_the_speed_of_a_sweeps_fastest_row_where_none_is_given(originals, tmp_path):
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "question: Who is fastest?\nbase:\n"
        f"  data: {{root: {originals}, num_frames: 4, short_side: 32, crop_size: 32}}\n"
        "rows:\n  zip: {row: [large, small], model.name: [tsn_resnet50, tsn_resnet18], model.resolution: [32, 16]}\n"
        "seeds: [0]\n"
    )
    for device in ("a100", "h200"):
        result = CliRunner().invoke(app, ["data", "bench", str(sweep), "--clips", "2", "--device", device, "--json"])
        assert result.exit_code == 0, result.output
        found = json.loads(result.output)
        costs = Costs(device=device, profile=load_profile(device), clips=lambda step: ClipCounts(0, 0))
        cells = {cell.row: costs.clips_per_s(cell.recipe) for cell in load(sweep).cells}
        assert found["gpu_clips_per_s"] == cells["small"] > cells["large"]
        assert found["cores_per_gpu"] >= 1


@pytest.mark.ray
def test_a_ray_of_our_own_packs_the_same_bytes_and_lists_what_is_damaged(originals, tmp_path, monkeypatch):
    overwrite_middle(originals / "long.mp4", originals / "long.mp4", share=0.5)
    packed(originals, tmp_path / "here")
    spec, target = DataSpec(root=str(originals), max_damaged=0.5), tmp_path / "there"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with ray_packing("local", target) as pack_all:
        assert all(waiting_sockets(os.getpid()).values())
        assert not (tmp_path / "home" / ".ray").exists()
        assert os.environ["RAY_AUTH_MODE"] == "token"
        report = pack(spec, target, SETTINGS, pack_all=pack_all)
        with pytest.raises(BadInput, match="cannot see the pack that was begun there"):
            list(
                pack_all(
                    [Job(originals / "short.mkv", target / "one.zip", Clip("short.mkv", 1, "", (0,)), None)], OTHER
                )
            )
    assert not [name for name in os.environ if name.startswith("RAY_AUTH_")]
    assert [path for path, _ in report.damaged] == ["long.mp4"]
    here, there = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "here", target)
    )
    assert here == there


@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_named(originals, tmp_path):
    with pytest.raises(BadInput, match=r"--address 127.0.0.1:1: "), ray_packing("127.0.0.1:1", tmp_path):
        pass
