"""Measures the CPU time of one training clip: decode, resize and crop, collate."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from functools import partial

import torch

from reskd.data.annotations import data_root
from reskd.data.dataset import Item, VideoDataset
from reskd.data.decode.dispatch import read_frames
from reskd.data.manifest import Manifest
from reskd.data.sampling import seed_of, train_indices
from reskd.data.transforms import train_crop
from reskd.errors import BadInput, DecodeError
from reskd.files import on_disk
from reskd.recipe import DataSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipCost:
    """CPU time of one clip in milliseconds, mean over `num_clips`.

    It is process time, so other programs on the machine change it little.
    """

    num_clips: int
    decode_ms: float
    crop_ms: float
    collate_ms: float

    @property
    def total_ms(self) -> float:
        return self.decode_ms + self.crop_ms + self.collate_ms

    @property
    def clips_per_s(self) -> float:
        """Clips that one core reads per second."""
        return 1e3 / self.total_ms

    @property
    def words(self) -> str:
        parts = f"decode {self.decode_ms:.1f} + crop {self.crop_ms:.1f} + collate {self.collate_ms:.2f}"
        return f"{self.total_ms:.1f} core-ms a clip ({parts})"


def measure_split(manifest: Manifest, spec: DataSpec, *, num_clips: int) -> ClipCost:
    """Measure training clips of videos spread evenly over the split. The first clip is warm-up and not counted.

    Damaged videos are skipped. Call `torch.set_num_threads(1)` first to measure the CPU time of one loader process.
    Raises BadInput if no video decodes.
    """
    root, clips = data_root(spec), manifest.train
    dataset = VideoDataset(clips, root=root, spec=spec, num_classes=len(manifest.classes), split="train", data_seed=0)
    decode_s, crop_s, items = 0.0, 0.0, []
    for turn in range(num_clips + 1):
        index = turn * len(clips) // (num_clips + 1) if len(clips) > num_clips else turn % len(clips)
        rng = random.Random(seed_of("bench", turn))
        choose = partial(
            train_indices,
            num_frames=spec.num_frames,
            stride=spec.stride,
            rng=random.Random(turn),
            stretch=spec.stretches,
        )
        started = time.process_time()
        try:
            frames = torch.from_numpy(read_frames(on_disk(root / clips[index].path), choose, backend=spec.decode))
        except DecodeError:
            continue
        decoded = time.process_time()
        clip = train_crop(frames.permute(0, 3, 1, 2), spec=spec, rng=rng)
        cropped = time.process_time()
        if turn:
            decode_s, crop_s = decode_s + decoded - started, crop_s + cropped - decoded
            items.append(Item(clip, index, clips[index].labels[0], clips[index].labels, ()))
    if not items:
        raise BadInput(f"{root}: none of {num_clips} training videos decodes; type `reskd data check`")
    started = time.process_time()
    dataset.collate(items)
    collate_s = time.process_time() - started
    each = 1e3 / len(items)
    return ClipCost(num_clips=len(items), decode_ms=decode_s * each, crop_ms=crop_s * each, collate_ms=collate_s * each)
