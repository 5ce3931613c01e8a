"""CPU time of the whole input path, original against packed: 16 frames decoded, resized, cropped to 224, collated.

It makes clips (a moving pattern with grain, x264 crf 23, key frames at most 250 and 150 frames apart): 10 s of 340x256
and 120 s of 1280x720, 30 fps. It packs them (80 frames, short side 256, quality 90), then reads training clips of both
in turns, in one process with one thread. The goal is ten times less. With --seconds the long clip is shorter.

    python benchmarks/decode_paths.py [--seconds 120] [--repeats 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import av
import numpy as np
import torch

from reskd.data.clip_cost import ClipCost, measure_split
from reskd.data.manifest import build_manifest
from reskd.data.pack import pack
from reskd.data.pack_record import PackSettings
from reskd.recipe import DataSpec

GRAIN = 12
"""Standard deviation of the noise, on the scale 0..255."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="Length of the 1280x720 clip.")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds, width, height, keyint in (("10 s 340x256", 10, 340, 256, 250), ("720p", 0, 1280, 720, 150)):
            root = Path(folder) / name.replace(" ", "_")
            root.mkdir()
            num_seconds = seconds or arguments.seconds
            write_clip(root / "a.mp4", num_frames=30 * num_seconds, width=width, height=height, keyint=keyint)
            for split in ("train", "val"):
                (root / f"{split}.csv").write_text("path,label\na.mp4,a\n", encoding="utf-8")
            original = DataSpec(root=str(root))
            target = root.with_name(root.name + "_packed")
            pack(original, target, PackSettings(num_frames=80), workers=1)
            packed = DataSpec(root=str(target))
            costs = {spec: _cost(spec, num_clips=arguments.repeats) for spec in (original, packed, original, packed)}
            first, second = costs[original], costs[packed]
            print(f"{name}, {num_seconds} s: original {first.words}")
            print(f"{name}, {num_seconds} s: packed   {second.words}")
            print(f"{name}, {num_seconds} s: {first.total_ms / second.total_ms:.1f} times less CPU time packed")


def _cost(spec: DataSpec, *, num_clips: int) -> ClipCost:
    return measure_split(build_manifest(spec), spec, num_clips=num_clips)


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


if __name__ == "__main__":
    main()
