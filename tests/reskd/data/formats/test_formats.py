"""Each data set's own annotation format, from small files written by hand; and what is wrong in one is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.experiment.smoke import cut_down
from orchestrator.store.store import Store
from reskd.data.annotations import Annotations, VideoRecord, load_annotations
from reskd.data.dataset import VideoDataset
from reskd.data.formats.catalogue import FORMATS
from reskd.data.formats.smoke import make_smoke
from reskd.data.manifest import build_manifest
from reskd.errors import BadInput
from reskd.recipe import DataSpec
from tests.support.forms import forms

KINETICS = "label,youtube_id,time_start,time_end,split\n"
SPLIT, LABELS = "m/FCVID_VideoName_TrainTestSplit.txt", "m/FCVID_Label.txt"


def lay(root: Path, files: Mapping[str, str]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")


def kinetics(root: Path, train: str, val: str = "") -> DataSpec:
    lay(root, {"k/train.csv": KINETICS + train, "k/val.csv": KINETICS + (val or "a,zz,0,10,validate\n")})
    return DataSpec(root=str(root), annotations="kinetics", train="k/train.csv", val="k/val.csv")


def mini(root: Path, train: str, val: str = "v_000001_000011 300 0\n") -> DataSpec:
    lay(root, {"train.txt": train, "val.txt": val})
    return DataSpec(root=str(root), annotations="mini_kinetics", train="train.txt", val="val.txt")


def fcvid(root: Path, splits: str, labels: str) -> DataSpec:
    lay(root, {SPLIT: splits, LABELS: labels})
    return DataSpec(root=str(root), annotations="fcvid", train=SPLIT, val=SPLIT)


def ssv2(root: Path, train: object, val: object = None, labels: object = None) -> DataSpec:
    val = [{"id": "9", "template": "Moving [something] up"}] if val is None else val
    labels = {"Moving something up": "1", "Putting something on a surface": "0"} if labels is None else labels
    lay(root, {f"{n}.json": json.dumps(c) for n, c in (("train", train), ("val", val), ("labels", labels))})
    return DataSpec(root=str(root), annotations="ssv2", train="train.json", val="val.json", classes="labels.json")


def ssv1(root: Path, train: str, val: str = "9;Moving something up\n") -> DataSpec:
    lay(root, {"train.csv": train, "val.csv": val})
    return DataSpec(root=str(root), annotations="ssv1")


def refusal(spec: DataSpec) -> str:
    with pytest.raises(BadInput) as caught:
        load_annotations(spec)
    return str(caught.value)


def test_every_format_that_a_recipe_may_name_has_a_layout() -> None:
    assert set(get_args(get_type_hints(DataSpec)["annotations"])) == set(FORMATS)


def test_kinetics_finds_clips_by_id_and_times_in_class_folders_or_not_whatever_the_extension(tmp_path: Path) -> None:
    train = (
        "\ufefflabel,youtube_id,time_start,time_end,split,is_cc\r\n"
        '"petting animal (not cats)",-aB_c,5,15,train,0\r\n'
        "making tea,x'y,100,110,train,0\r\n"
        "making tea,held,1,2,test,1\r\n"
        "making tea,gone,0,10,train,0\r\n"
    )
    val = "split,time_end,time_start,youtube_id,label\nval,10,0,q,making tea\n"
    lay(
        tmp_path,
        {
            "train/petting animal (not cats)/-aB_c_000005_000015.mp4": "",
            "x'y_000100_000110.MKV": "",
            "x'y_000200_000210.mp4": "",
            "val/making tea/q_000000_000010.webm": "",
            "k/train.csv": train,
            "k/val.csv": val,
        },
    )
    spec = DataSpec(root=str(tmp_path), annotations="kinetics", train="k/train.csv", val="k/val.csv")
    found = load_annotations(spec)
    assert found.classes == ("making tea", "petting animal (not cats)")
    assert found.train == (
        VideoRecord("train/petting animal (not cats)/-aB_c_000005_000015.mp4", (1,)),
        VideoRecord("x'y_000100_000110.MKV", (0,)),
        VideoRecord("gone_000000_000010.mp4", (0,)),
    )
    assert found.val == (VideoRecord("val/making tea/q_000000_000010.webm", (0,)),)
    assert [(record.end_s, record.is_cut) for record in found.train] == [(10.0, True)] * 3


def test_one_kinetics_file_may_hold_both_splits(tmp_path: Path) -> None:
    spec = kinetics(tmp_path, "a,x,0,10,train\na,y,0,10,validate\nb,z,0,10,train\n")
    found = load_annotations(replace(spec, val="k/train.csv"))
    assert [record.path[0] for record in found.train] == ["x", "z"]
    assert [record.path[0] for record in found.val] == ["y"]


def test_a_whole_video_is_not_taken_for_its_kinetics_clip_and_repeats_are_counted(tmp_path: Path) -> None:
    lay(tmp_path, {"x.mp4": "", "zz_000000_000010.mp4": ""})
    found = load_annotations(kinetics(tmp_path, "a,x,5,15,train\na,w,1,11,train\na,x,5,15,train\n"))
    assert [record.path for record in found.train] == ["x_000005_000015.mp4", "w_000001_000011.mp4"]
    repeated, whole = found.remarks
    assert "train.csv: 1 clips are listed more than once and taken once: x_000005_000015" in repeated
    assert "1 clips are not here, but a file with their id and no times in its name is: x.mp4" in whole


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("a,x,5,15,training\n", "train.csv:2: split 'training'; it must be train"),
        ("a,x,15,5,train\n", "train.csv:2: time_start '15', time_end '5'"),
        ("a,x,5.5,15,train\n", "time_start '5.5'"),
        ("a,x,five,15,train\n", "time_start 'five'"),
        (",x,5,15,train\n", "label '', youtube_id 'x'"),
        ("a,../x,5,15,train\n", "youtube_id '../x'"),
        ("a,b,x,5,15,train\n", "train.csv:2: another number of cells"),
        ("a,x,5\n", "train.csv:2: another number of cells"),
        ("a,x,5,15,train\nb,x,5,15,train\n", "clip x_000005_000015 has label 'b', on line 2 it was 'a'; keep one"),
        ("a,x,5,5,train\na,y,9,8,train\na,z,0,1,train\n", "(2 entries are wrong: "),
        ("a,x,5,15,validate\n", "train.csv: no clip whose split is train"),
        ("a,twice,0,10,train\n", "lies here 2 times: one/twice_000000_000010.mkv, two/twice_000000_000010.mp4; keep"),
        ('a,"x,5,15,train\n', "mend the quotes"),
    ],
)
def test_what_is_wrong_in_kinetics_is_named_with_its_line(tmp_path: Path, train: str, message: str) -> None:
    lay(tmp_path, {"one/twice_000000_000010.mkv": "", "two/twice_000000_000010.mp4": ""})
    assert message in refusal(kinetics(tmp_path, train))


def test_kinetics_without_its_columns_and_with_unknown_classes_is_refused(tmp_path: Path) -> None:
    spec = kinetics(tmp_path, "a,x,0,10,train\n", "b,y,0,10,val\nab,z,0,10,val\n")
    message = refusal(spec)
    assert "val.csv:2: label 'b' is not a label of the training split" in message
    assert "(2 labels are unknown, of 2 names: 'b', 'ab')" in message
    lay(tmp_path, {"k/train.csv": "label,id,time_start,time_end\n"})
    assert "lacks youtube_id; Kinetics has label,youtube_id,time_start,time_end,split" in refusal(spec)


def test_mini_kinetics_takes_names_after_the_last_slash_and_numbers_as_classes(tmp_path: Path) -> None:
    train = "images/train/making tea/-a_000001_000011 300 1\nimages/train/yoga/b_000001_000011 250 0\n"
    lay(tmp_path, {"train/tea/-a_000001_000011.mp4": "", "v_000001_000011/00001.jpg": "", "names.txt": "yoga\ntea\n"})
    spec = mini(tmp_path, train, "v_000001_000011 300 0\n")
    found = load_annotations(spec)
    assert found.classes == ("0", "1")
    assert found.train == (
        VideoRecord("train/tea/-a_000001_000011.mp4", (1,)),
        VideoRecord("b_000001_000011.mp4", (0,)),
    )
    assert found.val == (VideoRecord("v_000001_000011", (0,)),)
    named = load_annotations(replace(spec, classes="names.txt"))
    assert (named.classes, named.train, named.val) == (("yoga", "tea"), found.train, found.val)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("a 300\n", "train.txt:1: 'a 300'; a line is"),
        ("a 300 x\n", "train.txt:1: 'a 300 x'"),
        ("a 300 -1\n", "train.txt:1: 'a 300 -1'"),
        ("a 3 0\nf/a 3 0\n", "train.txt:2: clip 'a' was on line 1 already"),
        ("\n", "train.txt: no clip"),
    ],
)
def test_what_is_wrong_in_mini_kinetics_is_named_with_its_line(tmp_path: Path, train: str, message: str) -> None:
    assert message in refusal(mini(tmp_path, train))


def test_a_class_number_that_training_has_not_is_refused(tmp_path: Path) -> None:
    message = refusal(mini(tmp_path, "a 300 1\n", "b 300 2\n"))
    assert "val.txt:1: class 2, but" in message
    assert "train.txt has classes 0 to 1" in message


def test_fcvid_reads_the_split_file_and_its_rows_of_labels(tmp_path: Path) -> None:
    lay(tmp_path, {"videos/dogs/a.mp4": "", "videos/cats/a.webm": "", "m/names.txt": "cat\ndog\nbird\n"})
    spec = fcvid(
        tmp_path, "dogs/a.mp4\ttrain\ncats/a.mp4 test\nbirds/my clip.mp4 train\n", "0\t1\t1\n1\t0\t0\n0.0 1.0 0.0\n\n"
    )
    found = load_annotations(spec)
    assert found.classes == ("0", "1", "2")
    assert found.train == (VideoRecord("videos/dogs/a.mp4", (1, 2)), VideoRecord("birds/my clip.mp4", (1,)))
    assert found.val == (VideoRecord("videos/cats/a.webm", (0,)),)
    assert load_annotations(replace(spec, classes="m/names.txt")).classes == ("cat", "dog", "bird")
    lay(tmp_path, {"m/names.txt": "cat\ndog\n"})
    assert "2 classes, but" in refusal(replace(spec, classes="m/names.txt"))


@pytest.mark.parametrize(
    ("splits", "labels", "message"),
    [
        ("a.mp4 train\nb.mp4 val\n", "1\n1\n", f"{SPLIT}:2: 'b.mp4 val'; a line is"),
        ("a.mp4 train\nb.mp4 test\n", "1\n", f"{LABELS}: 1 rows of labels for 2 videos"),
        ("a.mp4 train\nb.mp4 test\n", "1 0\n1\n", f"{LABELS}:2: a row is 2 numbers"),
        ("a.mp4 train\nb.mp4 test\n", "1\nyes\n", f"{LABELS}:2: a row is 1 numbers"),
        ("a.mp4 train\nb.mp4 test\n", "1 0\n0 0\n", f"{LABELS}:2: no label is set"),
        ("a.mp4 train\na.mp4 test\n", "1\n1\n", f"{SPLIT}:2: video 'a.mp4' is listed a second time"),
        ("../a.mp4 train\nb.mp4 test\n", "1\n1\n", f"{SPLIT}:1: path '../a.mp4'"),
        ("a.mp4 train\n", "1\n", f"{SPLIT}: no test video"),
        ("x/c.mp4 train\nd.mp4 test\n", "1\n1\n", "lies here 2 times: x/c.mkv, y/x/c.mp4; keep one"),
    ],
)
def test_what_is_wrong_in_fcvid_is_named(tmp_path: Path, splits: str, labels: str, message: str) -> None:
    lay(tmp_path, {"x/c.mkv": "", "y/x/c.mp4": ""})
    assert message in refusal(fcvid(tmp_path, splits, labels))


def test_fcvids_splits_are_in_one_file(tmp_path: Path) -> None:
    assert "both name the one file" in refusal(replace(fcvid(tmp_path, "a train\n", "1\n"), val="m/other.txt"))


def test_something_v2_takes_templates_without_brackets_and_the_numbers_of_labels_json(tmp_path: Path) -> None:
    lay(tmp_path, {"v/20bn/7.webm": "", "v/20bn/9.webm": "", "7.txt": ""})
    train = [
        {"id": "7", "label": "putting ü on", "template": "Putting [something] on a surface", "placeholders": ["ü"]},
        {"id": "8", "label": "moving a cup up", "template": "Moving [something] up", "placeholders": ["a cup"]},
    ]
    found = load_annotations(ssv2(tmp_path, train))
    assert found.classes == ("Putting something on a surface", "Moving something up")
    assert found.train == (VideoRecord("v/20bn/7.webm", (0,)), VideoRecord("8.webm", (1,)))
    assert found.val == (VideoRecord("v/20bn/9.webm", (1,)),)


UP = "Moving [something] up"


@pytest.mark.parametrize(
    ("train", "labels", "message"),
    [
        ({"id": "1"}, None, "train.json: a dict; it must be a list of objects"),
        ([3], None, "entry 0 (id None): 'id' and 'template' must be texts"),
        ([{"id": 7, "template": UP}], None, "entry 0 (id 7): 'id' and 'template' must be texts"),
        ([{"id": "7", "template": ["Moving"]}], None, "entry 0 (id '7'): 'id' and 'template'"),
        ([{"id": "../7", "template": UP}], None, "entry 0 (id '../7'): 'id' and 'template'"),
        ([{"id": "7", "template": UP}, {"id": "7", "template": UP}], None, "entry 1 (id '7'): that id is in entry 0"),
        ([{"id": "7", "template": "Moving [something] upp"}], None, "did you mean 'Moving something up'?"),
        ([{"id": "7", "template": UP}], [], "labels.json: it must be an object like"),
        ([{"id": "7", "template": UP}], {"Moving something up": "first"}, "labels.json: it must be an object like"),
        ([{"id": "7", "template": UP}], {"Moving something up": "1"}, "numbers of its 1 labels must be 0, 1"),
        ([], None, "train.json: no video; see data.train"),
    ],
)
def test_what_is_wrong_in_something_v2_is_named(tmp_path: Path, train: object, labels: object, message: str) -> None:
    assert message in refusal(ssv2(tmp_path, train, labels=labels))


def test_a_key_that_a_json_file_has_twice_is_counted_and_named(tmp_path: Path) -> None:
    spec = ssv2(tmp_path, [{"id": "7", "template": UP}])
    lay(tmp_path, {"labels.json": '{"Moving something up": "0", "b": "1", "Moving something up": "2"}'})
    assert "labels.json: 1 keys are there more than once: Moving something up; keep one" in refusal(spec)
    lay(tmp_path, {"labels.json": '{"Moving'})
    assert "labels.json: not an object of labels" in refusal(spec)


def test_something_v1_takes_folders_of_frames_and_does_not_search_them(tmp_path: Path) -> None:
    lay(
        tmp_path, {"frames/7/00001.jpg": "", "frames/7/9/00001.jpg": "", "frames/9/00001.jpg": "", "l.csv": "b\nx; y\n"}
    )
    spec = replace(ssv1(tmp_path, "\ufeff7;x; y\r\n\r\n8;b\r\n", "9;b\n"), classes="l.csv")
    found = load_annotations(spec)
    assert found.classes == ("b", "x; y")
    assert found.train == (VideoRecord("frames/7", (1,)), VideoRecord("8", (0,)))
    assert found.val == (VideoRecord("frames/9", (0,)),)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("7,Moving something up\n", "train.csv:1: '7,Moving something up'; a line is `id;label`"),
        ("7;\n", "train.csv:1: '7;'; a line is"),
        ("7;b\n7;b\n", "train.csv:2: id '7' was on line 1 already"),
        ("7;b\n", "val.csv:1: label 'Moving something up' is not a label of the training split"),
        ("\n", "train.csv: no video"),
    ],
)
def test_what_is_wrong_in_something_v1_is_named(tmp_path: Path, train: str, message: str) -> None:
    assert message in refusal(ssv1(tmp_path, train))


def test_a_folder_of_frames_beside_a_video_of_that_name_is_two_of_it(tmp_path: Path) -> None:
    lay(tmp_path, {"frames/7/00001.jpg": "", "videos/7.webm": ""})
    message = refusal(ssv1(tmp_path, "7;Moving something up\n"))
    assert "train.csv:1: lies here 2 times: frames/7, videos/7.webm; keep one" in message


def test_a_format_that_is_no_utf_8_and_a_folder_in_its_place_are_named(tmp_path: Path) -> None:
    spec = ssv1(tmp_path, "7;Moving something up\n")
    (tmp_path / "train.csv").write_bytes("7;Moving ü\n".encode("latin-1"))
    assert "train.csv: byte 9 is not UTF-8" in refusal(spec)
    (tmp_path / "none").mkdir()
    assert "none: a folder; data.train" in refusal(replace(spec, train="none"))


def test_activitynets_segments_are_read_checked_and_counted_where_they_outlast_the_video(tmp_path: Path) -> None:
    def entry(subset: str, segment: object, duration: object = 9.0) -> dict[str, object]:
        return {"subset": subset, "duration": duration, "annotations": [{"label": "x", "segment": segment}]}

    database = {"a": entry("training", [0, 12.5]), "b": entry("validation", [1, 9.3]), "c": entry("training", [0, 1])}
    lay(tmp_path, {"a.json": json.dumps({"database": database})})
    spec = DataSpec(root=str(tmp_path), annotations="activitynet", train="a.json", val="a.json")
    found = load_annotations(spec)
    assert [record.end_s for record in found.train] == [12.5, 1.0]
    assert found.remarks == ("1 videos have a segment that ends after the video's stated duration: a (12.5 of 9 s)",)
    for segment in ([3, 1], ["0", "1"], [1], 4, [-1, 2], [True, 2]):
        lay(tmp_path, {"a.json": json.dumps({"database": {**database, "d": entry("training", segment)}})})
        assert "video 'd': segment " in refusal(spec)


def test_videos_in_both_splits_are_counted(tmp_path: Path) -> None:
    lay(tmp_path, {"train.csv": "path,label\na.mp4,x\nb.mp4,x\n", "val.csv": "path,label\na.mp4,x\n"})
    (remark,) = load_annotations(DataSpec(root=str(tmp_path))).remarks
    assert remark.startswith("1 videos are in training and validation: a.mp4")


@pytest.mark.parametrize("annotations", sorted(FORMATS))
def test_a_smoke_data_set_of_each_format_is_read_and_decodes(tmp_path: Path, annotations: str) -> None:
    like = replace(DataSpec(), annotations=annotations)  # type: ignore[arg-type]
    spec = replace(make_smoke(tmp_path / "data", like=like), num_frames=2, short_side=32, crop_size=32)
    manifest = build_manifest(spec)
    assert (len(manifest.train), len(manifest.val), len(manifest.classes)) == (4, 3, 3)
    assert len(manifest.train[0].labels) == (2 if annotations in ("csv", "activitynet", "fcvid") else 1)
    assert {clip.labels[-1] for clip in manifest.val} >= {1, 2}
    for split in ("train", "val"):
        dataset = VideoDataset(
            manifest.split(split), root=tmp_path / "data", spec=spec, num_classes=3, split=split, data_seed=0
        )
        items = [dataset[0, sample] for sample in range(len(dataset))]
        assert [item.damaged for item in items] == [()] * len(dataset)
        assert dataset.collate(items).clips.float().std() > 1


def numbers_of(annotations: Annotations) -> list[tuple[int, ...]]:
    return [record.labels for record in annotations.val]


def test_class_numbers_do_not_depend_on_which_videos_are_here(tmp_path: Path) -> None:
    spec = kinetics(tmp_path, "a,w,0,10,train\nb,x,0,10,train\nc,y,0,10,train\n", "b,z,0,10,val\nc,v,0,10,val\n")
    lay(tmp_path, {f"{name}_000000_000010.mp4": name for name in "xyz"})
    assert numbers_of(load_annotations(spec)) == [(1,), (2,)]
    manifest = build_manifest(replace(spec, allow_missing=0.5))
    assert manifest.classes == ("a", "b", "c")
    assert [clip.labels for clip in manifest.train] == [(1,), (2,)]
    assert [clip.labels for clip in manifest.val] == [(1,)]


@pytest.mark.parametrize("annotations", forms(sorted(FORMATS), light=["csv", "kinetics"]))
def test_a_sweep_of_each_format_has_a_smoke_form_in_that_format(tmp_path: Path, annotations: str) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        f"""
question: Does it run?
base:
  data: {{name: gone, annotations: {annotations}, train: a, val: b, classes: c, allow_missing: 0.2}}
  model: {{name: tsn_resnet50, resolution: 112}}
rows: {{chain: [{{row: one}}]}}
seeds: [0]
"""
    )
    ((path, store),) = cut_down([sweep], changes=[], store=Store(tmp_path / "store"))
    small = prepare(path, store=store)
    (step,) = small.steps.values()
    assert step.recipe.data.annotations == annotations
    assert step.recipe.data.allow_missing == 0
    assert [cell.verdict for cell in small.plan().cells] == ["train"]
    assert len(small.manifest(step).classes) == 3
