"""Clips and groups of clips. Every random number comes from (data seed, epoch, sample), so that the same bytes come out
for any number of loader processes and of workers."""

from __future__ import annotations

import copy
import errno
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from reskd.data.decode.dispatch import read_frames
from reskd.data.manifest import Clip
from reskd.data.sampling import eval_indices, seed_of, train_indices
from reskd.data.transforms import train_crop, view_crops
from reskd.errors import DecodeError, TooManyDamaged
from reskd.recipe import DataSpec

NUM_REPLACEMENTS = 20
NUM_RETRIES = 3

Key = tuple[int, int]
"""(epoch, sample); the epoch means nothing in validation."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A clip whose content does not decode."""

    path: str
    """Relative to the data root."""
    reason: str


@dataclass(frozen=True, slots=True)
class Item:
    """One place of a batch; without a clip in it when a validation clip is damaged."""

    clip: Tensor | None
    """uint8 (T, 3, S, S); of several views (views, T, 3, S, S)."""
    index: int
    """The clip's number in its split."""
    label: int
    labels: tuple[int, ...]
    damaged: tuple[Damage, ...]


@dataclass(slots=True)
class Group:
    """Clips that go through a model together; g may fall below the group's size in validation, down to 0."""

    clips: Tensor
    """uint8 (g * views, T, 3, S, S), the views of a clip one after another; one view in training."""
    labels: Tensor
    """int64 (g,): the label to train on; of a multi-label clip one at random, in validation the first."""
    targets: Tensor
    """bool (g, K): all labels."""
    indices: Tensor
    """int64 (g,): the clips' numbers in their split; of a replaced clip, its replacement's."""
    damaged: tuple[Damage, ...]
    """Clips that were to be here, and replacements tried in vain."""

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.clips, self.labels, self.targets, self.indices))

    def unpinned(self) -> Group:
        """The same in ordinary memory, of which more may be held; nothing is copied that lies there already."""
        return replace(self, clips=self.clips.clone() if self.clips.is_pinned() else self.clips)

    def pin_memory(self) -> Group:
        """Called by torch's loader."""
        return replace(
            self,
            clips=self.clips.pin_memory(),
            labels=self.labels.pin_memory(),
            targets=self.targets.pin_memory(),
            indices=self.indices.pin_memory(),
        )


