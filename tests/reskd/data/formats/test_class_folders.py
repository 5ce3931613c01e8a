"""Class folders and ActivityNet's JSON give what the same data set in CSV gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reskd.data.annotations import VideoRecord, load_annotations
from reskd.data.dataset import VideoDataset
from reskd.data.manifest import build_manifest
from reskd.errors import BadInput
from reskd.recipe import DataSpec
from tests.support.video_files import write_video


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def entry(subset: str, *labels: str) -> dict[str, Any]:
    segments = [{"label": label, "segment": [index, index + 1.5]} for index, label in enumerate(labels)]
    return {"subset": subset, "duration": 9.0, "annotations": segments, "url": "", "resolution": "1x1"}


def activitynet(root: Path, database: object) -> DataSpec:
    (root / "anet.json").write_text(json.dumps({"version": "1.3", "taxonomy": [], "database": database}))
    return DataSpec(root=str(root), annotations="activitynet", train="anet.json", val="anet.json")


def test_class_folders_are_the_same_data_set_as_their_csv(tmp_path: Path) -> None:
    touch(
        tmp_path, "train/dogs/a.mp4", "train/cats/b.webm", "train/cats/a.MKV", "val/cats/c.mp4", "train/cats/notes.txt"
    )
    (tmp_path / "train.csv").write_text(
        "path,label\ntrain/cats/a.MKV,cats\ntrain/cats/b.webm,cats\ntrain/dogs/a.mp4,dogs\n"
    )
    (tmp_path / "val.csv").write_text("path,label\nval/cats/c.mp4,cats\n")
    csv = DataSpec(root=str(tmp_path))
    folders = replace(csv, annotations="folders", train="train", val="val")
    assert load_annotations(folders) == load_annotations(csv)
    assert build_manifest(folders).sha256 == build_manifest(csv).sha256


def test_what_lies_in_class_folders_and_is_no_video_is_counted_by_its_kind_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "train/x/a.mp4", "train/x/b.MPG", "train/y/c.mpg", "train/y/d.m4v", "train/y/notes", "train/e.mp4")
    touch(tmp_path, "train/y/more/f.mp4", "train/x/.g.mp4", "train/x/._a.mp4", "train/x/.DS_Store", "train/.h/i.mp4")
    touch(tmp_path, "val/x/a.mp4")
    spec = DataSpec(root=str(tmp_path), annotations="folders", train="train", val="val")
    found = load_annotations(spec)
    assert [record.path for record in found.train] == ["train/x/a.mp4"]
    (line,) = found.left_out
    assert line.startswith(f"{tmp_path}/train: left out: 2 x .mpg (x/b.MPG), ")
    for words in ("1 x .m4v (y/d.m4v)", "1 x nested folder (y/more)", "and 2 more kinds", ".mp4, .mkv"):
        assert words in line, words
    assert line in found.remarks
    with caplog.at_level("WARNING"):
        manifest = build_manifest(spec)
    assert line in caplog.text
    for place in ("train/x/b.MPG", "train/y/c.mpg", "train/y/d.m4v", "train/y/notes", "train/e.mp4", "train/x/.g.mp4"):
        (tmp_path / place).unlink()
    (tmp_path / "train/y/more/f.mp4").unlink()
    (tmp_path / "train/y/more").rmdir()
    assert load_annotations(spec).left_out == ()
    assert build_manifest(spec).sha256 == manifest.sha256


def test_the_line_about_what_is_left_out_is_short_however_many_there_are(tmp_path: Path) -> None:
    touch(tmp_path, "train/x/a.mp4", "val/x/a.mp4", *(f"train/x/{'n' * 150}{n}.kind{n % 100}" for n in range(500)))
    (line,) = load_annotations(DataSpec(root=str(tmp_path), annotations="folders", train="train", val="val")).left_out
    assert len(line) < 1000


def test_activitynet_gives_every_video_all_its_labels_and_finds_its_file_whatever_the_extension(tmp_path: Path) -> None:
    touch(tmp_path, "videos/v_-ab.mp4", "videos/v_c_d.webm", "other/v_e.mkv", "v_t.mp4", "videos/x_-ab.mp4")
    database = {
        "c_d": entry("training", "run", "jump", "run"),
        "t": entry("testing"),
        "e": entry("validation", "run"),
        "-ab": entry("training", "box"),
    }
    found = load_annotations(activitynet(tmp_path, database))
    assert found.classes == ("box", "jump", "run")
    assert found.train == (VideoRecord("videos/v_c_d.webm", (1, 2)), VideoRecord("videos/v_-ab.mp4", (0,)))
    assert found.val == (VideoRecord("other/v_e.mkv", (2,)),)


def test_missing_videos_of_activitynet_are_counted_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "v_a.mp4")
    spec = activitynet(
        tmp_path, {"a": entry("training", "x"), "b": entry("training", "x"), "c": entry("validation", "x")}
    )
    with pytest.raises(BadInput, match=r"2 of 3 videos are missing: v_b\.mp4, v_c\.mp4"):
        build_manifest(spec)


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ([], "'database' is a list"),
        ({"a": entry("train", "x")}, "video 'a': 'subset' must be training"),
        ({"a": 3}, "video 'a': 'subset' must be training"),
        ({"a": entry("training")}, "video 'a': 'annotations' must be a list"),
        ({"a": {"subset": "training", "annotations": [{"segment": [0, 1]}]}}, "video 'a': 'annotations' must be"),
        ({"a": {"subset": "training", "annotations": [3]}}, "video 'a': 'annotations' must be"),
        ({"a": {"subset": "training", "annotations": 3}}, "video 'a': 'annotations' must be"),
        ({"a": entry("training", "x")}, "no video of subset 'validation'"),
        ({"a": entry("training", "x"), "b": entry("validation", "y")}, "video 'b': label 'y' is not a label of the"),
        ({"twice": entry("training", "x")}, "lies here 2 times: one/v_twice.mp4, two/v_twice.mkv"),
    ],
)
def test_what_is_wrong_in_activitynets_json_is_named(tmp_path: Path, database: object, message: str) -> None:
    touch(tmp_path, "one/v_twice.mp4", "two/v_twice.mkv")
    with pytest.raises(BadInput) as caught:
        load_annotations(activitynet(tmp_path, database))
    assert str(tmp_path / "anet.json") in str(caught.value)
    assert message in str(caught.value)


def test_files_and_folders_that_are_no_annotations_are_named(tmp_path: Path) -> None:
    spec = activitynet(tmp_path, {})
    (tmp_path / "anet.json").write_text("[1]")
    with pytest.raises(BadInput, match=r"anet\.json: not ActivityNet's JSON"):
        load_annotations(spec)
    with pytest.raises(BadInput, match=r"none\.json: no such file"):
        load_annotations(replace(spec, train="none.json"))
    folders = replace(spec, annotations="folders", train="train", val="val")
    with pytest.raises(BadInput, match="train: no such folder"):
        load_annotations(folders)
    (tmp_path / "train" / "empty").mkdir(parents=True)
    with pytest.raises(BadInput, match="train: no video in any class folder"):
        load_annotations(folders)


def test_training_draws_among_a_videos_labels_and_every_target_holds_all(tmp_path: Path) -> None:
    for name in ("v_a.mp4", "v_b.mkv"):
        write_video(tmp_path / name, num_frames=4)
    spec = activitynet(tmp_path, {"a": entry("training", "x", "y"), "b": entry("validation", "y", "x")})
    spec = replace(spec, num_frames=1, short_side=32, crop_size=32)
    manifest = build_manifest(spec)
    train, again, val = (
        VideoDataset(manifest.split(split), root=tmp_path, spec=spec, num_classes=2, split=split, data_seed=5)
        for split in ("train", "train", "val")
    )
    drawn = [train[epoch, 0].label for epoch in range(20)]
    assert set(drawn) == {0, 1}
    assert drawn == [again[epoch, 0].label for epoch in range(20)]
    assert train.collate([train[0, 0]]).targets.tolist() == [[True, True]]
    assert val.collate([val[0, 0]]).targets.tolist() == [[True, True]]
