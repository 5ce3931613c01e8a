"""3-D networks behind VideoModel's two methods: shapes, parameters, gradients, dropout, all of one interface."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18, resnet50
from torchvision.models.video import mvit_v2_s, r3d_18, swin3d_b, swin3d_s, swin3d_t
from torchvision.models.video.mvit import MSBlockConfig, MViT
from torchvision.models.video.swin_transformer import SwinTransformer3d
from torchvision.ops import StochasticDepth

from reskd.errors import BadInput
from reskd.models.backbones.mvit import mvit_model
from reskd.models.catalogue import MODELS, build_model
from reskd.models.video_model import VideoModel, VideoModel3d
from reskd.recipe import ModelSpec
from tests.support.forms import forms

TORCHVISIONS = {
    "swin3d_t": swin3d_t,
    "swin3d_s": swin3d_s,
    "swin3d_b": swin3d_b,
    "r3d_18": r3d_18,
    "mvit_v2_s": mvit_v2_s,
}
TIMES_AND_STRIDE = {"slowonly_resnet18": (7, 32), "slowonly_resnet50": (7, 32), "r3d_18": (1, 16)}
"""Cells of time that 7 frames leave, and pixels that one cell stands for; the transformers leave 4 and 32."""
NAMES = (*TORCHVISIONS, "slowonly_resnet18", "slowonly_resnet50")
SOME_NAMES = forms(NAMES, light=["swin3d_t", "r3d_18", "slowonly_resnet18"])


@cache
def on_meta(name: str, *, num_classes: int = 6) -> VideoModel:
    with torch.device("meta"):
        return MODELS[name].build(num_classes=num_classes, dropout=0.5).eval()


def small_mvit(*, num_classes: int = 6) -> VideoModel3d:
    cubes, steps = [3, 3, 3], ([1, 1, 1], [1, 2, 2], [1, 1, 1])
    blocks = [
        MSBlockConfig(
            num_heads=heads,
            input_channels=inputs,
            output_channels=outputs,
            kernel_q=cubes,
            kernel_kv=cubes,
            stride_q=stride_q,
            stride_kv=[1, 2, 2],
        )
        for heads, inputs, outputs, stride_q in zip((1, 2, 2), (8, 8, 16), (8, 16, 16), steps, strict=True)
    ]
    mvit = MViT(
        (32, 32),
        8,
        blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        stochastic_depth_prob=0.5,
    )
    return mvit_model(mvit, num_classes=num_classes, dropout=0.5)


def small(name: str) -> VideoModel:
    """Freshly drawn, in train mode."""
    torch.manual_seed(0)
    return small_mvit() if name == "mvit" else MODELS[name].build(num_classes=6, dropout=0.5)


SMALL = ("swin3d_mini", "slowonly_mini10", "slowonly_resnet18", "r3d_18", "mvit")
"""Networks that a test can afford to run."""
SMALLEST = forms(SMALL, light=["swin3d_mini", "slowonly_mini10", "mvit"])


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", SOME_NAMES)
@pytest.mark.parametrize("resolution", forms([224, 72, 16], light=[72]))
def test_every_network_gives_the_shapes_it_promises(name: str, resolution: int) -> None:
    num_cells, stride = TIMES_AND_STRIDE.get(name, (4, 32))
    model = on_meta(name)
    output = model(torch.empty(2, 7, 3, resolution, resolution, device="meta"))
    side = -(-resolution // stride)
    assert model.num_time_cells(7) == num_cells
    assert output.features.shape == (2 * num_cells, model.num_features, side, side)
    assert output.frame_logits.shape == (2, num_cells, 6)
    assert output.clip_logits.shape == (2, 6)


@pytest.mark.parametrize("name", SOME_NAMES)
@pytest.mark.parametrize("num_frames", forms([1, 2, 8, 9], light=[1, 9]))
def test_every_number_of_frames_leaves_as_many_cells_as_the_network_says(name: str, num_frames: int) -> None:
    model = on_meta(name)
    features = model.forward_features(torch.empty(1, num_frames, 3, 32, 32, device="meta"))
    assert features.shape[0] == model.num_time_cells(num_frames)


@pytest.mark.parametrize("name", forms(TORCHVISIONS, light=["swin3d_t", "r3d_18", "mvit_v2_s"]))
def test_parameters_are_as_many_as_torchvisions(name: str) -> None:
    with torch.device("meta"):
        assert count(MODELS[name].build(num_classes=400, dropout=0.5)) == count(TORCHVISIONS[name]())


@pytest.mark.parametrize(("depth", "flat"), [(18, resnet18), (50, resnet50)])
def test_slowonly_has_the_2d_parameters_and_the_frames_added_to_its_filters(depth: int, flat: type[nn.Module]) -> None:
    with torch.device("meta"):
        model, reference = on_meta(f"slowonly_resnet{depth}", num_classes=1000), flat()
    longer = {18: ("conv1", "conv2"), 50: ("conv1",)}[depth]
    stages = [stage.state_dict() for stage in (reference.layer3, reference.layer4)]
    filters = [value for stage in stages for key, value in stage.items() if key.split(".")[1] in longer]
    assert len(filters) == {18: 8, 50: 9}[depth]
    assert count(model) == count(reference) + 2 * sum(value.numel() for value in filters)


@pytest.mark.parametrize("name", SMALLEST)
def test_the_task_loss_reaches_every_parameter(name: str) -> None:
    model = small(name)
    for module in model.modules():
        if hasattr(module, "p") and not isinstance(module, nn.Dropout):
            module.p = 0.0  # else stochastic depth drops whole blocks
    F.cross_entropy(model(torch.randn(2, 4, 3, 48, 48)).clip_logits, torch.tensor([0, 1])).backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


@pytest.mark.parametrize("name", SMALLEST)
def test_clip_logits_are_those_of_the_map_pooled_over_space_and_time_at_once(name: str) -> None:
    model, clips = small(name).eval(), torch.randn(2, 4, 3, 32, 32)
    output = model(clips)
    pooled = F.adaptive_avg_pool3d(model.backbone(clips.transpose(1, 2)), 1).flatten(1)
    torch.testing.assert_close(output.clip_logits, model.classifier(pooled))
    torch.testing.assert_close(output.clip_logits, output.frame_logits.mean(dim=1))


def test_what_is_drawn_in_training_comes_from_torchs_global_generator() -> None:
    model, clips = small("swin3d_mini"), torch.randn(4, 4, 3, 32, 32)

    def answer(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model(clips).features

    assert torch.equal(answer(1), answer(1))
    assert not torch.equal(answer(1), answer(2))


@pytest.mark.parametrize("name", forms(["swin3d_mini", "mvit", "r3d_18"], light=["swin3d_mini", "mvit"]))
def test_the_first_cell_sees_the_last_of_sixteen_frames(name: str) -> None:
    assert sees_last_frame(small(name).eval(), num_frames=16)


def test_the_first_cell_of_slowonly_sees_a_frame_ahead_for_each_of_its_eight_filters_over_time() -> None:
    model = small("slowonly_resnet18").eval()
    assert sees_last_frame(model, num_frames=9)
    assert not sees_last_frame(model, num_frames=10)


def sees_last_frame(model: VideoModel, *, num_frames: int) -> bool:
    """Whether the first cell's logits hang on the last frame's pixels, by their gradient."""
    clips = torch.randn(1, num_frames, 3, 16, 16, requires_grad=True)
    model(clips).frame_logits[0, 0].sum().backward()
    assert clips.grad is not None
    return bool(clips.grad[0, -1].any())


@pytest.mark.parametrize("rate", [0.2, 0.0])
def test_drop_path_rises_linearly_to_its_rate_as_in_a_swin_that_torchvision_builds_with_it(rate: float) -> None:
    with torch.device("meta"):
        ours = build_model(ModelSpec(name="swin3d_b", drop_path=rate), num_classes=2)
        theirs = SwinTransformer3d([2, 4, 4], 128, [2, 2, 18, 2], [4, 8, 16, 32], [8, 7, 7], stochastic_depth_prob=rate)
    rates = [
        [module.p for module in model.modules() if isinstance(module, StochasticDepth)] for model in (ours, theirs)
    ]
    assert rates[0] == pytest.approx(rates[1])
    assert max(rates[0]) == rate


def test_a_network_without_stochastic_depth_refuses_a_rate() -> None:
    with pytest.raises(BadInput, match=r"model\.drop_path: 0\.2 with 'tsn_mini10'.*set it to null"):
        build_model(ModelSpec(name="tsn_mini10", drop_path=0.2), num_classes=2)
