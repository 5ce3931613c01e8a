"""Annotation lists of every format with anything wrong in them: a manifest, or one line that names the file."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import settings

from reskd.data.annotations import load_annotations
from reskd.data.manifest import build_manifest
from reskd.errors import MAX_LETTERS, BadInput
from reskd.recipe import AnnotationFormat, DataSpec
from tests.support.fuzz.lists import VALID
from tests.support.fuzz.trials import trials

SEED = 0 if settings().derandomize else random.SystemRandom().randrange(10**6)
"""Another one in each `make test`; a failure says it."""
FORMATS = get_args(AnnotationFormat)
LISTED = [name for name in FORMATS if name != "folders"]


def laid(root: Path, format: AnnotationFormat, **lists: str | bytes) -> DataSpec:
    """A valid data set, but for the given lists."""
    valid = VALID[format]
    for name, content in {**dict.fromkeys(valid.videos, "video"), **valid.lists, **lists}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    names = {"train": "train", "val": "val"} if format == "folders" else valid.fields
    return DataSpec(root=str(root), annotations=format, **names)  # type: ignore[arg-type]


def refusal(spec: DataSpec) -> str:
    with pytest.raises(BadInput) as refused:
        build_manifest(spec)
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    assert len(said) <= MAX_LETTERS
    return said


@pytest.mark.parametrize("format", FORMATS)
def test_the_data_sets_that_are_made_wrong_are_right(format: AnnotationFormat, tmp_path: Path) -> None:
    manifest = build_manifest(laid(tmp_path, format))
    assert len(manifest.train) + len(manifest.val) == len(VALID[format].videos)


@pytest.mark.parametrize("format", FORMATS)
def test_a_mutated_list_is_a_manifest_or_one_line_about_a_file_within_5_s_and_1_gb(format: AnnotationFormat) -> None:
    wrong = [trial for trial in trials(format, seed=SEED, count=200) if not trial.is_right]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("kind", ["pipe", "socket", "zero", "loop", "gone", "folder", "a terabyte", "/proc/kmsg"])
@pytest.mark.parametrize("format", LISTED)
def test_what_is_no_file_is_refused_as_a_list_in_every_format(
    format: AnnotationFormat, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = laid(tmp_path, format)
    path = tmp_path / spec.train
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # the name of a socket may have only a hundred letters
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    elif kind == "folder":
        path.mkdir()
    elif kind == "a terabyte":
        path.touch()
        os.truncate(path, 2**40)
    else:
        path.symlink_to({"zero": "/dev/zero", "loop": path.name, "gone": "/nowhere"}.get(kind, kind))
    assert str(path) in refusal(spec)


def csv(root: Path, train: str, **fields: object) -> DataSpec:
    return replace(laid(root, "csv", **{"train.csv": f"path,label\n{train}\n"}), classes=None, **fields)  # type: ignore[arg-type]


def anet(root: Path, video_id: str = "a", **fields: object) -> DataSpec:
    database = json.loads(VALID["activitynet"].lists["anet.json"])["database"]
    database[video_id] = {**database.pop("a"), **fields}
    return laid(root, "activitynet", **{"anet.json": json.dumps({"database": database})})


def test_a_label_of_thousands_of_digits_is_no_number_and_no_name(tmp_path: Path) -> None:
    assert "train.csv:2: label '999" in refusal(csv(tmp_path, f"a.mp4,{'9' * 5000}"))


def test_a_class_number_without_end_makes_no_list_of_classes(tmp_path: Path) -> None:
    for number in ("1000000000", "100000", "9" * 5000):
        lines = f"a_000001_000011 300 0\nb_000001_000011 250 {number}\n"
        said = refusal(replace(laid(tmp_path, "mini_kinetics", **{"train.csv": lines}), classes=None))
        assert "train.csv:2: " in said
        assert number[:50] in said
    lines = "a_000001_000011 300 0\nb_000001_000011 250 2\n"
    spec = replace(laid(tmp_path, "mini_kinetics", **{"train.csv": lines}), classes=None)
    assert load_annotations(spec).classes == ("0", "1", "2")


@pytest.mark.parametrize("end", [10**400, float("inf"), float("nan"), -1, 1e300, True])
def test_a_time_that_no_video_has_is_refused_or_of_no_account(end: float, tmp_path: Path) -> None:
    said = refusal(anet(tmp_path, annotations=[{"label": "x", "segment": [0, end]}]))
    assert "anet.json: video 'a': segment [0, " in said
    found = load_annotations(anet(tmp_path, duration=end))  # it is only compared
    assert found.remarks == ()


def test_a_list_of_two_hundred_thousand_classes_is_read_in_seconds(tmp_path: Path) -> None:
    names = "".join(f"class {number}\n" for number in range(200_000))
    begun = time.process_time()
    said = refusal(laid(tmp_path, "csv", **{"classes.txt": names}))
    assert "classes.txt: 200000 classes; the most are 100000" in said
    assert time.process_time() - begun < 5


def test_a_letter_with_a_hundred_thousand_accents_is_refused_at_once(tmp_path: Path) -> None:
    begun = time.process_time()
    for text in ("e" + "\u0301\u0316" * 50_000, "e" + r"\u0301\u0316" * 50_000):
        spec = laid(tmp_path, "ssv2", **{"train.csv": f'[{{"id": "1", "template": "{text}"}}]'})
        assert "train.csv: " in refusal(spec)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("format", "lists"),
    [
        ("csv", {"train.csv": "path,label\nPATH,x\n"}),
        ("fcvid", {"m/FCVID_VideoName_TrainTestSplit.txt": "PATH train\nx/b c.mp4 train\ny/d.mp4 test\n"}),
    ],
)
@pytest.mark.parametrize("path", ["../out.mp4", "ABSOLUTE", "x/../../out.mp4"])
def test_a_listed_path_leads_out_of_the_root_only_if_it_is_allowed(
    format: AnnotationFormat, lists: dict[str, str], path: str, tmp_path: Path
) -> None:
    (tmp_path / "out.mp4").write_bytes(b"outside")
    path = path.replace("ABSOLUTE", str(tmp_path / "out.mp4"))
    spec = laid(tmp_path / "root", format, **{name: text.replace("PATH", path) for name, text in lists.items()})
    (tmp_path / "root" / "x").mkdir(exist_ok=True)
    assert f"path {path!r} leads out of the data root" in refusal(spec)
    allowed = build_manifest(replace(spec, allow_outside=True))
    assert [(clip.path, clip.size) for clip in allowed.train if clip.path == path] == [(path, 7)]


def test_an_id_with_a_path_in_it_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"outside")
    (tmp_path / "root" / "v_x").mkdir(parents=True)
    assert "leads out of the data root" in refusal(anet(tmp_path / "root", "x/../../out"))


@pytest.mark.parametrize("field", ["train", "val", "classes"])
def test_a_list_lies_outside_of_the_root_only_if_it_is_allowed(field: str, tmp_path: Path) -> None:
    spec = laid(tmp_path / "root", "csv")
    (tmp_path / "list").write_bytes((tmp_path / "root" / getattr(spec, field)).read_bytes())
    for path in ("../list", str(tmp_path / "list"), "d/../../list"):
        outside = replace(spec, **{field: path})  # type: ignore[arg-type]
        assert f"data.{field} must be a path inside data.root" in refusal(outside)
        assert build_manifest(replace(outside, allow_outside=True)) == build_manifest(spec)


def test_links_inside_the_root_lead_where_they_like(tmp_path: Path) -> None:
    spec = laid(tmp_path / "root", "csv")
    (tmp_path / "root" / "d").rename(tmp_path / "elsewhere")
    (tmp_path / "root" / "d").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "train.csv").rename(tmp_path / "list")
    (tmp_path / "root" / "train.csv").symlink_to(tmp_path / "list")
    assert build_manifest(spec) == build_manifest(laid(tmp_path / "plain", "csv"))
