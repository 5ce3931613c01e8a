"""The fields of the paper's two experiments on scale: frames enlarged before the network, and a network's stride."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from reskd.cost.gmacs import complexity
from reskd.data.model_inputs import ModelInputs
from reskd.data.transforms import model_input, normalise
from reskd.errors import BadInput
from reskd.models.catalogue import build_model
from reskd.models.video_model import VideoModel
from reskd.recipe import ModelSpec
from tests.support.by_hand import bilinear


def unreal(spec: ModelSpec) -> VideoModel:
    with torch.device("meta"):
        return build_model(spec, num_classes=5)


def test_an_enlarged_view_holds_the_small_frames_information_alone() -> None:
    clips = torch.randint(0, 256, (1, 2, 3, 64, 64), dtype=torch.uint8)
    inputs = ModelInputs(clips, device=torch.device("cpu"), dtype=torch.float64)
    small = inputs.of(ModelSpec(resolution=16))
    enlarged = inputs.of(ModelSpec(resolution=16, enlarge_to=64))
    assert inputs.of(ModelSpec(resolution=64)).shape == enlarged.shape == (1, 2, 3, 64, 64)
    # Half-pixel bilinear by 4: between the centres of two cells the weights are 1/8, 3/8, 5/8, 7/8.
    row = small[0, 0, 0, :, 0]
    between = [row[3] + (row[4] - row[3]) * share for share in (1 / 8, 3 / 8, 5 / 8, 7 / 8)]
    torch.testing.assert_close(enlarged[0, 0, 0, 14:18, 0], torch.stack(between))
    assert not torch.equal(enlarged, inputs.of(ModelSpec(resolution=64)))


def test_a_view_of_one_resolution_is_not_taken_for_its_enlarged_one() -> None:
    clips = torch.randint(0, 256, (1, 1, 3, 32, 32), dtype=torch.uint8)
    inputs = ModelInputs(clips, device=torch.device("cpu"), dtype=torch.float64)
    sizes = [inputs.of(ModelSpec(resolution=8, enlarge_to=to)).shape[-1] for to in (16, None, 32)]
    assert sizes == [16, 8, 32]


def test_frames_cannot_be_enlarged_to_less_than_they_have() -> None:
    with pytest.raises(
        BadInput, match=r"model\.enlarge_to must be more than model\.resolution \(112\) or null, got 56"
    ):
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
    "spec",
    [
        *(ModelSpec(name=name, stride=16) for name in ("tsn_mobilenet_v2", "tsn_mini10", "slowonly_resnet18")),
        ModelSpec(name="tsn_resnet18", stride=8),
    ],
)
def test_a_stride_that_a_network_cannot_have_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(BadInput, match=rf"model\.stride: {spec.stride}.*{spec.name}.*16 instead of 32"):
        unreal(spec)


def test_enlarged_frames_are_those_of_the_resolution_resized_again() -> None:
    clips = torch.randn(2, 3, 3, 32, 32, dtype=torch.float64)
    small = bilinear(clips, (12, 12), align_corners=False)
    expected = bilinear(small, (20, 20), align_corners=False)
    seen = model_input(clips, resolution=12, antialias=False, enlarge_to=20)
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12)
    # With antialias it is the first resize alone that has it.
    small = model_input(clips, resolution=12, antialias=True)
    seen = model_input(clips, resolution=12, antialias=True, enlarge_to=20)
    torch.testing.assert_close(seen, bilinear(small, (20, 20), align_corners=False), rtol=0, atol=1e-12)


def test_networks_that_see_alike_share_one_view() -> None:
    clips = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    inputs = ModelInputs(clips, device=torch.device("cpu"), dtype=torch.float64)
    spec = ModelSpec(name="tsn_mini10", resolution=12, enlarge_to=24)
    seen = inputs.of(spec)
    assert inputs.of(replace(spec, name="tsn_mini18", dropout=0.1)) is seen
    for other in (replace(spec, enlarge_to=None), replace(spec, enlarge_to=32), ModelSpec(resolution=24)):
        own = inputs.of(other)
        assert own.shape[-1] == other.input_size
        assert own.shape != seen.shape or not torch.equal(own, seen)
    pixels = normalise(clips, dtype=torch.float64)
    torch.testing.assert_close(seen, model_input(pixels, resolution=12, antialias=False, enlarge_to=24))


@pytest.mark.parametrize(("stride", "sides"), [(None, (16, 8, 4, 2)), (16, (32, 16, 8, 4))])
def test_a_resnet18_costs_what_its_layers_written_out_do_at_either_stride(
    stride: int | None, sides: tuple[int, ...]
) -> None:
    """64 pixels, so 32 after the stem; a pooling of stride 1 leaves them and every later map is twice as wide."""
    layers, elements = 32 * 32 * 64 * 3 * 49, 32 * 32 * 64 * (2 + 1 + 1)  # norm, ReLU, the pooling's input
    inputs = 64
    for side, width in zip(sides, (64, 128, 256, 512), strict=True):
        cells = side * side * width
        layers += cells * 9 * (inputs + 3 * width)
        elements += cells * 4 * (2 + 1)
        if inputs != width:
            layers += cells * inputs
            elements += cells * 2
        inputs = width
    layers += 2 * 512 * 6  # the frame's logits and the clip's
    elements += sides[-1] ** 2 * 512  # the last pooling
    with torch.device("meta"):
        model = build_model(ModelSpec(name="tsn_resnet18", stride=stride), num_classes=6)
    cost = complexity(model, resolution=64, num_frames=1)
    assert cost.gmacs_layers * 1e9 == pytest.approx(layers)
    assert cost.gmacs * 1e9 == pytest.approx(layers + elements)
