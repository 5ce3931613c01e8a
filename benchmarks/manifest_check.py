"""Measures the check of an unchanged data set: the second `build_manifest`, compared with the first.

It makes N small files in a temporary folder, with their CSV files, and builds their manifest three times with one
cache of digests: first (every file is read), second and third (nothing changed). The goal for 240,000 files is that
the second takes less than 10 s.

    python benchmarks/manifest_check.py [--files 240000] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from reskd.data.manifest import build_manifest
from reskd.recipe import DataSpec

NUM_CLASSES = 400
AN_HOUR_S = 3600
"""Files seem so old, since those of the last two seconds are read again."""


def write_files(root: Path, *, num_files: int) -> None:
    """Files of 98 bytes, each of other content, in a folder for each class; every twelfth is for validation."""
    then = time.time() - AN_HOUR_S
    rows: dict[str, list[str]] = {"train": [], "val": []}
    for label in range(NUM_CLASSES):
        (root / f"{label:03d}").mkdir()
    for number in range(num_files):
        folder = f"{number % NUM_CLASSES:03d}"
        path = root / folder / f"{number:07d}.mp4"
        path.write_bytes(b"%07d" % number * 14)
        os.utime(path, (then, then))
        rows["val" if number % 12 == 0 else "train"].append(f"{folder}/{path.name},{folder}")
    for split, lines in rows.items():
        (root / f"{split}.csv").write_text("\n".join(["path,label", *lines]) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=240_000)
    parser.add_argument("--folder", type=Path, default=None, help="Where the temporary folder goes.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        root = Path(folder) / "data"
        root.mkdir()
        started = time.perf_counter()
        write_files(root, num_files=arguments.files)
        print(f"{arguments.files} files written in {time.perf_counter() - started:.1f} s")
        hashes = set()
        for name in ("first", "second", "third"):
            started, used = time.perf_counter(), time.process_time()
            manifest = build_manifest(DataSpec(root=str(root)), cache=Path(folder) / "digests.json")
            hashes.add(manifest.sha256)
            wall_s, cpu_s = time.perf_counter() - started, time.process_time() - used
            print(f"{name}: {wall_s:.1f} s wall, {cpu_s:.1f} s CPU, its hash included")
        assert len(hashes) == 1, hashes


if __name__ == "__main__":
    main()