class VideoDataset(Dataset[Item]):
    """The clips of one split, decoded when asked for. It holds paths only, never an open reader.

    A decode error follows from the file's content and the backend, so it is met with the same answer every time: in
    training another clip, drawn from (data_seed, epoch, sample, attempt), takes the place; in validation the clip is
    left out. Either way the item names the damage. An OSError is the file system's: the read is tried again after
    ``retry_pause_s``, twice and four times that, and then the error is raised with the path.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        root: Path,
        spec: DataSpec,
        num_classes: int,
        split: Literal["train", "val"],
        data_seed: int,
        num_views: int = 1,
        num_crops: int = 1,
        twice: bool = False,
        num_missing: int = 0,
        retry_pause_s: float = 0.5,
    ) -> None:
        """num_views, num_crops, twice: temporal views of a validation clip, crops of each, and whether each view is
        taken a second time from the beginning of its segments; all from one decode. num_missing: annotated clips of the
        split that are not among `clips`, for the record."""
        assert split == "val" or (num_views * num_crops == 1 and not twice), split
        self.clips = tuple(clips)
        self.root = root
        self.spec = spec
        self.num_classes = num_classes
        self.split = split
        self.data_seed = data_seed
        self.num_views = num_views
        self.num_crops = num_crops
        self.twice = twice
        self.num_missing = num_missing
        self.retry_pause_s = retry_pause_s

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def views_per_clip(self) -> int:
        return self.num_views * (1 + self.twice) * self.num_crops

    def with_views(self, *, num_views: int, num_crops: int, twice: bool) -> VideoDataset:
        """The same validation clips in other views."""
        assert self.split == "val", self.split
        other = copy.copy(self)
        other.num_views, other.num_crops, other.twice = num_views, num_crops, twice
        return other

    def __getitem__(self, key: Key) -> Item:
        epoch, sample = key
        return self._train_item(epoch, sample) if self.split == "train" else self._val_item(sample)

    def collate(self, items: Sequence[Item]) -> Group:
        kept = [item for item in items if item.clip is not None]
        size, views = self.spec.crop_size, self.views_per_clip
        clips = torch.empty((len(kept) * views, self.spec.num_frames, 3, size, size), dtype=torch.uint8)
        targets = torch.zeros((len(kept), self.num_classes), dtype=torch.bool)
        for place, item in enumerate(kept):
            assert item.clip is not None
            clips[place * views : (place + 1) * views] = item.clip
            targets[place, list(item.labels)] = True
        return Group(
            clips=clips,
            labels=torch.tensor([item.label for item in kept], dtype=torch.int64),
            targets=targets,
            indices=torch.tensor([item.index for item in kept], dtype=torch.int64),
            damaged=tuple(damage for item in items for damage in item.damaged),
        )

    def _train_item(self, epoch: int, sample: int) -> Item:
        damaged: list[Damage] = []
        rng, index = random.Random(seed_of("sample", self.data_seed, epoch, sample)), sample
        for attempt in range(1, NUM_REPLACEMENTS + 2):
            try:
                clip, label = self._train_clip(index, rng)
                return Item(clip, index, label, self.clips[index].labels, tuple(damaged))
            except DecodeError as error:
                damaged.append(Damage(self.clips[index].path, error.reason))
            rng = random.Random(seed_of("replace", self.data_seed, epoch, sample, attempt))
            index = rng.randrange(len(self.clips))
        names = "\n".join(f"  {damage.path}: {damage.reason}" for damage in dict.fromkeys(damaged))
        raise TooManyDamaged(
            f"epoch {epoch}, sample {sample}: neither the clip nor {NUM_REPLACEMENTS} drawn in its place decode; "
            f"mend or remove these:\n{names}"
        )

    def _train_clip(self, index: int, rng: random.Random) -> tuple[Tensor, int]:
        label = rng.choice(self.clips[index].labels)
        # Of its own seed, since a reader may ask twice and a retry asks again: each must get the same frames.
        frames_seed = rng.getrandbits(32)
        frames = self._read(
            index,
            lambda num_total: train_indices(
                num_total,
                num_frames=self.spec.num_frames,
                stride=self.spec.stride,
                rng=random.Random(frames_seed),
            ),
        )
        return train_crop(frames, spec=self.spec, rng=rng), label

    def _val_item(self, sample: int) -> Item:
        clip = self.clips[sample]
        try:
            frames = self._read(
                sample,
                lambda num_total: eval_indices(
                    num_total,
                    num_frames=self.spec.num_frames,
                    stride=self.spec.stride,
                    num_views=self.num_views,
                    twice=self.twice,
                ),
            )
        except DecodeError as error:
            return Item(None, sample, clip.labels[0], clip.labels, (Damage(clip.path, error.reason),))
        crops = torch.stack(view_crops(frames, spec=self.spec, num_crops=self.num_crops))  # (crops, views * T, ...)
        # (crops, views * T, ...) -> (views * crops, T, ...)
        views = crops.unflatten(1, (-1, self.spec.num_frames)).transpose(0, 1).flatten(0, 1)
        return Item(views if self.views_per_clip > 1 else views[0], sample, clip.labels[0], clip.labels, ())

    def _read(self, index: int, choose: Callable[[int], list[int]]) -> Tensor:
        """uint8 (T, 3, H, W), in memory (T, H, W, 3)."""
        path = self.root / self.clips[index].path
        retries = 0
        while True:
            try:
                return torch.from_numpy(read_frames(path, choose, backend=self.spec.decode)).permute(0, 3, 1, 2)
            except OSError as error:
                if retries == NUM_RETRIES:
                    reason = f"{error.strerror or error} ({retries + 1} tries); make the file readable and start again"
                    raise OSError(error.errno or errno.EIO, reason, str(path)) from error
            time.sleep(self.retry_pause_s * 2**retries)
            retries += 1
