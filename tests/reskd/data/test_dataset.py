from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reskd.data.dataset import Damage, Group, VideoDataset
from reskd.data.loader import EpochLoader, train_groups, val_groups
from reskd.data.manifest import Clip, Manifest
from reskd.data.sampling import epoch_order, num_steps, seed_of
from reskd.errors import BadInput, TooManyDamaged
from reskd.recipe import DataSpec
from tests.support.video_files import frame_number, write_video

NUM_CLASSES = 6
WHOLE = DataSpec(num_frames=4, short_side=64, crop_size=64, crop_scales=(1.0,), flip=False)


@pytest.fixture
def train_set(demo_root: Path, demo_data: DataSpec, demo_manifest: Manifest) -> VideoDataset:
    return make(demo_manifest.train, root=demo_root, spec=demo_data)


def make(clips, *, root: Path, spec: DataSpec, split="train", data_seed=0) -> VideoDataset:
    return VideoDataset(
        clips, root=root, spec=spec, num_classes=NUM_CLASSES, split=split, data_seed=data_seed, retry_pause_s=0.05
    )


def some_damaged(demo_root: Path, manifest: Manifest, folder: Path, *, damaged: set[int]) -> tuple[Clip, ...]:
    """Twelve clips of the demo copied to a folder, the named ones with text in the place of video."""
    (folder / "train").mkdir()
    for number, clip in enumerate(manifest.train[:12]):
        if number in damaged:
            (folder / clip.path).write_text("<html>404</html>")
        else:
            shutil.copy(demo_root / clip.path, folder / clip.path)
    return manifest.train[:12]


def epoch_of(dataset: VideoDataset, *, epoch=0, batch_size=8, group_size=2, world_size=1, loader_workers=0):
    """All groups of an epoch as one worker would see them, put together from the parts of all workers."""
    parts = [
        train_groups(
            dataset,
            epoch=epoch,
            batch_size=batch_size,
            group_size=group_size,
            rank=rank,
            world_size=world_size,
            loader_workers=loader_workers,
        )
        for rank in range(world_size)
    ]
    return [[group for part in parts_of_step for group in part] for parts_of_step in zip(*parts, strict=True)]


def flat(steps: list[list[Group]]) -> list[Group]:
    return [group for step in steps for group in step]


