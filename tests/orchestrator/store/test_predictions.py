"""What a step predicted, clip by clip, against lines written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.store.predictions import predictions_csv
from orchestrator.store.store import Store
from reskd.data.manifest import Clip, Manifest
from reskd.errors import BadInput

CLASSES = ("a", "b, c", "d", "e", "f", "g")
MANIFEST = Manifest(
    "demo", CLASSES, train=(), val=tuple(Clip(f"val/{name}.mp4", 1, name, (0,)) for name in ("one", "two", "three"))
)
SHARES = np.array([[0.02, 0.4, 0.3, 0.1, 0.1, 0.08], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])


def store_with(folder: Path, *, indices: list[int]) -> Store:
    store = Store(folder)
    targets = np.zeros((2, 6), dtype=bool)
    targets[0, 1] = targets[1, 0] = targets[1, 2] = True  # the second clip has two labels
    arrays = {"logits": np.log(SHARES).astype(np.float32) + 3, "targets": targets, "indices": np.array(indices)}
    store.write_evaluation("5e", "val-f4-v1x1", {}, arrays)
    return store


def test_each_clip_has_its_path_its_labels_and_the_five_likeliest_classes(tmp_path: Path) -> None:
    store = store_with(tmp_path, indices=[0, 2])  # the second clip of the list was skipped
    assert predictions_csv(store, "5e", protocol="val-f4-v1x1", manifest=MANIFEST).splitlines() == [
        "path,label,predicted,probability,class_2,probability_2,class_3,probability_3,class_4,probability_4,"
        "class_5,probability_5",
        'val/one.mp4,"b, c","b, c",0.400000,d,0.300000,e,0.100000,f,0.100000,g,0.080000',
        'val/three.mp4,a|d,a,0.500000,"b, c",0.100000,d,0.100000,e,0.100000,f,0.100000',
    ]


def test_an_evaluation_of_other_clips_is_refused(tmp_path: Path) -> None:
    store = store_with(tmp_path, indices=[0, 3])
    with pytest.raises(BadInput, match="the manifest has 6 and 3"):
        predictions_csv(store, "5e", protocol="val-f4-v1x1", manifest=MANIFEST)
    with pytest.raises(BadInput, match=r"val-f9-v1x1\.npz"):
        predictions_csv(store, "5e", protocol="val-f9-v1x1", manifest=MANIFEST)
