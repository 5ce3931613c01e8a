"""Effective receptive field and Grad-CAM of networks whose answer is known by arithmetic."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Permute

from reskd.errors import BadInput
from reskd.figures.erf import cell_at, effective_receptive_field, field_share
from reskd.figures.gradcam import grad_cam
from reskd.models.backbones.mini import tsn_mini
from reskd.models.video_model import VideoModel, VideoModel3d


def conv(num_in: int, num_out: int, *, stride: int = 1, ones: bool = False) -> nn.Conv2d:
    layer = nn.Conv2d(num_in, num_out, kernel_size=3, stride=stride, padding=1, bias=False)
    if ones:
        nn.init.ones_(layer.weight)
    return layer


def model_of(*layers: nn.Module, num_features: int, num_classes: int = 3) -> VideoModel:
    return VideoModel(nn.Sequential(*layers), num_features=num_features, num_classes=num_classes, dropout=0.5).double()


def clips_of(num_clips: int = 2, num_frames: int = 3, size: int = 16) -> Tensor:
    return torch.randn(num_clips, num_frames, 3, size, size, dtype=torch.float64)


def test_the_field_of_two_strided_convolutions_ends_where_arithmetic_says_and_is_symmetric():
    model = model_of(conv(3, 2, stride=2, ones=True), conv(2, 2, stride=2, ones=True), num_features=2)
    field = effective_receptive_field(model, [clips_of()], cell=(2, 2))
    # Stride 4: around pixel 8. 3 + 2 * (3 - 1) = 7 pixels wide: 5 to 11.
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[5:12, 5:12] = True
    assert (field[inside] > 0).all()
    assert (field[~inside] == 0).all()
    window = field[5:12, 5:12]
    torch.testing.assert_close(window, window.flip(0))
    torch.testing.assert_close(window, window.T)
    # One line of it: both kernels are ones, at stride 2 a middle kernel overlaps its neighbours in one pixel.
    line = torch.tensor([1, 1, 2, 1, 2, 1, 1], dtype=torch.float64)
    # Output channels 2 x middle channels 2 x colours 3.
    torch.testing.assert_close(window, 12 * line.outer(line))


def test_the_field_of_a_linear_network_is_its_kernel_written_out():
    layer = nn.Conv2d(3, 4, kernel_size=5, padding=2)
    model = model_of(layer, num_features=4)
    field = effective_receptive_field(model, [clips_of(1), clips_of(2)], cell=(9, 6))
    expected = torch.zeros(16, 16, dtype=torch.float64)
    expected[7:12, 4:9] = layer.weight.detach().sum(dim=0).abs().sum(dim=0)
    torch.testing.assert_close(field, expected)


def test_the_field_is_the_mean_over_clips_and_frames_of_a_network_that_is_not_linear():
    model = model_of(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(inplace=True), conv(4, 5), nn.ReLU(), num_features=5)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clips = clips_of(2, 2, 8)
    field = effective_receptive_field(model, [clips[:1], clips[1:]], cell=(4, 5))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    # The central difference of each frame alone.
    step, expected = 1e-6, torch.zeros(8, 8, dtype=torch.float64)
    with torch.no_grad():
        for frame in clips.flatten(0, 1):
            moved = step * torch.eye(3 * 64, dtype=torch.float64).reshape(-1, 3, 8, 8)
            up, down = (model.backbone(frame + sign * moved)[:, :, 4, 5].sum(dim=1) for sign in (1, -1))
            expected += ((up - down) / (2 * step)).abs().reshape(3, 8, 8).sum(dim=0) / 4
    torch.testing.assert_close(field, expected, rtol=1e-5, atol=1e-7)


def test_the_field_of_a_3d_network_covers_the_cell_at_every_time():
    backbone = nn.Conv3d(3, 2, kernel_size=(2, 3, 3), stride=(2, 1, 1), padding=(0, 1, 1), bias=False)
    model = VideoModel3d(backbone, num_features=2, num_classes=3, dropout=0, time_stride=2).double()
    field = effective_receptive_field(model, [clips_of(2, 4, 8)], cell=(3, 3))
    expected = torch.zeros(8, 8, dtype=torch.float64)
    # Each frame meets one of the two time steps of the kernel: the mean over frames is the mean over these.
    expected[2:5, 2:5] = backbone.weight.detach().sum(dim=0).abs().sum(dim=0).mean(dim=0)
    torch.testing.assert_close(field, expected)


@pytest.mark.parametrize(
    ("size", "cell"), [((4, 4), (2, 2)), ((7, 7), (4, 4)), ((8, 8), (5, 5)), ((3, 3), (1, 1)), ((1, 2), (0, 1))]
)
def test_a_place_is_the_same_in_maps_of_any_size(size: tuple[int, int], cell: tuple[int, int]):
    assert cell_at((0.625, 0.625), size=size) == cell


def test_the_share_of_a_field_counts_pixels_above_a_part_of_the_largest():
    assert field_share(torch.tensor([[1.0, 0.05], [0.04, 0.0]])) == 0.5
    assert field_share(torch.zeros(2, 2)) == 0


def test_a_cell_or_a_place_outside_is_refused():
    model = model_of(conv(3, 2, stride=2), num_features=2)
    with pytest.raises(BadInput, match=r"cell \(8, 0\) is not in the last map, which has 8 rows and 8 columns"):
        effective_receptive_field(model, [clips_of()], cell=(8, 0))
    with pytest.raises(BadInput, match="needs at least one clip"):
        effective_receptive_field(model, [], cell=(0, 0))
    with pytest.raises(BadInput, match=r"two shares, at least 0 and below 1"):
        cell_at((1.0, 0.5), size=(4, 4))


def test_the_cam_of_a_linear_head_is_its_weights_times_the_map():
    model = model_of(conv(3, 4, stride=2), nn.ReLU(inplace=True), num_features=4)
    clips = clips_of(2, 3, 16)
    found = grad_cam(model, clips, classes=[2, 0])
    with torch.no_grad():
        maps = model.forward_features(clips)  # (6, 4, 8, 8)
        rows = model.classifier.weight[[2, 0]].repeat_interleave(3, dim=0)  # each clip's class for its 3 frames
        # The logit is the mean over 3 frames of 64 cells.
        expected = torch.einsum("fc,fchw->fhw", rows, maps).relu() / (3 * 64)
    torch.testing.assert_close(found.maps, expected.reshape(2, 3, 8, 8))
    assert found.classes.tolist() == [2, 0]
    model.eval()
    torch.testing.assert_close(found.probabilities, model(clips).clip_logits.detach().softmax(dim=1))


def test_the_predicted_class_is_the_default_and_a_frozen_model_answers():
    model = model_of(conv(3, 4), nn.ReLU(), num_features=4).requires_grad_(False).eval()
    clips = clips_of(3)
    predicted = model(clips).clip_logits.argmax(dim=1)
    found = grad_cam(model, clips)
    assert found.classes.tolist() == predicted.tolist()
    torch.testing.assert_close(found.maps, grad_cam(model, clips, classes=predicted.tolist()).maps)


def test_a_layer_before_one_that_works_in_place_is_seen_as_it_was():
    model = model_of(conv(3, 4), nn.ReLU(inplace=True), conv(4, 2), num_features=2)
    nn.init.normal_(model.classifier.weight)
    clips = clips_of(1, 2, 8)
    found = grad_cam(model, clips, layer="backbone.0", classes=[1])
    # Written out: the layer's output before ReLU, and the gradient of the logit by the chain rule.
    with torch.no_grad():
        seen = model.backbone[0](clips[0])  # (2, 4, 8, 8)
        down = model.classifier.weight[1][None, :, None, None].expand(2, 2, 8, 8) / (2 * 64)
        gradient = F.conv_transpose2d(down, model.backbone[2].weight, padding=1) * (seen > 0)
        expected = (gradient.mean(dim=(2, 3), keepdim=True) * seen).sum(dim=1).relu()
    torch.testing.assert_close(found.maps[0], expected)


def test_the_last_map_by_name_and_by_default_are_one_and_a_stage_has_its_own_size():
    model = tsn_mini(num_blocks=1, num_classes=3, dropout=0).eval()
    clips = torch.randn(2, 2, 3, 32, 32)
    by_name = grad_cam(model, clips, layer="backbone.layer4")
    torch.testing.assert_close(by_name.maps, grad_cam(model, clips).maps)
    assert grad_cam(model, clips, layer="backbone.layer1").maps.shape == (2, 2, 8, 8)


def test_a_3d_layer_gives_a_map_for_each_cell_of_time():
    backbone = nn.Conv3d(3, 2, kernel_size=(2, 3, 3), stride=(2, 1, 1), padding=(0, 1, 1))
    model = VideoModel3d(backbone, num_features=2, num_classes=3, dropout=0, time_stride=2).double().eval()
    clips = clips_of(2, 4, 8)
    found = grad_cam(model, clips, layer="backbone", classes=[0, 1])
    assert found.maps.shape == (2, 2, 8, 8)
    torch.testing.assert_close(found.maps, grad_cam(model, clips, classes=[0, 1]).maps)


def test_channels_that_come_last_are_told_from_those_that_come_first():
    first = nn.Conv3d(3, 4, kernel_size=(2, 3, 3), stride=(2, 1, 1), padding=(0, 1, 1))
    last, back = Permute([0, 2, 3, 4, 1]), Permute([0, 4, 1, 2, 3])
    backbone = nn.Sequential(OrderedDict(first=first, last=last, back=back))
    model = VideoModel3d(backbone, num_features=4, num_classes=3, dropout=0, time_stride=2).double().eval()
    clips = clips_of(2, 4, 8)
    torch.testing.assert_close(grad_cam(model, clips, layer="backbone.last").maps, grad_cam(model, clips).maps)


def test_a_layer_that_is_not_there_gives_no_maps_or_is_of_no_use_is_refused_by_name():
    model = model_of(conv(3, 4), nn.ReLU(), num_features=4)
    with pytest.raises(BadInput, match=r"layer 'backbone.O' is not in the model; there are backbone"):
        grad_cam(model, clips_of(), layer="backbone.O")
    with pytest.raises(BadInput, match=r"layer 'dropout' gives a tensor of shape \(2, 4\), no maps"):
        grad_cam(model, clips_of(), layer="dropout")
    with pytest.raises(BadInput, match=r"classes \[3, 0\]: must be 2, one a clip, each from 0 to 2"):
        grad_cam(model, clips_of(), classes=[3, 0])
