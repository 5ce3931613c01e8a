"""A small finished step in a store, as a training leaves it: what the tests of export and predict take away."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from orchestrator.store.store import Store
from reskd.data.manifest import Manifest
from reskd.recipe import DataSpec
from tests.support.training import Fit, fit, student_recipe

STEP_ID = "3f2a0c11"
PROTOCOL = "val-f4-v1x1"
no_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra 'onnx'",
)
FORMATS = ["pt2", pytest.param("onnx", marks=no_onnx)]


@dataclass(frozen=True)
class FinishedStep:
    store: Store
    videos: tuple[Path, ...]
    """The validation clips, as the evaluation numbers them."""
    logits: np.ndarray
    """(N, K): what the evaluation recorded of them."""
    classes: tuple[str, ...]

    @property
    def weights(self) -> Path:
        return self.store.weights(STEP_ID)


def finished_step(folder: Path, data: DataSpec, manifest: Manifest) -> FinishedStep:
    store = Store(folder / "store")
    recipe = student_recipe(data, "none", epochs=2)
    store.record_identity(STEP_ID, full_id=STEP_ID * 8, payload={"model_seed": 7}, recipe={})
    fit(Fit({STEP_ID: recipe}, manifest, store.home / "runs", teacher=None), solo=True)
    arrays = store.logits(STEP_ID, PROTOCOL)
    videos = tuple(Path(str(data.root), manifest.val[number].path) for number in arrays["indices"])
    return FinishedStep(store, videos, arrays["logits"], manifest.classes)
