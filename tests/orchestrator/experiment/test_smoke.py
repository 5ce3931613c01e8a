"""What a smoke test puts in place of a family of networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.experiment.smoke import FIXED, MIN_RESOLUTION, cut_down
from orchestrator.store.store import Store
from reskd.errors import BadInput
from reskd.models.catalogue import MODELS, build_model, find_network
from reskd.recipe import ModelSpec

SWEEP = """
question: Do 3-D networks gain too?
base:
  data: {name: kinetics400, num_frames: 32}
  model: {name: swin3d_s, resolution: 112, weights: kinetics_v1}
  kd: {level: none}
  teacher: {model.name: swin3d_b, model.resolution: 224}
rows:
  chain:
    - {row: Swin-S 112}
    - {row: ResKD-Swin-S, kd.level: pixel_kl}
    - {row: SlowOnly 112, model.name: slowonly_resnet50, model.weights: imagenet_v1}
seeds: [0]
"""


STAND_INS = {
    network.smoke for network in (*MODELS.values(), find_network("timm:resnet50")) if network and network.smoke
}


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_the_smallest_of_each_family_takes_the_smallest_clip(name: str) -> None:
    num_frames = FIXED["data.num_frames"]
    assert isinstance(num_frames, int)
    with torch.device("meta"):
        model = build_model(ModelSpec(name=name), num_classes=2, num_frames=num_frames).eval()
        output = model(torch.empty(2, num_frames, 3, MIN_RESOLUTION, MIN_RESOLUTION))
    assert output.clip_logits.shape == (2, 2)


def test_a_sweep_of_3d_networks_is_cut_down_to_small_ones_that_suit_each_other(tmp_path: Path) -> None:
    (tmp_path / "table3.yaml").write_text(SWEEP)
    ((path, store),) = cut_down([tmp_path / "table3.yaml"], changes=[], store=Store(tmp_path / "store"))
    small = prepare(path, store=store)  # which tries them on each other
    models = {step.recipe.model.name: step.recipe.model for step in small.steps.values()}
    assert set(models) == {"swin3d_mini", "slowonly_mini10"}
    assert {model.weights for model in models.values()} == {"none"}
    assert {step.recipe.model.resolution for step in small.steps.values()} == {64, 32}


def test_networks_that_only_suit_each_other_when_cut_down_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "unfit.yaml"
    # Of 16 frames R3D-18 leaves 2 maps in time and Video Swin 8; of the small form's 2 frames each leaves 1.
    path.write_text(
        """
question: Do they fit?
base:
  data: {name: toy, num_frames: 16, crop_size: 112, short_side: 128}
  model: {name: r3d_18, resolution: 112}
  teacher: {model.name: swin3d_t}
rows: {chain: [{row: unfit, kd.level: frame}]}
seeds: [0]
"""
    )
    with pytest.raises(BadInput, match=r"row 'unfit': kd\.level is 'frame', but from data\.num_frames = 16 frames"):
        cut_down([path], changes=[], store=Store(tmp_path / "store"))