def assert_equal(first: list[Group], second: list[Group]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for name in ("clips", "labels", "targets", "indices"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert a.damaged == b.damaged


def test_any_number_of_workers_and_loader_processes_gives_the_same_bytes(train_set):
    alone = epoch_of(train_set)
    assert [len(step) for step in alone] == [4, 4, 4, 4]
    for world_size, loader_workers in [(1, 2), (2, 0), (4, 1)]:
        spread = epoch_of(train_set, world_size=world_size, loader_workers=loader_workers)
        assert [len(step) for step in spread] == [4, 4, 4, 4]
        assert_equal(flat(alone), flat(spread))


class HangsAtThree(VideoDataset):
    def _read(self, index, choose):
        frames = super()._read(index, choose)
        if index == 3:
            time.sleep(3600)
        return frames


def test_a_clip_at_which_loader_processes_hang_is_replaced_like_any_damaged_one(train_set):
    named = {"spec": train_set.spec, "num_classes": NUM_CLASSES, "split": "train", "data_seed": 0}
    dataset = HangsAtThree(train_set.clips, root=train_set.root, **named)
    options = {"batch_size": 4, "group_size": 2, "rank": 0, "world_size": 1, "loader_workers": 2, "still_s": 1.0}
    found = list(train_groups(dataset, epoch=0, **options))
    [damage] = {damage for group in flat(found) for damage in group.damaged}
    assert damage == Damage(train_set.clips[3].path, "the decoder hangs at it (no progress for 1 s)")
    known = VideoDataset(train_set.clips, root=train_set.root, **named)
    known.lost = {3: damage.reason}  # it is known from the start, as in the next job
    assert_equal(flat(found), flat(list(train_groups(known, epoch=0, **options))))


def test_an_epoch_takes_its_order_in_whole_batches_and_drops_the_rest(train_set):
    groups = flat(epoch_of(train_set, epoch=5, batch_size=8))
    indices = torch.cat([group.indices for group in groups]).tolist()
    assert indices == epoch_order(36, data_seed=0, epoch=5)[:32]
    assert [train_set.clips[i].labels[0] for i in indices] == torch.cat([group.labels for group in groups]).tolist()


def test_a_group_has_the_promised_shapes_and_types(train_set):
    group = epoch_of(train_set)[0][0]
    assert group.clips.shape == (2, 4, 3, 64, 64)
    assert group.clips.is_contiguous()
    assert (group.clips.dtype, group.labels.dtype) == (torch.uint8, torch.int64)
    assert (group.targets.shape, group.targets.dtype) == ((2, NUM_CLASSES), torch.bool)
    assert torch.equal(group.targets.int().argmax(1), group.labels)
    assert group.damaged == ()


def test_epochs_and_data_seeds_change_order_and_crops_and_nothing_else_does(train_set):
    other_seed = make(train_set.clips, root=train_set.root, spec=train_set.spec, data_seed=1)
    first, again = train_set[(0, 3)], train_set[(0, 3)]
    assert torch.equal(first.clip, again.clip)
    assert not torch.equal(first.clip, train_set[(1, 3)].clip)
    assert not torch.equal(first.clip, other_seed[(0, 3)].clip)


def test_an_order_is_a_permutation_that_epoch_and_seed_decide():
    orders = [epoch_order(50, data_seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(50, data_seed=0, epoch=1) == orders[1]


def test_loading_leaves_torchs_global_generator_alone(train_set):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    epoch_of(train_set, batch_size=32, group_size=8, loader_workers=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_takes_one_frame_of_each_segment_and_validation_the_middle(tmp_path):
    write_video(tmp_path / "a.mp4", num_frames=42, height=64, width=64)
    clips = [Clip("a.mp4", 0, "", (0,))]
    seen = [Counter() for _ in range(4)]
    for epoch in range(60):
        item = make(clips, root=tmp_path, spec=WHOLE)[(epoch, 0)]
        for place, frame in enumerate(item.clip):
            seen[place][frame_number(frame.permute(1, 2, 0).numpy())] += 1
    assert [set(counts) for counts in seen] == [set(range(start, start + 10)) for start in (0, 10, 20, 30)]
    middle = make(clips, root=tmp_path, spec=WHOLE, split="val")[(0, 0)].clip
    assert [frame_number(frame.permute(1, 2, 0).numpy()) for frame in middle] == [5, 15, 26, 36]


def test_a_short_video_loops(tmp_path):
    write_video(tmp_path / "a.mp4", num_frames=3, height=64, width=64)
    for split in ("train", "val"):
        clip = make([Clip("a.mp4", 0, "", (0,))], root=tmp_path, spec=WHOLE, split=split)[(0, 0)].clip
        assert [frame_number(frame.permute(1, 2, 0).numpy()) for frame in clip] == [0, 1, 2, 0]


def test_a_clip_of_several_labels_trains_on_one_at_random_and_is_judged_by_all(train_set):
    clips = [replace(train_set.clips[0], labels=(1, 3, 5))] * 4
    dataset = make(clips, root=train_set.root, spec=train_set.spec)
    groups = [group for epoch in range(20) for group in flat(epoch_of(dataset, epoch=epoch, batch_size=4))]
    counts = Counter(torch.cat([group.labels for group in groups]).tolist())
    assert sorted(counts) == [1, 3, 5]
    assert min(counts.values()) > 10  # of 80, 27 by chance
    assert all(row == [False, True, False, True, False, True] for group in groups for row in group.targets.tolist())
    judged = make(clips, root=train_set.root, spec=train_set.spec, split="val")
    assert judged[(0, 0)].label == 1


def test_a_damaged_training_clip_is_named_and_another_takes_its_place(demo_root, demo_data, demo_manifest, tmp_path):
    damaged = {2, 5, 7}
    clips = some_damaged(demo_root, demo_manifest, tmp_path, damaged=damaged)
    dataset = make(clips, root=tmp_path, spec=demo_data)
    stand_ins = set()
    for epoch in range(4):
        groups = flat(epoch_of(dataset, epoch=epoch, batch_size=12))
        order = epoch_order(12, data_seed=0, epoch=epoch)
        for position, sample in enumerate(order):
            group, place = groups[position // 2], position % 2
            index = int(group.indices[place])
            assert index not in damaged
            assert int(group.labels[place]) == clips[index].labels[0]
            if sample in damaged:
                assert clips[sample].path in [damage.path for damage in group.damaged]
                assert index == first_whole(epoch, sample, damaged)
                stand_ins.add(index)
            else:
                assert index == sample
        assert all(len(group.clips) == 2 for group in groups)
        assert all("404" not in damage.reason and damage.reason for group in groups for damage in group.damaged)
    assert len(stand_ins) > 3


def first_whole(epoch: int, sample: int, damaged: set[int]) -> int:
    for attempt in range(1, 21):
        index = random.Random(seed_of("replace", 0, epoch, sample, attempt)).randrange(12)
        if index not in damaged:
            return index
    raise AssertionError("twenty draws in a row hit three of twelve")


def test_damage_is_met_alike_by_any_number_of_workers(demo_root, demo_data, demo_manifest, tmp_path):
    clips = some_damaged(demo_root, demo_manifest, tmp_path, damaged={0, 1, 2, 3})
    dataset = make(clips, root=tmp_path, spec=demo_data)
    alone = flat(epoch_of(dataset, batch_size=12, group_size=3))
    assert sum(len(group.damaged) for group in alone) >= 4
    assert_equal(alone, flat(epoch_of(dataset, batch_size=12, group_size=3, world_size=2, loader_workers=1)))


def test_when_no_replacement_decodes_the_run_stops_and_names_them(demo_root, demo_data, demo_manifest, tmp_path):
    clips = some_damaged(demo_root, demo_manifest, tmp_path, damaged=set(range(12)))
    dataset = make(clips, root=tmp_path, spec=demo_data)
    for loader_workers in (0, 1):
        with pytest.raises(TooManyDamaged, match=r"sample \d+.*20 drawn(.|\n)*train/0003\.mp4: "):
            epoch_of(dataset, loader_workers=loader_workers)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_validation_sees_each_clip_once_over_all_workers(demo_root, demo_data, demo_manifest, world_size):
    dataset = make(demo_manifest.val, root=demo_root, spec=demo_data, split="val")
    seen = []
    for rank in range(world_size):
        groups = list(val_groups(dataset, batch_size=2, rank=rank, world_size=world_size, loader_workers=0))
        mine = torch.cat([group.indices for group in groups]).tolist()
        assert mine == list(range(rank, 7, world_size))
        for group in groups:
            for clip, index in zip(group.clips, group.indices.tolist(), strict=True):
                assert torch.equal(clip, dataset[(9, index)].clip)
        seen += mine
    assert sorted(seen) == list(range(7))


def test_a_damaged_validation_clip_is_left_out_and_never_replaced(demo_root, demo_data, demo_manifest, tmp_path):
    clips = some_damaged(demo_root, demo_manifest, tmp_path, damaged={4, 6, 7})
    dataset = make(clips, root=tmp_path, spec=demo_data, split="val")
    groups = list(val_groups(dataset, batch_size=2, rank=0, world_size=1, loader_workers=1))
    assert [group.indices.tolist() for group in groups] == [[0, 1], [2, 3], [5], [], [8, 9], [10, 11]]
    assert [[damage.path for damage in group.damaged] for group in groups[2:4]] == [
        ["train/0004.mp4"],
        ["train/0006.mp4", "train/0007.mp4"],
    ]
    empty = groups[3]
    assert empty.clips.shape == (0, 4, 3, 64, 64)
    assert (empty.labels.shape, empty.targets.shape) == ((0,), (0, NUM_CLASSES))
    assert (empty.labels.dtype, empty.indices.dtype) == (torch.int64, torch.int64)


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_file_that_stays_away_stops_the_job_with_its_path(train_set, tmp_path, loader_workers):
    dataset = make(train_set.clips, root=tmp_path / "gone", spec=train_set.spec)
    with pytest.raises(FileNotFoundError, match=r"\(4 tries\).*gone/train/00\d\d\.mp4"):
        epoch_of(dataset, loader_workers=loader_workers)


def test_a_file_that_comes_back_in_time_gives_the_same_clip_as_if_it_had_never_been_away(train_set, tmp_path):
    expected = train_set[(2, 0)]
    (tmp_path / "train").mkdir()
    dataset = make(train_set.clips, root=tmp_path, spec=train_set.spec)
    path = train_set.clips[0].path
    shutil.copy(train_set.root / path, tmp_path / "mounted")
    mount = threading.Timer(0.1, (tmp_path / "mounted").rename, [tmp_path / path])
    mount.start()
    item = dataset[(2, 0)]
    mount.join()
    assert item.damaged == ()
    assert torch.equal(item.clip, expected.clip)


def test_an_epoch_has_its_whole_batches_and_must_have_one():
    assert (num_steps(64, 64), num_steps(127, 64), num_steps(128, 64)) == (1, 1, 2)
    with pytest.raises(BadInput, match=r"63 training clips are fewer than one batch: optim\.batch_size is 64"):
        num_steps(63, 64)


@pytest.mark.parametrize(("batch_size", "group_size", "world_size"), [(8, 2, 3), (8, 3, 1)])
def test_groups_that_workers_cannot_share_evenly_are_refused(train_set, batch_size, group_size, world_size):
    with pytest.raises(BadInput, match=f"optim.batch_size {batch_size} / optim.group_size {group_size} .*{world_size}"):
        epoch_of(train_set, batch_size=batch_size, group_size=group_size, world_size=world_size)


def test_an_epoch_that_was_prepared_is_begun_once_and_another_one_in_its_place():
    begun = []

    def load(epoch):
        begun.append(epoch)
        return iter([[epoch]])

    loader = EpochLoader(load)
    loader.prepare(2)
    assert begun == [2]
    assert list(loader.groups(2)) == [[2]]
    assert begun == [2]
    loader.prepare(3)
    assert list(loader.groups(5)) == [[5]]  # a resume goes elsewhere
    assert list(loader.groups(3)) == [[3]]
    assert begun == [2, 3, 5, 3]
