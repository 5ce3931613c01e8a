"""Names and labels of every annotation format: one form, visible letters, no hidden files, links that lead back."""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from reskd.data.annotations import load_annotations
from reskd.data.manifest import build_manifest
from reskd.errors import BadInput
from reskd.recipe import DataSpec

FORMS = ("NFC", "NFD")
NAMES = ("café0", "über1", "b2", "ångström3")
LABELS = ("entrée", "b")


def in_form(form: str, text: str) -> str:
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]  # wants a literal


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(unicodedata.normalize("NFC", path).encode())


def csv(root: Path, *, names: str, labels: tuple[str, str], folder: str = "") -> DataSpec:
    """Lists of four videos; the labels alternate between two forms."""
    lines = [
        f"{folder}{in_form(names, name)}.mp4,{in_form(labels[place % 2], LABELS[place // 2])}\n"
        for place, name in enumerate(NAMES)
    ]
    for split in ("train", "val"):
        (root / f"{split}.csv").write_text("path,label\n" + "".join(lines), encoding="utf-8")
    return DataSpec(root=str(root))


@pytest.mark.parametrize("disk", FORMS)
@pytest.mark.parametrize("listed", FORMS)
def test_the_data_set_is_the_same_whatever_form_its_files_and_its_lists_have(
    disk: str, listed: str, tmp_path: Path
) -> None:
    touch(tmp_path, *(f"{in_form(disk, 'vidéos')}/{in_form(disk, name)}.mp4" for name in NAMES))
    folder = in_form(listed, "vidéos/")
    manifest = build_manifest(csv(tmp_path, names=listed, labels=(listed, disk), folder=folder))
    assert manifest.classes == ("b", "entrée")
    plain = tmp_path / "plain"
    touch(plain, *(f"vidéos/{name}.mp4" for name in (in_form("NFC", name) for name in NAMES)))
    assert manifest.sha256 == build_manifest(csv(plain, names="NFC", labels=("NFC", "NFC"), folder="vidéos/")).sha256


