"""A folder with one video of each kind of trouble, and what the check says of it."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from reskd.data import check as check_module
from reskd.data.check import CheckReport, Durations, Finding, FrameCounts, check_videos
from reskd.data.dataset import VideoDataset
from reskd.data.manifest import build_manifest
from reskd.errors import BadInput
from reskd.recipe import DataSpec
from tests.support.deadly_items import examine_or_die
from tests.support.mp4_boxes import edit_list, put_box
from tests.support.shown_videos import ONE, Film, write_films
from tests.support.video_files import overwrite_middle, truncate, write_video

TRAIN = {
    "good.mp4": ("run", "ok"),
    "long.mp4": ("run", "ok"),
    "truncated.mp4": ("jump", "damaged"),
    "overwritten.mp4": ("jump", "damaged"),
    "noise.mp4": ("run", "unreadable"),
    "folder.mp4": ("run", "unreadable"),
    "empty.mp4": ("jump", "empty"),
    "no_frames.avi": ("jump", "empty"),
    "missing.mp4": ("run", "missing"),
    "good.mp4/inside.mp4": ("run", "missing"),
}
VAL = {"short.mp4": ("run", "short"), "good.mp4": ("run", "ok")}
CLASSES = ["fall", "jump", "run"]


@pytest.fixture
def data(tmp_path: Path) -> DataSpec:
    root = tmp_path / "data"
    root.mkdir()
    write_video(root / "good.mp4", num_frames=20)
    write_video(root / "long.mp4", num_frames=60, muxer={"movflags": "faststart"})
    write_video(root / "short.mp4", num_frames=5)
    write_video(root / "no_frames.avi", num_frames=0)
    truncate(root / "long.mp4", root / "truncated.mp4", share=0.6)
    overwrite_middle(root / "long.mp4", root / "overwritten.mp4", share=0.1)
    (root / "noise.mp4").write_bytes(random.Random(0).randbytes(3000))
    (root / "empty.mp4").touch()
    (root / "folder.mp4").mkdir()
    for name, rows in (("train.csv", TRAIN), ("val.csv", VAL)):
        lines = [f"{path},{label}" for path, (label, _) in rows.items()]
        (root / name).write_text("\n".join(["path,label", *lines]))
    (root / "classes.txt").write_text("\n".join(CLASSES))
    for path in root.iterdir():
        set_age(path)
    return DataSpec(root=str(root), num_frames=16, classes="classes.txt")


def set_age(path: Path) -> None:
    """Results of files that have just changed are not kept, so these are a day old."""
    os.utime(path, ns=(path.stat().st_mtime_ns, 1_700_000_000_000_000_000))


def check(data: DataSpec, **options: object) -> CheckReport:
    return check_videos(data, **{"quick": False, "workers": 1, "cache": None, "on_progress": None, **options})


def statuses(report: CheckReport, split: str) -> dict[str, str]:
    return {finding.path: finding.status for finding in report.findings if finding.split == split}


@pytest.mark.parametrize("workers", [1, 2])
def test_each_kind_of_trouble_is_counted_and_named_in_its_split(data: DataSpec, workers: int) -> None:
    report = check(data, workers=workers)
    assert statuses(report, "train") == {path: status for path, (_, status) in TRAIN.items() if status != "ok"}
    assert statuses(report, "val") == {"short.mp4": "short"}
    assert report.splits["train"].counts == {"ok": 2, "damaged": 2, "unreadable": 2, "empty": 2, "missing": 2}
    assert report.splits["val"].counts == {"ok": 1, "short": 1}
    assert all(finding.reason for finding in report.findings)
    assert not report.ok


REFUSED = {
    "tilted.mp4": Film(matrix=(ONE, ONE, -ONE, ONE)),
    "pixels.mp4": Film(pixel_ratio=Fraction(9)),
    "slow.mp4": Film(),
    "fine.mp4": Film(matrix=(0, ONE, ONE, 0), pixel_ratio=Fraction(2)),
}


def test_the_check_finds_what_training_refuses_and_says_the_same(tmp_path: Path) -> None:
    for name, film in REFUSED.items():
        write_films(tmp_path / name, film)
    put_box(tmp_path / "slow.mp4", [b"moov", b"trak", b"edts", b"elst"], edit_list((400, 0, 0.5)))
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("path,label\n" + "".join(f"{name},run\n" for name in REFUSED))
    spec = DataSpec(root=str(tmp_path), num_frames=4, short_side=64, crop_size=64)
    found = {finding.path: finding.reason for finding in check(spec).findings if finding.split == "val"}
    clips = build_manifest(spec).val
    dataset = VideoDataset(clips, root=tmp_path, spec=spec, num_classes=1, split="val", data_seed=0)
    damaged = [damage for number in range(len(clips)) for damage in dataset[(0, number)].damaged]
    assert {damage.path: damage.reason for damage in damaged} == found
    assert found.keys() == REFUSED.keys() - {"fine.mp4"}


def test_lengths_and_class_balance_are_told_for_each_split(data: DataSpec) -> None:
    splits = check(data).splits
    assert splits["train"].frames == FrameCounts(min=20, median=40, max=60)
    assert splits["val"].frames == FrameCounts(min=5, median=12.5, max=20)
    assert list(splits["train"].class_counts.items()) == [("fall", 0), ("jump", 4), ("run", 4)]
    assert splits["val"].class_counts == {"fall": 0, "jump": 0, "run": 2}


def test_short_videos_are_a_warning_that_depends_on_the_recipe(data: DataSpec) -> None:
    (Path(data.root or "") / "train.csv").write_text("path,label\ngood.mp4,run\n")
    report = check(data)
    assert report.ok
    reason = "5 frames, fewer than data.num_frames = 16: they will repeat"
    assert report.findings == (Finding("val", "short.mp4", "short", reason),)
    assert check(replace(data, num_frames=5)).findings == ()


def test_a_quick_check_sees_all_but_damage_inside_the_packets(data: DataSpec) -> None:
    troubles = {path: status for path, (_, status) in TRAIN.items() if status != "ok"}
    del troubles["overwritten.mp4"]
    assert statuses(check(data, quick=True), "train") == troubles


def test_progress_reaches_the_number_of_different_videos(data: DataSpec) -> None:
    calls: list[tuple[int, int]] = []
    check(data, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 11) for done in range(12)]


def replace_content(path: Path, other: Path) -> None:
    """The content of another video; the size grows to the same, and the time stays."""
    stat = path.stat()
    content = other.read_bytes()
    assert len(content) <= stat.st_size
    path.write_bytes(content + bytes(stat.st_size - len(content)))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_second_check_opens_only_what_may_have_changed(data: DataSpec, tmp_path: Path) -> None:
    root, cache = Path(data.root or ""), tmp_path / "caches" / "check.json"
    first = check(data, cache=cache)
    assert first.num_examined == 11
    replace_content(root / "long.mp4", root / "noise.mp4")  # unseen: size and time are the same
    again = check(data, cache=cache)
    assert again.num_examined == 3  # two are missing and one is a folder: the file system's trouble may pass
    assert (again.splits, again.findings) == (first.splits, first.findings)
    shutil.copy(root / "noise.mp4", root / "good.mp4")
    set_age(root / "good.mp4")
    assert statuses(check(data, cache=cache), "train")["good.mp4"] == "unreadable"
    assert check(data, cache=cache).num_examined == 3
    assert os.listdir(cache.parent) == ["check.json"]


def test_a_full_result_serves_a_quick_check_and_not_the_other_way(data: DataSpec, tmp_path: Path) -> None:
    cache = tmp_path / "check.json"
    check(data, quick=True, cache=cache)
    full = check(data, cache=cache)
    assert full.num_examined == 11
    quick = check(data, quick=True, cache=cache)
    assert quick.num_examined == 3
    assert statuses(quick, "train")["overwritten.mp4"] == "damaged"


def test_a_file_written_a_moment_ago_is_looked_at_again(data: DataSpec, tmp_path: Path) -> None:
    write_video(Path(data.root or "") / "good.mp4", num_frames=30)
    cache = tmp_path / "check.json"
    check(data, cache=cache)
    assert check(data, cache=cache).num_examined == 4


def test_what_was_found_before_an_interrupt_is_kept(data: DataSpec, tmp_path: Path) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(data, cache=tmp_path / "check.json", on_progress=interrupt)
    assert check(data, cache=tmp_path / "check.json").num_examined == 11 - 5  # of the six, one is a folder


@pytest.mark.parametrize("content", ["", "[]", '{"videos": {"a.mp4": [1]}}', '{"videos": 3}'])
def test_a_cache_file_that_is_none_is_refused_and_left_alone(data: DataSpec, tmp_path: Path, content: str) -> None:
    cache = tmp_path / "notes.json"
    cache.write_text(content)
    with pytest.raises(BadInput, match=r"notes\.json: not a cache of video checks"):
        check(data, cache=cache)
    assert cache.read_text() == content


KINETICS = "label,youtube_id,time_start,time_end,split\n"


def kinetics(root: Path, **ends: int) -> DataSpec:
    """Clips of 1 s (25 frames) whose labelled part begins at 0 and ends as said."""
    for name, end in ends.items():
        if name != "gone":
            write_video(root / f"{name}_000000_{end:06d}.mp4", num_frames=25)
    rows = "".join(f"{name}ing,{name},0,{end},train\n" for name, end in ends.items())
    (root / "train.csv").write_text(KINETICS + rows)
    (root / "val.csv").write_text(KINETICS + rows.replace("train", "val"))
    return DataSpec(root=str(root), annotations="kinetics", num_frames=16)


def test_times_past_the_end_are_named_and_do_not_stop_a_run(tmp_path: Path) -> None:
    report = check(kinetics(tmp_path, run=1, jump=3))
    assert report.splits["train"].counts == {"ok": 1, "past_end": 1}
    assert report.findings[0].reason == "labelled up to 3 s, but lasts 1.0 s"
    assert report.splits["train"].durations == Durations(min=1.0, median=1.0, max=1.0)
    assert report.ok


def test_a_file_that_was_not_cut_to_its_clip_is_named(tmp_path: Path) -> None:
    spec = kinetics(tmp_path, run=1)
    write_video(tmp_path / "run_000000_000001.mp4", num_frames=75)
    (finding, _) = check(spec).findings
    assert (finding.status, finding.reason[:14]) == ("uncut", "lasts 3.0 s, w")


@pytest.mark.parametrize(("allow", "ok"), [(0, False), (1, True), (0.34, True), (0.3, False)])
def test_a_check_agrees_with_a_run_on_how_many_may_be_missing(tmp_path: Path, allow: float, ok: bool) -> None:
    spec = replace(kinetics(tmp_path, run=1, jump=1, gone=1), allow_missing=allow)
    report = check(spec)
    assert report.ok is ok
    assert report.splits["val"].counts["missing"] == 1
    assert report.splits["val"].class_counts == {"goneing": 0, "jumping": 1, "runing": 1}
    if ok:
        assert len(build_manifest(spec).val) == 2
    else:
        with pytest.raises(BadInput, match="1 of 3 videos are missing"):
            build_manifest(spec)


def test_all_missing_is_never_ok(tmp_path: Path) -> None:
    assert not check(replace(kinetics(tmp_path, gone=1), allow_missing=5)).ok


def test_results_of_earlier_rules_are_looked_up_again(data: DataSpec, tmp_path: Path) -> None:
    cache = tmp_path / "check.json"
    check(data, cache=cache)
    lines = json.loads(cache.read_text())["videos"]
    former = {
        "no durations": lambda line: line[:7],
        "no rules": lambda line: line[:8],
        "older": lambda line: [*line[:8], 1],
    }
    for shortened in former.values():
        cache.write_text(json.dumps({"videos": {path: shortened(line) for path, line in lines.items()}}))
        assert check(data, cache=cache).num_examined == 11


def test_the_command_prints_lengths_balance_and_what_is_missing_and_takes_a_limit(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    kinetics(root, run=1, jump=3, gone=1)
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        f"""
question: Which?
base:
  data: {{name: k, root: {root}, annotations: kinetics, num_frames: 4, short_side: 64, crop_size: 64}}
  model: {{name: tsn_mini10, resolution: 64}}
