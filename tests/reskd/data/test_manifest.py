from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reskd.data.manifest import Clip, Manifest, build_manifest, file_digest, read_manifest, write_manifest
from reskd.errors import BadInput
from reskd.recipe import DataSpec

HOUR_NS = 3600 * 10**9


@pytest.fixture
def spec(tmp_path) -> DataSpec:
    """Three files of two classes; their bytes need not be video, for the manifest never decodes."""
    root = tmp_path / "set"
    (root / "clips").mkdir(parents=True)
    for number, size in enumerate([10, 2000, 3 << 20]):
        (root / f"clips/{number}.mp4").write_bytes(bytes([number]) * size)
    (root / "train.csv").write_text("path,label\nclips/2.mp4,b\nclips/0.mp4,a\n")
    (root / "val.csv").write_text("path,label\nclips/1.mp4,b\n")
    return DataSpec(name="first", root=str(root))


def edit(path: Path, *, offset: int) -> None:
    """Changes one byte and nothing else that a listing shows."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_a_manifest_says_path_size_digest_and_labels_in_the_order_of_the_files(spec):
    manifest = build_manifest(spec)
    small = hashlib.sha256(b"\0" * 10).hexdigest()
    assert manifest.name == "first"
    assert manifest.classes == ("a", "b")
    assert manifest.train[1] == Clip("clips/0.mp4", 10, small, (0,))
    assert [clip.path for clip in manifest.train] == ["clips/2.mp4", "clips/0.mp4"]
    assert manifest.split("train") == manifest.train
    assert manifest.split("val") == manifest.val == (Clip("clips/1.mp4", 2000, file_digest_of(2000, 1), (1,)),)


def file_digest_of(size: int, byte: int) -> str:
    return hashlib.sha256(bytes([byte]) * size).hexdigest()


def test_the_hash_is_that_of_the_canonical_json_written_by_hand():
    manifest = Manifest("x", ("a", "b"), (Clip("1.mp4", 5, "d1", (0, 1)),), (Clip("2.mp4", 6, "d2", (1,)),))
    text = '{"classes":["a","b"],"train":[["1.mp4",5,"d1",[0,1]]],"val":[["2.mp4",6,"d2",[1]]]}'
    assert manifest.sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(("path", "offset"), [("clips/0.mp4", 9), ("clips/1.mp4", 0), ("clips/2.mp4", (3 << 20) - 1)])
def test_one_byte_of_a_video_changes_the_hash(spec, path, offset):
    before = build_manifest(spec).sha256
    edit(Path(spec.root) / path, offset=offset)
    assert build_manifest(spec).sha256 != before


def test_one_label_or_the_order_of_the_clips_changes_the_hash(spec):
    before = build_manifest(spec).sha256
    train = Path(spec.root) / "train.csv"
    rows = train.read_text()
    train.write_text(rows.replace("0.mp4,a", "0.mp4,b").replace("2.mp4,b", "2.mp4,a"))
    assert build_manifest(spec).sha256 != before
    train.write_text("path,label\nclips/0.mp4,a\nclips/2.mp4,b\n")
    assert build_manifest(spec).sha256 != before
    train.write_text(rows)
    assert build_manifest(spec).sha256 == before


def test_another_name_another_place_and_another_time_keep_the_hash(spec, tmp_path):
    before = build_manifest(spec).sha256
    Path(spec.root).rename(tmp_path / "moved")
    os.utime(tmp_path / "moved/clips/0.mp4", ns=(0, 0))
    assert build_manifest(DataSpec(name="second", root=str(tmp_path / "moved"))).sha256 == before


def test_a_large_file_is_sampled_at_sixteen_places_and_its_size_counts(tmp_path):
    path = tmp_path / "large"
    content = os.urandom(2_000_003)
    path.write_bytes(content)
    starts = [i * (2_000_003 - 65_536) // 15 for i in range(16)]
    sample = b"2000003" + b"".join(content[start : start + 65_536] for start in starts)
    assert starts[-1] + 65_536 == 2_000_003
    assert file_digest(path, size=2_000_003) == hashlib.sha256(sample).hexdigest()
    path.write_bytes(content[: 1 << 20])
    assert file_digest(path, size=1 << 20) == hashlib.sha256(content[: 1 << 20]).hexdigest()


def test_a_cached_digest_is_used_until_size_or_time_changes(spec, tmp_path):
    cache = tmp_path / "cache" / "digests.json"
    root = Path(spec.root)
    for path in root.glob("clips/*"):
        os.utime(path, ns=(0, HOUR_NS))
    manifest = build_manifest(spec, cache=cache)
    entries = json.loads(cache.read_text())
    entries[str(root / "clips/0.mp4")][2] = "from the cache"
    cache.write_text(json.dumps(entries))
    assert build_manifest(spec, cache=cache).train[1].digest == "from the cache"
    edit(root / "clips/0.mp4", offset=0)
    changed = build_manifest(spec, cache=cache)
    assert changed.train[1].digest == file_digest(root / "clips/0.mp4", size=10)
    assert changed.train[1].digest != manifest.train[1].digest
    assert changed.train[0] == manifest.train[0]


def test_a_file_written_just_now_is_not_cached_since_its_time_may_not_show_the_next_edit(spec, tmp_path):
    cache = tmp_path / "digests.json"
    old = Path(spec.root) / "clips/1.mp4"
    os.utime(old, ns=(0, HOUR_NS))
    build_manifest(spec, cache=cache)
    assert list(json.loads(cache.read_text())) == [str(old)]


def test_missing_videos_are_counted_and_the_first_are_named(spec):
    root = Path(spec.root)
    (root / "clips/0.mp4").unlink()
    (root / "clips/1.mp4").unlink()
    (root / "clips/1.mp4").mkdir()
    with pytest.raises(BadInput, match=r"2 of 3 videos are missing: clips/0\.mp4, clips/1\.mp4; .*data\.root"):
        build_manifest(spec)


def test_a_video_in_both_splits_is_in_both(spec):
    (Path(spec.root) / "val.csv").write_text("path,label\nclips/0.mp4,a\n")
    manifest = build_manifest(spec)
    assert manifest.val[0] == manifest.train[1]


def test_a_manifest_comes_back_from_its_file(spec, tmp_path):
    manifest = build_manifest(spec)
    write_manifest(manifest, tmp_path / "deep" / "manifest.json")
    again = read_manifest(tmp_path / "deep" / "manifest.json")
    assert again == manifest
    assert again.sha256 == manifest.sha256
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["manifest.json"]


def test_a_manifest_file_that_was_changed_or_is_something_else_is_refused(spec, tmp_path):
    path = tmp_path / "manifest.json"
    manifest = build_manifest(spec)
    write_manifest(manifest, path)
    path.write_text(path.read_text().replace('"clips/0.mp4"', '"clips/9.mp4"'))
    with pytest.raises(BadInput, match=r"manifest\.json: damaged or edited"):
        read_manifest(path)
    for text in ("", "[]", '{"name": "x"}', '{"train": [[1, 2]], "val": []}'):
        path.write_text(text)
        with pytest.raises(BadInput, match=r"manifest\.json: damaged"):
            read_manifest(path)


def test_a_cache_that_is_another_file_is_refused_and_left_as_it_is(spec, tmp_path):
    path = tmp_path / "notes.json"
    path.write_text('{"mine": 1}')
    with pytest.raises(BadInput, match=r"notes\.json: not a cache of digests"):
        build_manifest(spec, cache=path)
    assert path.read_text() == '{"mine": 1}'


def test_manifests_are_plain_values():
    clip = Clip("a", 1, "d", (0,))
    manifest = Manifest("x", ("a",), (clip,), (clip,))
    first = manifest.sha256
    assert replace(manifest, name="y").sha256 == first
    assert replace(manifest, classes=("b",)).sha256 != first


@pytest.mark.parametrize(("allow", "is_refused"), [(0, True), (1, False), (0.49, True), (0.5, False), (7, False)])
def test_missing_videos_up_to_the_limit_are_named_and_left_out_as_if_never_listed(
    spec, tmp_path, caplog, allow, is_refused
):
    train = Path(spec.root) / "train.csv"
    (Path(spec.root) / "clips/0.mp4").unlink()
    allowing = replace(spec, allow_missing=allow, classes="classes.txt")
    (Path(spec.root) / "classes.txt").write_text("a\nb\n")
    if is_refused:
        with pytest.raises(BadInput, match=r"1 of 3 videos are missing: clips/0\.mp4; .* data\.allow_missing, now 0"):
            build_manifest(allowing)
        return
    manifest = build_manifest(allowing)
    assert manifest.missing == {"train": ("clips/0.mp4",)}
    assert (manifest.num_missing("train"), manifest.num_missing("val")) == (1, 0)
    assert "1 of 2 train videos are missing and left out: clips/0.mp4" in caplog.text
    train.write_text("path,label\nclips/2.mp4,b\n")
    without = build_manifest(replace(allowing, allow_missing=0))
    assert manifest == without
    assert manifest.sha256 == without.sha256
    write_manifest(manifest, tmp_path / "m.json")
    assert read_manifest(tmp_path / "m.json").missing == manifest.missing


def test_a_split_without_any_video_is_refused_whatever_may_be_missing(spec):
    (Path(spec.root) / "clips/1.mp4").unlink()
    with pytest.raises(BadInput, match=r"all 1 videos of data\.val are missing: clips/1\.mp4"):
        build_manifest(replace(spec, allow_missing=9))


@pytest.mark.parametrize("limit", [-1, 1.5, -0.1])
def test_a_limit_that_is_neither_a_share_nor_a_number_is_refused(limit):
    with pytest.raises(BadInput, match=r"data\.allow_missing must be a share"):
        DataSpec(allow_missing=limit)