@pytest.mark.parametrize("disk", FORMS)
def test_class_folders_and_videos_by_name_are_found_in_either_form(disk: str, tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{in_form(disk, LABELS[0])}/{in_form(disk, 'é')}.mp4" for split in ("train", "val")))
    folders = DataSpec(root=str(tmp_path), annotations="folders", train="train", val="val")
    found = load_annotations(folders)
    assert (found.classes, [record.path for record in found.train]) == (("entrée",), ["train/entrée/é.mp4"])
    assert build_manifest(folders).train[0].size == len("train/entrée/é.mp4".encode())
    touch(tmp_path, f"any/v_{in_form(disk, 'é')}1.mp4")
    entry = {"annotations": [{"label": in_form("NFD", "entrée")}]}
    database = {in_form("NFC", "é1"): {**entry, "subset": "training"}, "é2": {**entry, "subset": "validation"}}
    (tmp_path / "anet.json").write_text(json.dumps({"database": database}))  # with escapes, \u0301
    named = load_annotations(replace(folders, annotations="activitynet", train="anet.json", val="anet.json"))
    assert named.classes == ("entrée",)
    assert [record.path for record in named.train] == ["any/v_é1.mp4"]


def test_two_files_whose_names_look_the_same_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/a/{in_form(form, 'é')}.mp4" for split in ("train", "val") for form in FORMS))
    with pytest.raises(BadInput, match="1 names are here twice, with accents written in two ways"):
        load_annotations(DataSpec(root=str(tmp_path), annotations="folders", train="train", val="val"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4,x\u200b", r"train\.csv:2: label 'x\\u200b' holds U\+200B ZERO WIDTH SPACE; write it without"),
        ("a.mp4,\ufeffx", r"train\.csv:2: label '\\ufeffx' holds U\+FEFF"),
        ("a.mp4,x\u00a0y", r"train\.csv:2: label 'x\\xa0y' holds U\+00A0 NO-BREAK SPACE"),
        ('"a\nb.mp4",x', r"train\.csv:3: the path 'a\\nb\.mp4' holds U\+000A"),
        ("a\0.mp4,x", r"train\.csv:2: the path 'a\\x00\.mp4' holds U\+0000"),
        ("._a.mp4,x", r"train\.csv:2: the path '\._a\.mp4' is of a hidden file"),
        ("path,label", r"train\.csv:2: 'path,label': this line is a header, not a video"),
        ("\ufeffpath,label", r"train\.csv:2: .*this line is a header, not a video"),
    ],
)
def test_what_nobody_sees_or_means_in_a_list_is_refused_by_name(line: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "._a.mp4", "b.mp4")
    (tmp_path / "train.csv").write_text(f"path,label\n{line}\nb.mp4,y\n", encoding="utf-8")
    (tmp_path / "val.csv").write_text("path,label\nb.mp4,y\n")
    with pytest.raises(BadInput, match=message) as caught:
        load_annotations(DataSpec(root=str(tmp_path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotations", "text", "where"),
    [
        ("kinetics", "label,youtube_id,time_start,time_end,split\nx,abc,0,10,train\nHEADER", 3),
        ("ssv1", "1;Turning\nid;label\n", 2),
    ],
)
def test_a_header_inside_a_list_of_any_format_is_refused(
    annotations: str, text: str, where: int, tmp_path: Path
) -> None:
    text = text.replace("HEADER", text.partition("\n")[0])
    (tmp_path / "list.csv").write_text(text)
    spec = DataSpec(root=str(tmp_path), annotations=annotations, train="list.csv", val="list.csv")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=rf"list\.csv:{where}: .*this line is a header, not a video; remove it"):
        load_annotations(spec)


def test_a_class_that_nobody_can_type_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("path,label\na.mp4,x\n")
    (tmp_path / "classes.txt").write_text("x\ny\u200b\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"classes\.txt: class 'y\\u200b' holds U\+200B"):
        load_annotations(DataSpec(root=str(tmp_path), classes="classes.txt"))


def test_hidden_files_are_no_videos_and_links_that_lead_back_no_second_ones(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/x/{name}" for split in ("train", "val") for name in ("a.mp4", "._a.mp4", ".b.mp4")))
    folders = DataSpec(root=str(tmp_path), annotations="folders", train="train", val="val")
    assert [record.path for record in load_annotations(folders).train] == ["train/x/a.mp4"]
    touch(tmp_path, "videos/v_1.mp4", "videos/v_2.mp4", ".Trash/v_1.mp4", "videos/._v_2.mp4")
    (tmp_path / "videos" / "back").symlink_to("..")
    (tmp_path / "videos" / "latest").symlink_to(".")
    database = {
        str(number): {"subset": subset, "annotations": [{"label": "x"}]}
        for number, subset in ((1, "training"), (2, "validation"))
    }
    (tmp_path / "anet.json").write_text(json.dumps({"database": database}))
    named = load_annotations(replace(folders, annotations="activitynet", train="anet.json", val="anet.json"))
    assert [record.path for record in (*named.train, *named.val)] == ["videos/v_1.mp4", "videos/v_2.mp4"]


@pytest.mark.parametrize("kind", ["loop", "gone", "pipe", "below a file", "name of 300 letters"])
def test_what_is_no_file_is_a_missing_video(kind: str, tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4")
    path = {"below a file": "b.mp4/a.mp4", "name of 300 letters": "n" * 300 + ".mp4"}.get(kind, "a.mp4")
    if kind == "loop":
        (tmp_path / path).symlink_to(path)
    elif kind == "gone":
        (tmp_path / path).symlink_to("/nowhere")
    elif kind == "pipe":
        os.mkfifo(tmp_path / path)
    (tmp_path / "train.csv").write_text(f"path,label\n{path},x\nb.mp4,y\n")
    (tmp_path / "val.csv").write_text("path,label\nb.mp4,y\n")
    with pytest.raises(BadInput, match="1 of 2 videos are missing"):
        build_manifest(DataSpec(root=str(tmp_path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, r"anet\.json: not ActivityNet's JSON \(nested too deeply\)"),
        (b'{"database": ' * 20_000, r"anet\.json: not ActivityNet's JSON \(nested too deeply\)"),
        ('{"database": {}}'.encode("utf-16"), r"anet\.json: byte 0 is not UTF-8"),
        (b"{'database'", r"anet\.json: not ActivityNet's JSON \(Expecting property name"),
    ],
)
def test_a_list_in_json_that_cannot_be_read_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "anet.json").write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        load_annotations(DataSpec(root=str(tmp_path), annotations="activitynet", train="anet.json", val="anet.json"))
    assert "BadInput(" not in str(caught.value)
    os.remove(tmp_path / "anet.json")
    with pytest.raises(BadInput, match=r"anet\.json: no such file") as caught:
        load_annotations(DataSpec(root=str(tmp_path), annotations="activitynet", train="anet.json", val="anet.json"))
    assert "BadInput(" not in str(caught.value)


@pytest.mark.parametrize("number", ["0.9", "Infinity", "[]", '"one"'])
def test_the_number_of_a_class_is_a_whole_one(number: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"id": "1", "template": "A"}]')
    (tmp_path / "c.json").write_text(f'{{"A": {number}}}')
    spec = DataSpec(root=str(tmp_path), annotations="ssv2", train="a.json", val="a.json", classes="c.json")
    with pytest.raises(BadInput, match=r"c\.json: it must be an object like"):
        load_annotations(spec)


def test_a_name_on_the_disk_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """As of files from a computer with Latin-1 names."""
    for split in (b"train", b"val"):
        folder = os.path.join(os.fsencode(tmp_path), split, b"caf\xe9")
        os.makedirs(folder)
        open(os.path.join(folder, b"a.mp4"), "wb").close()
    with pytest.raises(BadInput, match=r"holds U\+DCE9 half a letter, of a name that is not UTF-8; rename") as caught:
        load_annotations(DataSpec(root=str(tmp_path), annotations="folders", train="train", val="val"))
    assert str(caught.value).isascii()
