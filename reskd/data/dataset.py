"""Clips and groups of clips. Every random number depends on (data seed, epoch, sample) only, so any number of loader
processes and workers reads the same bytes."""

from __future__ import annotations

import copy
import errno
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from reskd.data.decode.dispatch import read_frames
from reskd.data.manifest import Clip
from reskd.data.sampling import eval_indices, seed_of, train_indices
from reskd.data.transforms import small_image, train_crop, view_crops
from reskd.errors import DecodeError, TooManyDamaged, VideoReadError
from reskd.files import on_disk
from reskd.protocol import Protocol
from reskd.recipe import DataSpec
from reskd.runtime.handover import Empty, empty

NUM_REPLACEMENTS = 20
NUM_RETRIES = 3

Key = tuple[int, int]
"""(epoch, sample); validation ignores the epoch."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A clip whose content does not decode."""

    path: str
    """Relative to the data root."""
    reason: str


@dataclass(frozen=True, slots=True)
class Item:
    """One position of a batch."""

    clip: Tensor | None
    """uint8 (T, 3, S, S), or (views, T, 3, S, S) for several views. None for a damaged validation clip."""
    index: int
    """The clip's number in its split."""
    label: int
    labels: tuple[int, ...]
    damaged: tuple[Damage, ...]


@dataclass(slots=True)
class Group:
    """g clips that go through a model together. In validation g may be smaller than the group size, even 0."""

    clips: Tensor
    """uint8 (g * views, T, 3, S, S); the views of one clip are adjacent. Training has one view."""
    labels: Tensor
    """int64 (g,): the label for the loss. For a multi-label clip: a random one in training, the first in validation."""
    targets: Tensor
    """bool (g, K): all labels."""
    indices: Tensor
    """int64 (g,): numbers of the clips in their split. A replaced clip has the number of its replacement."""
    damaged: tuple[Damage, ...]
    """Damaged clips of this group, and replacements that did not decode either."""

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.clips, self.labels, self.targets, self.indices))

    def unpinned(self) -> Group:
        """The same group with its clips in pageable memory, which is less scarce than pinned memory."""
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
    """The clips of one split, decoded on access. It holds paths only, never an open reader.

    A decode error depends on the file's content and the backend, so it is handled the same way every time. In training
    another clip, drawn from (data_seed, epoch, sample, attempt), replaces the damaged one. In validation the clip is
    left out. In both cases the item names the damage. An OSError comes from the file system: the read is repeated
    after 1, 2 and 4 times ``retry_pause_s``, then the error is raised with the path.
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
        num_missing: int = 0,
        retry_pause_s: float = 0.5,
    ) -> None:
        """One view of each clip; `judged_by` gives a validation split in several views, all from one decode.

        num_missing: number of annotated clips that are not in `clips`; it is only recorded."""
        self.clips = tuple(clips)
        self.root = root
        self.spec = spec
        self.num_classes = num_classes
        self.split = split
        self.data_seed = data_seed
        self.num_views, self.num_crops, self.twice = 1, 1, False
        self.num_missing = num_missing
        self.retry_pause_s = retry_pause_s
        self.on_read: Callable[[int], None] | None = None
        """Gets the number of each clip before it is read."""
        self.lost: dict[int, str] = {}
        """Clips that are never opened, since the decoder crashes or hangs at them: number -> reason."""
        self.on_lost: Callable[[Clip, str], None] | None = None
        """Gets each clip that becomes lost, and the reason, in the process that trains."""

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def views_per_clip(self) -> int:
        return self.num_views * (1 + self.twice) * self.num_crops

    def path(self, number: int) -> Path:
        """The file of a clip, by whichever Unicode form its name has on this disk."""
        return on_disk(self.root / self.clips[number].path)

    def lose(self, number: int, reason: str) -> None:
        """Treat a clip as damaged from now on, without opening it.

        Raises TooManyDamaged with the list if these alone are more than the recipe allows.
        """
        self.lost[number] = reason
        if self.on_lost is not None:
            self.on_lost(self.clips[number], reason)
        if len(self.lost) > max(1, self.spec.max_damaged * len(self.clips)):
            names = "\n".join(f"  {self.clips[lost].path}: {reason}" for lost, reason in sorted(self.lost.items()))
            raise TooManyDamaged(
                f"{self.spec.decode} crashes or hangs at {len(self.lost)} of {len(self.clips)} {self.split} clips, "
                f"more than data.max_damaged = {self.spec.max_damaged:g} allows; repair or remove them:\n{names}"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "on_lost": None}  # it stays in the process that trains

    def judged_by(self, protocol: Protocol) -> VideoDataset:
        """A copy that reads the same validation clips by a protocol: its frames, views, crops and sizes."""
        assert self.split == "val", self.split
        other = copy.copy(self)  # with the same lost clips
        other.on_lost = self.on_lost
        other.num_views, other.num_crops, other.twice = protocol.num_views, protocol.num_crops, protocol.twice
        other.spec = replace(
            self.spec,
            num_frames=protocol.num_frames,
            sampling="segments" if protocol.stride is None else "dense",
            frame_stride=protocol.stride or 1,
            short_videos=self.spec.short_videos if protocol.stride is None else "loop",
            short_side=protocol.short_side or self.spec.short_side,
            crop_size=protocol.crop_size or self.spec.crop_size,
        )
        return other

    def __getitem__(self, key: Key) -> Item:
        epoch, sample = key
        return self._train_item(epoch, sample) if self.split == "train" else self._val_item(sample)

    def collate(self, items: Sequence[Item], *, empty: Empty = empty) -> Group:
        """The items as one group. ``empty`` gives the memory for the clips."""
        kept = [item for item in items if item.clip is not None]
        size, views = self.spec.crop_size, self.views_per_clip
        clips = empty((len(kept) * views, self.spec.num_frames, 3, size, size))
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
        # A reader may call the function twice, and a retry calls it again. A fixed seed gives the same frames.
        frames_seed = rng.getrandbits(32)
        frames = self._read(
            index,
            lambda num_total: train_indices(
                num_total,
                num_frames=self.spec.num_frames,
                stride=self.spec.stride,
                rng=random.Random(frames_seed),
                stretch=self.spec.stretches,
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
                    stretch=self.spec.stretches,
                ),
            )
        except DecodeError as error:
            return Item(None, sample, clip.labels[0], clip.labels, (Damage(clip.path, error.reason),))
        crops = torch.stack(view_crops(frames, spec=self.spec, num_crops=self.num_crops))  # (crops, views * T, ...)
        # (crops, views * T, ...) -> (views * crops, T, ...)
        views = crops.unflatten(1, (-1, self.spec.num_frames)).transpose(0, 1).flatten(0, 1)
        return Item(views if self.views_per_clip > 1 else views[0], sample, clip.labels[0], clip.labels, ())

    def _read(self, index: int, choose: Callable[[int], list[int]]) -> Tensor:
        """Frames of the short side `spec.short_side` as uint8 (T, 3, H, W); the memory layout is (T, H, W, 3)."""
        path = self.path(index)
        if index in self.lost:
            raise VideoReadError(str(path), self.lost[index])
        keep = partial(small_image, short_side=self.spec.short_side, resample=self.spec.resample)
        if self.on_read is not None:
            self.on_read(index)
        retries = 0
        while True:
            try:
                frames = read_frames(path, choose, backend=self.spec.decode, keep=keep)
                return torch.from_numpy(frames).permute(0, 3, 1, 2)
            except OSError as error:
                if retries == NUM_RETRIES:
                    reason = f"{error.strerror or error} ({retries + 1} tries); make the file readable and start again"
                    raise OSError(error.errno or errno.EIO, reason, str(path)) from error
            time.sleep(self.retry_pause_s * 2**retries)
            retries += 1
