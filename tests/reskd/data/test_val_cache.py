"""Validation clips kept in memory: the very groups of a decode, as many as fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.spec.sweep import Resources
from reskd.data import dataset as dataset_module
from reskd.data.dataset import Group, VideoDataset
from reskd.data.loader import val_groups
from reskd.data.manifest import Clip
from reskd.data.val_cache import GroupCache
from reskd.recipe import DataSpec
from tests.support.video_files import truncate, write_video

SPEC = DataSpec(num_frames=2, short_side=32, crop_size=32)
NUM_CLIPS = 7
GROUP_BYTES = 2 * (2 * 3 * 32 * 32 + 8 + 8 + 3)
"""Of two clips: pixels, label, number, three targets."""


@pytest.fixture
def dataset(tmp_path: Path) -> VideoDataset:
    """Seven clips, the fifth of them damaged."""
    clips = []
    for number in range(NUM_CLIPS):
        path = write_video(tmp_path / f"{number}.mp4", num_frames=5 + number, height=32, width=48)
        if number == 4:
            truncate(path, path, share=0.3)
        clips.append(Clip(path.name, path.stat().st_size, "", (number % 3,)))
    return VideoDataset(clips, root=tmp_path, spec=SPEC, num_classes=3, split="val", data_seed=0)


def passed(dataset: VideoDataset, cache: GroupCache | None, *, loader_workers: int = 0) -> list[Group]:
    options = {"batch_size": 2, "rank": 0, "world_size": 1, "loader_workers": loader_workers}
    return list(val_groups(dataset, cache=cache, **options))


def same(first: list[Group], second: list[Group]) -> bool:
    return len(first) == len(second) and all(
        all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("clips", "labels", "targets", "indices"))
        and a.damaged == b.damaged
        for a, b in zip(first, second, strict=True)
    )


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the clips that are read."""
    names: list[str] = []
    read_frames = dataset_module.read_frames

    def read(path: Path, *args, **kwargs):
        names.append(path.name)
        return read_frames(path, *args, **kwargs)

    monkeypatch.setattr(dataset_module, "read_frames", read)
    return names


@pytest.mark.parametrize(("num_groups", "num_again"), [(0, 7), (2, 3), (4, 0), (9, 0)])
def test_what_fits_is_decoded_once_and_every_pass_gives_the_same(dataset, decoded, num_groups, num_again):
    expected = passed(dataset, None)
    assert [damage.path for group in expected for damage in group.damaged] == ["4.mp4"]
    cache = GroupCache(num_groups * GROUP_BYTES)
    assert same(passed(dataset, cache), expected)
    del decoded[:]
    assert same(passed(dataset, cache), expected)
    assert same(passed(dataset, cache, loader_workers=0), expected)
    assert len(decoded) == 2 * num_again
    assert cache.num_bytes <= cache.limit_bytes


def test_a_pass_that_was_left_early_and_loader_processes_change_nothing(dataset):
    expected = passed(dataset, None)
    cache = GroupCache(1 << 30)
    groups = val_groups(dataset, batch_size=2, rank=0, world_size=1, loader_workers=0, cache=cache)
    next(groups)
    assert same(passed(dataset, cache, loader_workers=1), expected)
    assert same(passed(dataset, cache, loader_workers=1), expected)


def test_loader_processes_follow_from_the_cores_where_a_sweep_does_not_say():
    gpu = Resources(cpus_per_worker=8, gpus_per_worker=1)
    assert gpu.num_loaders == 7
    assert replace(gpu, loader_workers=2).num_loaders == 2
    assert replace(gpu, gpus_per_worker=0).num_loaders == 0
    assert replace(gpu, cpus_per_worker=0.5).num_loaders == 0