rows: {{chain: [{{row: one}}]}}
seeds: [0]
"""
    )

    def checked(*options: str) -> tuple[int, str]:
        arguments = ["data", "check", str(sweep), "--workers", "1", "--store", str(tmp_path / "store"), *options]
        result = CliRunner().invoke(app, arguments)
        return result.exit_code, " ".join(result.output.split())

    code, text = checked()
    assert code == 1
    assert "k train: 3 videos: 1 ok, 1 past_end, 1 missing" in text
    assert "seconds: 1.0 to 1.0, median 1.0" in text
    assert "missing: 1 of at most 0 (data.allow_missing): too many for a run" in text
    assert "classes without a video: goneing" in text
    assert "remark 3 videos are in training and validation" in text
    code, text = checked("--allow-missing", "0.4")
    assert code == 0
    assert "missing: 1 of at most 1 (data.allow_missing): left out by a run" in text


def test_a_video_that_crashes_the_decoder_is_a_finding(data: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(str(data.root))
    shutil.copy(root / "good.mp4", root / "3.mp4")
    (root / "train.csv").write_text("path,label\n3.mp4,run\ngood.mp4,run\n")
    monkeypatch.setattr(check_module, "_examine", examine_or_die)
    report = check(data, in_processes=True)
    assert statuses(report, "train") == {"3.mp4": "damaged"}
    assert report.splits["train"].counts == {"damaged": 1, "ok": 1}
