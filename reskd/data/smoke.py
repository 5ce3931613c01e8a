"""A handful of drawn videos in any of the annotation formats: enough for two steps and one evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np

from reskd.data.synthetic import CLASSES, draw_clip, encode
from reskd.recipe import DataSpec

NUM_CLASSES = 3
NUM_VIDEOS = {"train": 4, "val": 3}
SUBSETS = {"train": "training", "val": "validation"}


def make_smoke(folder: Path, *, annotations: Literal["csv", "folders", "activitynet"]) -> DataSpec:
    """Writes four training and three validation clips of three classes into a new folder and says how to read them.

    Every class is in both splits. In CSV and ActivityNet's JSON the first video of a split has two labels.
    """
    database: dict[str, object] = {}
    for split_number, (split, num_videos) in enumerate(NUM_VIDEOS.items()):
        lines = ["path,label,label"]
        for number in range(num_videos):
            label = number % NUM_CLASSES
            names = [CLASSES[label]] + [CLASSES[1]] * (number == 0)
            video_id = f"{split}{number}"
            path = f"{split}/{names[0]}/v_{video_id}.mp4"
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(encode(draw_clip(label, rng=np.random.default_rng([split_number, number]))))
            segments = [{"label": name, "segment": [0.0, 2.0]} for name in names]
            database[video_id] = {"subset": SUBSETS[split], "duration": 2.0, "annotations": segments}
            lines.append(",".join([path, *names]))
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "activitynet.json").write_text(json.dumps({"version": "1.3", "database": database}), encoding="utf-8")
    train, val = {
        "csv": ("train.csv", "val.csv"),
        "folders": ("train", "val"),
        "activitynet": ("activitynet.json", "activitynet.json"),
    }[annotations]
    return DataSpec(name="smoke", root=str(folder), annotations=annotations, train=train, val=val)
