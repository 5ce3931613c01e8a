"""Measures the CPU time of one training clip: decode, resize and crop, collate."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch

from reskd.data.annotations import data_root
from reskd.data.dataset import Item, VideoDataset
from reskd.data.decode.dispatch import read_frames
from reskd.data.manifest import Manifest
from reskd.data.sampling import seed_of, train_indices
from reskd.data.transforms import train_crop
from reskd.errors import BadInput, DecodeError
from reskd.recipe import DataSpec

GRAIN = 12
"""Standard deviation of the noise, on the scale 0..255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
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


def measure_split(manifest: Manifest, spec: DataSpec, *, num_clips: int) -> Cost:
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
        choose = partial(train_indices, num_frames=spec.num_frames, stride=spec.stride, rng=random.Random(turn))
        started = time.process_time()
        try:
            frames = torch.from_numpy(read_frames(root / clips[index].path, choose, backend=spec.decode))
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
    return Cost(num_clips=len(items), decode_ms=decode_s * each, crop_ms=crop_s * each, collate_ms=collate_s * each)


def write_clip(path: Path, *, num_frames: int, width: int, height: int, keyint: int) -> None:
    """Write an H.264 clip (30 fps, crf 23): a smooth moving pattern with noise. The same arguments give equal bytes."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : height + 64, 0 : width + 64]
    pattern = 128 + 60 * np.sin(columns / 23 + rows / 41) + 40 * np.cos(rows / 17)
    image = np.clip(pattern[..., None] + np.array([0, 15, -25]), 0, 255)
    grains = generator.normal(0, GRAIN, size=(8, *image.shape[:2], 1))
    pictures = np.clip(image + grains, 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        x264 = f"keyint={keyint}:threads=1:mbtree=0"
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "x264-params": x264})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(num_frames):
            top, left = round(32 + 31 * np.sin(number / 40)), round(32 + 31 * np.cos(number / 30))
            picture = np.ascontiguousarray(pictures[number // 4 % 8, top : top + height, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
