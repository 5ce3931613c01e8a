"""A clip at which the decoder crashes costs that clip: now, in the next job, and with the same bits in each."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reskd.data import dataset as dataset_module
from reskd.data.damage import name_of
from reskd.data.manifest import Manifest
from reskd.errors import VideoReadError
from reskd.files import read_json
from reskd.recipe import DataSpec
from reskd.runtime import loader_processes
from tests.support.training import Fit, fit, teacher_recipe

Read = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[Path], object]], Path]:
    """Calls a function in place of the decoder at one clip; the returned file gets a byte for each call."""
    read_frames: Read = dataset_module.read_frames

    def at(name: str, act: Callable[[Path], object]) -> Path:
        calls = tmp_path / "calls"
        calls.touch()

        def read(path: Path, *args: object, **options: object) -> NDArray[np.uint8]:
            if path.as_posix().endswith(name):
                with calls.open("ab") as file:
                    file.write(b".")
                act(path)
            return read_frames(path, *args, **options)

        monkeypatch.setattr(dataset_module, "read_frames", read)
        return calls

    return at


def crash(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse(path: Path) -> None:
    raise VideoReadError(str(path), "it does not decode")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_crash_costs_the_clip_and_no_later_training_opens_it(
    demo_data: DataSpec, short_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened, split: str
) -> None:
    recipes = {"7eac4e4": teacher_recipe(replace(demo_data, max_damaged=0.5), epochs=2)}
    clip = short_manifest.split(split)[3]
    opened(clip.path, refuse)
    expected = fit(Fit(recipes, short_manifest, tmp_path / "refused", None), True)

    calls = opened(clip.path, crash)
    calls.write_bytes(b"")
    monkeypatch.setattr(loader_processes, "CHECK_S", 0.2)
    job = Fit(recipes, short_manifest, tmp_path / "crashed", None, loader_workers=1)
    assert fit(job, True) == expected
    assert len(calls.read_bytes()) == 2
    record = job.folder / "lost_clips" / f"{name_of(clip, 'pyav')}.json"
    assert (read_json(record) or {})["path"] == clip.path
    damaged = (read_json(job.folder / "7eac4e4" / "DONE.json") or {})["damaged"]
    assert damaged == [{"split": split, "path": clip.path, "reason": "the decoder crashes at it (SIGSEGV)"}]

    (job.folder / "7eac4e4").rename(tmp_path / "first")  # the next job in the same store
    assert fit(job, True) == expected
    assert len(calls.read_bytes()) == 2
