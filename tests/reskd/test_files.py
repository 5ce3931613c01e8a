"""Files of any origin: writers that meet, names in another Unicode form, links that lead back, JSON that is none."""

from __future__ import annotations

import errno
import json
import os
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reskd.errors import BadInput
from reskd.files import (
    on_disk,
    open_file,
    parse_json,
    read_file,
    read_json,
    walk,
    write_atomic,
    write_cache,
    write_json,
)
from tests.support.small_files import small_files

COMPOSED, APART = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


def test_writers_of_one_process_id_never_meet(tmp_path: Path) -> None:
    """As two containers that share a folder, in which each program is process 1. Threads have one process id too."""
    path = tmp_path / "shared.json"

    def write(letter: str) -> None:
        for _ in range(25):
            write_atomic(path, json.dumps({"who": letter * 100_000}))
            assert len(set(json.loads(path.read_text())["who"])) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert os.listdir(tmp_path) == ["shared.json"]


def test_a_pipe_or_a_device_is_written_and_never_replaced(tmp_path: Path) -> None:
    """Such as /dev/stdout, or as root /dev/null, which would be a plain file for everybody from then on."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "pipe").read_bytes)
        write_atomic(tmp_path / "link", "through")
        assert read.result(timeout=10) == b"through"
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_name_of_the_longest_that_a_file_can_have_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_atomic(path, "x")
    assert path.read_text() == "x"


def test_a_write_that_does_not_fit_names_its_file_and_keeps_the_old_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache.json"
    write_atomic(path, "old")
    with small_files(1000):
        with pytest.raises(OSError) as caught:
            write_atomic(path, "n" * 2000)
        write_cache(path, "n" * 2000)
    assert caught.value.filename == str(path)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["cache.json"])
    assert f"{path}: cannot be written (File too large)" in caplog.text


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"a": ' * 100_000, b"1" * 5000, b"[1]"])
def test_what_is_no_object_of_json_is_one_line_with_its_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_json_that_was_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, {"\u00e9": None}]})
    assert read_json(tmp_path / "a.json") == parse_json(b'{"a": [1, {"\\u00e9": null}]}', where="") != {}
    assert read_json(tmp_path / "none.json") is None


def test_a_pipe_or_a_device_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="a pipe or a device, not a file"):
            open_file(path)
    with pytest.raises(OSError, match="no file can have this name"):
        open_file(tmp_path / "a\0b")


def test_a_file_that_a_user_named_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for size in (0, 99, 100):
        path.write_bytes(b"x" * size)
        assert read_file(path, max_bytes=100) == b"x" * size
    os.truncate(path, 2**40)
    with pytest.raises(OSError, match="1,099,511,627,776 bytes; the limit is 100 bytes") as refused:
        read_file(path, max_bytes=100)
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(path))
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path, max_bytes=100)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    for name in ("loop", "gone"):
        with pytest.raises(OSError, match=r"symbolic links|No such file"):
            read_file(tmp_path / name, max_bytes=100)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_file_that_states_no_size_is_read_up_to_a_limit_too() -> None:
    assert read_file(Path("/proc/self/comm"), max_bytes=100).endswith(b"\n")
    with pytest.raises(OSError, match="grows while it is read"):
        read_file(Path("/proc/self/pagemap"), max_bytes=2**40)  # gigabytes


def test_a_link_to_a_folder_around_the_root_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "sets" / "root" / "a").mkdir(parents=True)
    (tmp_path / "sets" / "other").mkdir()
    for name, target in (("all", "/"), ("up", ".."), ("back", "../root"), ("other", "../other")):
        (tmp_path / "sets" / "root" / name).symlink_to(target)
    root = str(tmp_path / "sets" / "root")
    assert [folder for folder, _, _ in walk(Path(root), on_error=pytest.fail)] == [root, f"{root}/a", f"{root}/other"]


@pytest.mark.parametrize(("listed", "lies"), [(COMPOSED, APART), (APART, COMPOSED), (COMPOSED, COMPOSED)])
def test_a_path_is_found_whatever_the_form_of_its_names(listed: str, lies: str, tmp_path: Path) -> None:
    (tmp_path / lies).mkdir()
    (tmp_path / lies / f"{lies}.mp4").write_text("a")
    assert on_disk(tmp_path / listed / f"{listed}.mp4") == tmp_path / lies / f"{lies}.mp4"
    (tmp_path / lies / f"{lies}2.mp4").write_text("b")  # the folder has changed since it was listed
    assert on_disk(tmp_path / listed / f"{listed}2.mp4") == tmp_path / lies / f"{lies}2.mp4"
    for missing in (tmp_path / listed / "gone.mp4", tmp_path / "plain.mp4", tmp_path / f"{listed}\0"):
        assert not os.path.lexists(on_disk(missing))


def test_each_folder_is_walked_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "v.mp4").touch()
    (tmp_path / ".Trash").mkdir()
    (tmp_path / ".Trash" / "v.mp4").touch()
    (tmp_path / "b" / "._v.mp4").touch()
    (tmp_path / "a_link").symlink_to("b/deep")  # comes before the folder itself
    (tmp_path / "b" / "back").symlink_to("..")
    (tmp_path / "b" / "same").symlink_to(".")
    (tmp_path / "b" / "loop").symlink_to("loop")
    other = tmp_path.with_name(f"{tmp_path.name}_other")
    other.mkdir()
    (other / "w.mp4").touch()
    (tmp_path / "elsewhere").symlink_to(other)
    errors: list[OSError] = []
    found = {os.path.relpath(folder, tmp_path): files for folder, _, files in walk(tmp_path, on_error=errors.append)}
    assert found == {".": [], "b": ["loop"], "b/deep": ["v.mp4"], "elsewhere": ["w.mp4"]}
    assert errors == []


def test_folders_that_the_caller_takes_out_are_not_entered(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "in").mkdir(parents=True)
    walked, errors = [], list[OSError]()
    for folder, folders, _ in walk(tmp_path, on_error=errors.append):
        walked.append(os.path.relpath(folder, tmp_path))
        folders[:] = [name for name in folders if name != "a"]
    assert (walked, errors) == ([".", "b", "b/in"], [])


def test_a_folder_that_cannot_be_read_is_told_and_the_others_are_walked(tmp_path: Path) -> None:
    """A path of more than 4,096 letters cannot be read, not even by root."""
    inner = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=inner)
        outer, inner = inner, os.open("d" * 250, os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    (tmp_path / "e").mkdir()
    errors: list[OSError] = []
    walked = [folder for folder, _, _ in walk(tmp_path, on_error=errors.append)]
    assert str(tmp_path / "e") in walked
    assert [error.strerror for error in errors] == ["File name too long"]
