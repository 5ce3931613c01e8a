from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reskd.data.annotations import VideoRecord, data_root, load_annotations
from reskd.errors import BadInput
from reskd.recipe import DataSpec

VAL = "path,label\nv.mp4,walk\n"


def write_set(folder: Path, *, train: str, val: str = VAL, classes: str | None = None) -> DataSpec:
    (folder / "train.csv").write_text(train, encoding="utf-8")
    (folder / "val.csv").write_text(val, encoding="utf-8")
    if classes is not None:
        (folder / "classes.txt").write_text(classes, encoding="utf-8")
    return DataSpec(root=str(folder), classes=None if classes is None else "classes.txt")


def test_labels_become_numbers_of_the_sorted_training_labels(tmp_path):
    spec = write_set(tmp_path, train="path,label\na/1.mp4,walk\na/2.mp4,jump\n")
    annotations = load_annotations(spec)
    assert annotations.classes == ("jump", "walk")
    assert annotations.train == (VideoRecord("a/1.mp4", (1,)), VideoRecord("a/2.mp4", (0,)))
    assert annotations.val == (VideoRecord("v.mp4", (1,)),)


def test_labels_that_are_all_integers_sort_as_numbers(tmp_path):
    spec = write_set(tmp_path, train="path,label\na,10\nb,9\nc,2\n", val="path,label\nv,10\n")
    assert load_annotations(spec).classes == ("2", "9", "10")


def test_a_classes_file_gives_the_order_and_may_hold_more_than_training_shows(tmp_path):
    spec = write_set(tmp_path, train="path,label\na.mp4,walk\n", classes="walk\nswim\n\njump\n")
    annotations = load_annotations(spec)
    assert annotations.classes == ("walk", "swim", "jump")
    assert annotations.val[0].labels == (0,)


def test_a_video_with_several_labels_has_each_once_whatever_the_columns_order(tmp_path):
    spec = write_set(tmp_path, train="path,label,label,label\na,walk,jump,walk\nb,jump,walk\nc,,jump,\n")
    assert [record.labels for record in load_annotations(spec).train] == [(0, 1), (0, 1), (0,)]


def test_byte_order_mark_windows_lines_blank_lines_and_quotes_are_read(tmp_path):
    spec = write_set(tmp_path, train='\ufeffpath,label\r\n\r\n./a.mp4, "walk"\r\n"b,c.mp4","walk, slowly"\r\n\r\n')
    annotations = load_annotations(spec)
    assert [record.path for record in annotations.train] == ["a.mp4", "b,c.mp4"]
    assert set(annotations.classes) >= {"walk, slowly"}


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        ("path,label\na,walk\n", "path,label\nb,walk\nv,wlak\n", ["val.csv:3", "'wlak'", "did you mean 'walk'?"]),
        ("path,label\na,walk\n", "path,label\nv,zzz\n", ["val.csv:2", "'zzz'", "data.classes"]),
        ("path,label\n", VAL, ["train.csv", "empty"]),
        ("", VAL, ["train.csv:1", "path,label"]),
        ("path,label\na,walk\nb,walk\na,walk\n", VAL, ["train.csv:4", "'a'", "line 2"]),
        ("path,label\na,walk\n./a,walk\n", VAL, ["train.csv:3", "'a'", "line 2"]),
        ("path\na\n", VAL, ["train.csv:1", "'path'"]),
        ("a.mp4,walk\nb.mp4,walk\n", VAL, ["train.csv:1", "'a.mp4,walk'"]),
        ("path,label,split\na,walk,train\n", VAL, ["train.csv:1", "split"]),
        ("path,label\na\n", VAL, ["train.csv:2", "no label"]),
        ("path,label\n,walk\n", VAL, ["train.csv:2", "no path"]),
        ("path,label\na,walk,slowly\n", VAL, ["train.csv:2", "quote"]),
        ("path,label\n/data/a,walk\n", VAL, ["train.csv:2", "'/data/a'", "relative"]),
        ("path,label\n../a,walk\n", VAL, ["train.csv:2", "'../a'", "relative"]),
        ("path,label\nc\\a,walk\n", VAL, ["train.csv:2", "forward slashes"]),
        ('path,label\na,"walk\n', VAL, ["train.csv:2", "quotes"]),
    ],
)
def test_a_mistake_is_named_with_its_file_line_and_value(tmp_path, train, val, expected):
    spec = write_set(tmp_path, train=train, val=val)
    with pytest.raises(BadInput) as error:
        load_annotations(spec)
    for words in expected:
        assert words in str(error.value)


def test_a_label_missing_from_the_classes_file_is_refused(tmp_path):
    spec = write_set(tmp_path, train="path,label\na.mp4,swim\n", classes="walk\njump\n")
    with pytest.raises(BadInput, match=r"train.csv:2: label 'swim' is not in .*classes.txt"):
        load_annotations(spec)


@pytest.mark.parametrize(("classes", "words"), [("\n\n", "no class names"), ("a\nb\na\n", "'a' is listed 2 times")])
def test_a_classes_file_must_hold_each_name_once(tmp_path, classes, words):
    spec = write_set(tmp_path, train="path,label\na,a\n", classes=classes)
    with pytest.raises(BadInput, match=words):
        load_annotations(spec)


def test_a_missing_annotation_file_and_a_wrong_encoding_are_named(tmp_path):
    spec = write_set(tmp_path, train="path,label\na,walk\n")
    (tmp_path / "val.csv").unlink()
    with pytest.raises(BadInput, match=r"val\.csv: no such file.*RESKD_DATA"):
        load_annotations(spec)
    (tmp_path / "val.csv").write_bytes(b"path,label\nv.mp4,gr\xfc\xdfen\n")
    with pytest.raises(BadInput, match=r"val\.csv: byte 19 is not UTF-8"):
        load_annotations(spec)


def test_the_data_root_is_the_given_one_else_the_named_folder_on_the_shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("RESKD_DATA", str(tmp_path / "shelf"))
    assert data_root(DataSpec(name="demo")) == tmp_path / "shelf" / "demo"
    assert data_root(DataSpec(name="demo", root=str(tmp_path))) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert data_root(DataSpec(root="videos")) == tmp_path / "videos"
    monkeypatch.delenv("RESKD_DATA")
    with pytest.raises(BadInput, match=r"data\.root.*RESKD_DATA.*'demo'"):
        data_root(DataSpec(name="demo"))


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.dictionaries(NAMES, st.sets(NAMES, min_size=1, max_size=3), min_size=1, max_size=8))
def test_what_a_csv_writer_writes_comes_back(tmp_path_factory, videos):
    videos = {f"{number}.mp4": sorted(labels) for number, labels in enumerate(videos.values())}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "label", "label", "label"])
    writer.writerows([path, *labels] for path, labels in videos.items())
    spec = write_set(tmp_path_factory.mktemp("set"), train=text.getvalue(), val=text.getvalue())
    annotations = load_annotations(spec)
    named = {record.path: sorted(annotations.classes[i] for i in record.labels) for record in annotations.train}
    assert named == {
        path: sorted({unicodedata.normalize("NFC", label) for label in labels}) for path, labels in videos.items()
    }
    assert annotations.train == annotations.val
