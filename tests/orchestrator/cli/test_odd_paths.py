"""Paths that are no files, and full disks, at the command line: one line, an exit code, and nothing lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reskd.recipe import DataSpec
from tests.support.command_line import call_apart
from tests.support.small_files import small_files
from tests.support.sweeps import TWO_ROWS

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return lambda *words: call_apart(monkeypatch, capsys, *words)


def sweep(folder: Path, root: Path, **fields: str) -> Path:
    """A sweep file over the data in ``root``; fields: further ones of data, as in YAML."""
    more = "".join(f", {name}: {value}" for name, value in fields.items())
    path = folder / "s.yaml"
    path.write_text(TWO_ROWS.replace("ROOT", f"{root}{more}"))
    return path


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def loop(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


def below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "below"


ODD = [
    (pipe, "a pipe or a device, not a file"),
    (loop, "Too many levels of symbolic links"),
    (lambda folder: folder / ("n" * 300), "File name too long"),
    (below_a_file, "Not a directory"),
    (lambda folder: folder, "Is a directory"),
    (lambda folder: Path("/dev/zero"), "a pipe or a device, not a file"),
]
"""Ways to make a path that is no file, and what is said about it."""


@pytest.mark.parametrize(("make", "said"), ODD)
@pytest.mark.parametrize("words", [("plan", "{}"), ("data", "check", "{}"), ("bench", "import", "{}")])
def test_a_path_that_is_no_file_is_one_line_for_every_command(
    words: tuple[str, ...], make: Callable[[Path], Path], said: str, typed: Typed, tmp_path: Path
) -> None:
    path = str(make(tmp_path))
    code, out, err = typed(*(word.format(path) for word in words), "--store", tmp_path / "store")
    assert (code, out) == (2, "")
    assert said in err
    assert (path in err, len(err.splitlines())) == (True, 1)


@pytest.mark.parametrize("make", [make for make, _ in ODD])
def test_a_model_or_a_video_that_is_no_file_is_one_line(
    make: Callable[[Path], Path], typed: Typed, tmp_path: Path
) -> None:
    path = make(tmp_path)
    for words in ((f"{path}.pt", tmp_path), ("gone.pt", path)):
        code, out, err = typed("predict", *words, "--store", tmp_path / "store")
        assert (code, out, len(err.splitlines())) == (2, "", 1)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"train": '"a\\0b.csv"'}, "it holds U+0000"),
        ({"name": "../x"}, "data.name must be a folder's name"),
        ({"annotations": "activitynet", "train": "deep.json"}, "nested too deeply"),
        ({"train": "pipe"}, "a pipe or a device, not a file"),
        ({"train": "loop"}, "Too many levels of symbolic links"),
        ({"train": "train.csv/x"}, "Not a directory"),
        ({"train": "n" * 300}, "File name too long"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_one_line(
    fields: dict[str, str], said: str, typed: Typed, tmp_path: Path, demo_data: DataSpec
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    pipe(root)
    loop(root)
    (root / "deep.json").write_text("[" * 100_000)
    (root / "train.csv").write_text("path,label\n")
    path = sweep(tmp_path, root, **fields)
    if "name" in fields:
        path.write_text(path.read_text().replace("name: demo, ", ""))
    for words in (("plan", path), ("data", "check", path, "--workers", "1")):
        code, _, err = typed(*words, "--store", tmp_path / "store")
        assert (code, said in err, len(err.splitlines())) == (2, True, 1)


def test_a_check_is_reported_where_its_results_cannot_be_kept(typed: Typed, tmp_path: Path, demo_root: Path) -> None:
    path, store = sweep(tmp_path, demo_root), tmp_path / "store"
    for file in demo_root.rglob("*.mp4"):
        os.utime(file, (1_700_000_000, 1_700_000_000))  # else they are too new to be remembered
    with small_files(500):
        code, out, _ = typed("data", "check", path, "--quick", "--workers", "1", "--store", store)
    assert (code, "demo train: 36 videos: 36 ok" in out) == (0, True)
    assert not list(store.rglob("*.json"))


def test_a_plan_that_cannot_keep_its_manifest_is_one_line(typed: Typed, tmp_path: Path, demo_root: Path) -> None:
    path, store = sweep(tmp_path, demo_root), tmp_path / "store"
    with small_files(500):
        code, out, err = typed("plan", path, "--store", store)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(f"reskd: {store}/manifests/demo-")
    assert "File too large; mend it, then type the same command again" in err


def test_a_reader_that_has_enough_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in `reskd recipes tsn_activitynet | head -1`."""
    from orchestrator.cli import main as cli

    reader, writer = os.pipe()
    os.close(reader)
    closed = open(writer, "w", buffering=1 << 20)  # noqa: SIM115  # its end is an error too
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "argv", ["reskd", "recipes", "tsn_activitynet"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    with pytest.raises(BrokenPipeError):
        closed.close()
    assert (stopped.value.code, capsys.readouterr().err) == (0, "")


@pytest.mark.parametrize("buffering", [1, -1])
def test_an_output_that_does_not_arrive_is_one_line(
    buffering: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.cli import main as cli

    full = open("/dev/full", "w", buffering=buffering)  # noqa: SIM115  # its end is an error too
    monkeypatch.setattr(sys, "stdout", full)
    monkeypatch.setattr(sys, "argv", ["reskd", "recipes"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    with pytest.raises(OSError):
        full.close()
    assert stopped.value.code == 1
    err = capsys.readouterr().err
    assert ("No space left on device" in err, len(err.splitlines())) == (True, 1)
