"""The fields of the paper's two experiments on scale: frames enlarged before the network, and a network's stride."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from reskd.cohort import Views
from reskd.errors import BadInput
from reskd.flops import complexity
from reskd.models import VideoModel, build_model
from reskd.recipe import ModelSpec


def unreal(spec: ModelSpec) -> VideoModel:
    with torch.device("meta"):
        return build_model(spec, num_classes=5)


def test_an_enlarged_view_holds_the_small_frames_information_alone() -> None:
    clips = torch.randint(0, 256, (1, 2, 3, 64, 64), dtype=torch.uint8)
    views = Views(clips, device=torch.device("cpu"), dtype=torch.float64)
    small = views.of(ModelSpec(resolution=16))
    enlarged = views.of(ModelSpec(resolution=16, enlarge_to=64))
    assert views.of(ModelSpec(resolution=64)).shape == enlarged.shape == (1, 2, 3, 64, 64)
    # Half-pixel bilinear by 4: between the centres of two cells the weights are 1/8, 3/8, 5/8, 7/8.
    row = small[0, 0, 0, :, 0]
    between = [row[3] + (row[4] - row[3]) * share for share in (1 / 8, 3 / 8, 5 / 8, 7 / 8)]
    torch.testing.assert_close(enlarged[0, 0, 0, 14:18, 0], torch.stack(between))
    assert not torch.equal(enlarged, views.of(ModelSpec(resolution=64)))


def test_a_view_of_one_resolution_is_not_taken_for_its_enlarged_one() -> None:
    clips = torch.randint(0, 256, (1, 1, 3, 32, 32), dtype=torch.uint8)
    views = Views(clips, device=torch.device("cpu"), dtype=torch.float64)
    sizes = [views.of(ModelSpec(resolution=8, enlarge_to=to)).shape[-1] for to in (16, None, 32)]
    assert sizes == [16, 8, 32]


def test_frames_cannot_be_enlarged_to_less_than_they_have() -> None:
    with pytest.raises(BadInput, match=r"model\.enlarge_to must be at least model\.resolution \(112\) or null, got 56"):
        ModelSpec(resolution=112, enlarge_to=56)


@pytest.mark.parametrize("name", ["tsn_resnet18", "tsm_resnet50"])
def test_stride_16_doubles_the_map_with_the_same_tensors(name: str) -> None:
    usual, finer = (ModelSpec(name=name, stride=stride) for stride in (None, 16))
    frames = torch.empty(1, 8, 3, 64, 64, device="meta")
    before, after = unreal(usual), unreal(finer)
    assert before(frames).features.shape[-1] == 2
    assert after(frames).features.shape[-1] == 4
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (before, after)]
    assert shapes[0] == shapes[1]


def test_the_stem_of_stride_16_pools_without_a_step() -> None:
    torch.manual_seed(0)
    model = build_model(ModelSpec(name="tsn_resnet18", stride=16), num_classes=5).eval()
    stem = torch.randn(1, 64, 8, 8)
    pooled = model.backbone.maxpool(stem)
    torch.testing.assert_close(pooled, F.max_pool2d(stem, 3, stride=1, padding=1))


def test_a_finer_stride_costs_what_twice_the_pixels_do_but_for_the_stem() -> None:
    spec = ModelSpec(name="tsn_resnet50")
    finer = complexity(unreal(replace(spec, stride=16)), resolution=112, num_frames=1).gmacs
    large, small = (complexity(unreal(spec), resolution=size, num_frames=1).gmacs for size in (224, 112))
    stem = 7 * 7 * 3 * 64 / 1e9  # multiply-accumulates of a pixel of the first convolution's map
    assert finer == pytest.approx(large - stem * (112**2 - 56**2), rel=0.01)
    assert finer > 3 * small


@pytest.mark.parametrize(
    "spec", [ModelSpec(name="tsn_mobilenet_v2", stride=16), ModelSpec(name="tsn_resnet18", stride=8)]
)
def test_a_stride_that_a_network_cannot_have_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(BadInput, match=rf"model\.stride: {spec.stride}.*{spec.name}.*32 or 16"):
        unreal(spec)
