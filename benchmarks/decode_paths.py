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

import torch

from reskd.data.bench import Cost, measure_split, write_clip
from reskd.data.manifest import build_manifest
from reskd.data.pack import pack
from reskd.data.pack_record import PackSettings
from reskd.recipe import DataSpec


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


def _cost(spec: DataSpec, *, num_clips: int) -> Cost:
    return measure_split(build_manifest(spec), spec, num_clips=num_clips)


if __name__ == "__main__":
    main()
