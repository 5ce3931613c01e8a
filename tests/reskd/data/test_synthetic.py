from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from reskd.data.annotations import load_annotations
from reskd.data.decode.dispatch import probe, read_frames
from reskd.data.synthetic import CLASSES, draw_clip, encode, make_demo
from reskd.errors import BadInput
from reskd.recipe import DataSpec


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_two_processes_write_the_same_bytes_and_another_seed_writes_others(tmp_path):
    code = (
        "import sys, pathlib; from reskd.data.synthetic import make_demo; "
        "make_demo(pathlib.Path(sys.argv[1]), seed=int(sys.argv[2]), num_train=8, num_val=6)"
    )
    for name, seed in (("first", "3"), ("second", "3"), ("other", "4")):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name), seed], check=True)
    first, second, other = (contents(tmp_path / name) for name in ("first", "second", "other"))
    assert len(first) == 14 + 4
    assert first == second
    videos = {path for path in first if path.endswith(".mp4")}
    assert videos == {f"train/{n:04d}.mp4" for n in range(8)} | {f"val/{n:04d}.mp4" for n in range(6)}
    assert all(first[path] != other[path] for path in videos)
    assert len({first[path] for path in videos}) == 14


def test_the_demo_loads_as_any_data_set_with_its_classes_balanced(tmp_path):
    make_demo(tmp_path, num_train=13, num_val=6)
    annotations = load_annotations(DataSpec(root=str(tmp_path)))
    assert annotations.classes == CLASSES
    assert annotations.classes == ("orient000", "orient030", "orient060", "orient090", "orient120", "orient150")
    counts = np.bincount([record.labels[0] for record in annotations.train], minlength=6)
    assert sorted(counts) == [2, 2, 2, 2, 2, 3]
    for record in (*annotations.train, *annotations.val):
        info = probe(tmp_path / record.path)
        assert (info.num_frames, info.height, info.width, info.codec) == (8, 64, 64, "h264")
    with av.open(str(tmp_path / "val/0000.mp4")) as container:
        assert container.streams.video[0].average_rate == 4


@pytest.mark.parametrize("label", range(6))
def test_the_label_is_the_gratings_orientation_in_half_of_the_frames(label):
    """Read off the file's own spectrum: what changes against the clip's median frame, at the grating's wave lengths."""
    rng = np.random.default_rng(label)
    across, down = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64))
    radius = np.hypot(across, down)
    is_in_band = (radius > 1 / 12) & (radius < 1 / 6)
    for _ in range(5):
        frames = draw_clip(label, rng=rng).astype(float)
        moving = frames - np.median(frames, axis=0)
        power = (np.abs(np.fft.fft2(moving, axes=(1, 2))) ** 2).sum(axis=3) * is_in_band  # (T, 64, 64)
        direction = (power.sum(axis=0) * np.exp(2j * np.arctan2(down, across))).sum()  # angles have a period of 180
        off = (np.rad2deg(np.angle(direction)) / 2 - 30 * label + 90) % 180 - 90
        assert abs(off) < 12
        strength = power.sum(axis=(1, 2))
        shown = set(np.argsort(strength)[4:])
        assert shown in [{2 * a, 2 * a + 1, 2 * b, 2 * b + 1} for a in range(4) for b in range(a)]


def test_the_file_holds_what_was_drawn_as_far_as_compression_keeps_it(tmp_path):
    frames = draw_clip(2, rng=np.random.default_rng(0))
    (tmp_path / "a.mp4").write_bytes(encode(frames))
    decoded = read_frames(tmp_path / "a.mp4", range(8))
    assert np.abs(decoded.astype(int) - frames).mean() < 15
    errors = [[np.abs(a.astype(int) - b).mean() for b in frames] for a in decoded]
    assert np.argmin(errors, axis=1).tolist() == list(range(8))


@pytest.mark.parametrize("container", ["mp4", "matroska", "webm"])
def test_a_clip_is_the_same_file_whenever_it_is_encoded(container):
    frames = draw_clip(2, rng=np.random.default_rng(0))
    assert encode(frames, container=container) == encode(frames, container=container)


def test_a_complete_demo_is_left_alone(tmp_path):
    make_demo(tmp_path / "demo", num_train=6, num_val=2)
    before = times(tmp_path / "demo")
    make_demo(tmp_path / "demo", num_train=6, num_val=2)
    assert times(tmp_path / "demo") == before


def test_a_demo_that_was_interrupted_or_lost_files_is_completed(tmp_path):
    make_demo(tmp_path / "whole", num_train=6, num_val=2)
    make_demo(tmp_path / "part", num_train=6, num_val=2)
    expected = contents(tmp_path / "whole")
    part = tmp_path / "part"
    kept = (part / "train/0001.mp4").stat().st_mtime_ns
    for name in ("train/0005.mp4", "val/0001.mp4", "val.csv"):
        (part / name).unlink()
    make_demo(part, num_train=6, num_val=2)
    assert contents(part) == expected
    (part / "demo.json").rename(part / "demo.partial.json")  # as a kill leaves it
    (part / "val/0000.mp4").unlink()
    make_demo(part, num_train=6, num_val=2)
    assert contents(part) == expected
    assert (part / "train/0001.mp4").stat().st_mtime_ns == kept


def test_a_folder_with_another_demo_or_with_other_files_is_refused(tmp_path):
    make_demo(tmp_path / "demo", num_train=1, num_val=1)
    before = contents(tmp_path / "demo")
    with pytest.raises(BadInput, match=r'demo\.json: .*"seed": 0.*not .*"seed": 1'):
        make_demo(tmp_path / "demo", seed=1, num_train=1, num_val=1)
    assert contents(tmp_path / "demo") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.csv").write_text("path,label\n")
    with pytest.raises(BadInput, match="mine: not empty"):
        make_demo(tmp_path / "mine")
    assert contents(tmp_path / "mine").keys() == {"train.csv"}


def test_the_marker_says_what_the_folder_holds(tmp_path):
    make_demo(tmp_path, seed=5, num_train=1, num_val=2)
    assert json.loads((tmp_path / "demo.json").read_text()) == {"drawing": 1, "seed": 5, "num_train": 1, "num_val": 2}
    assert "1 training and 2 validation clips, seed 5" in (tmp_path / "README.txt").read_text()
