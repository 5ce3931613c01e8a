import copy

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet18

from reskd.cost.gmacs import complexity
from reskd.models.backbones.tsm import ShiftedConv2d, temporal_shift
from reskd.models.catalogue import build_model
from reskd.models.video_model import VideoModel
from reskd.recipe import ModelSpec
from tests.support.by_hand import shifted_by_hand
from tests.support.forms import forms

PAIRS = [(f"tsn_{backbone}", f"tsm_{backbone}") for backbone in ("resnet18", "resnet50", "mobilenet_v2")]


def built(name: str, *, weights: str = "none") -> VideoModel:
    torch.manual_seed(0)
    return build_model(ModelSpec(name=name, dropout=0.0, weights=weights), num_classes=5)


def on_meta(name: str) -> VideoModel:
    with torch.device("meta"):
        return build_model(ModelSpec(name=name), num_classes=200)


def test_the_shift_of_a_small_clip_worked_out_by_hand():
    # Two clips of three frames, eight channels, one cell; the value says clip, frame, channel.
    frames = torch.tensor([[100 * clip + 10 * frame + c for c in range(8)] for clip in (1, 2) for frame in range(3)])
    shifted = temporal_shift(frames.float()[..., None, None], num_frames=3)[..., 0, 0]
    assert shifted[:, 0].tolist() == [110, 120, 0, 210, 220, 0]  # of the next frame
    assert shifted[:, 1].tolist() == [0, 101, 111, 0, 201, 211]  # of the one before
    assert torch.equal(shifted[:, 2:], frames[:, 2:].float())


@pytest.mark.parametrize(("num_channels", "num_frames"), [(8, 4), (20, 3), (24, 1), (7, 2)])
def test_the_shift_equals_itself_written_out(num_channels, num_frames):
    frames = torch.randn(2 * num_frames, num_channels, 3, 2)
    assert torch.equal(temporal_shift(frames, num_frames=num_frames), shifted_by_hand(frames, num_frames=num_frames))


def test_resnet_features_are_torchvisions_blocks_with_the_shift_written_out():
    model = built("tsm_resnet18").double().eval()
    reference = resnet18(weights=None).double().eval()
    reference.load_state_dict(model.backbone.state_dict() | reference.fc.state_dict(prefix="fc."))
    clips = torch.randn(2, 3, 3, 40, 40, dtype=torch.float64)
    x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(clips.flatten(0, 1)))))
    for stage in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
        for block in stage:
            inner = block.relu(block.bn1(block.conv1(shifted_by_hand(x, num_frames=3))))
            shortcut = x if block.downsample is None else block.downsample(x)
            x = block.relu(block.bn2(block.conv2(inner)) + shortcut)
    torch.testing.assert_close(model.forward_features(clips), x)


def test_mobilenet_features_are_torchvisions_blocks_with_the_shift_written_out():
    model = built("tsm_mobilenet_v2").double().eval()
    reference = mobilenet_v2(weights=None).double().eval()
    reference.features.load_state_dict(model.backbone.features.state_dict())
    clips = torch.randn(1, 3, 3, 32, 32, dtype=torch.float64)
    x = clips.flatten(0, 1)
    num_shifted = 0
    for layer in reference.features:
        if getattr(layer, "use_res_connect", False):
            num_shifted += 1
            x = x + layer.conv(shifted_by_hand(x, num_frames=3))
        else:
            x = layer(x)
    assert num_shifted == 10  # 17 blocks, of which 7 change stride or width
    torch.testing.assert_close(model.forward_features(clips), x)


@pytest.mark.parametrize(("name", "num_shifts"), [("tsm_resnet18", 8), ("tsm_resnet50", 16), ("tsm_mobilenet_v2", 10)])
def test_there_is_one_shift_in_each_residual_block(name, num_shifts):
    assert sum(isinstance(module, ShiftedConv2d) for module in on_meta(name).modules()) == num_shifts


@pytest.mark.parametrize(("tsn", "tsm"), forms(PAIRS, light=PAIRS[:1]))
def test_a_tsm_has_its_tsns_tensors_and_costs_the_same(tsn, tsm):
    plain, shifted = on_meta(tsn), on_meta(tsm)
    assert {key: value.shape for key, value in plain.state_dict().items()} == {
        key: value.shape for key, value in shifted.state_dict().items()
    }
    assert complexity(shifted, resolution=112, num_frames=8) == complexity(plain, resolution=112, num_frames=8)


def test_a_tsm_starts_from_the_weights_of_its_tsn():
    plain, shifted = built("tsn_resnet18").state_dict(), built("tsm_resnet18").state_dict()
    assert all(torch.equal(plain[key], value) for key, value in shifted.items())


def test_torchvisions_imagenet_file_fits(tmp_path):
    torch.manual_seed(3)
    reference = resnet18(weights=None)
    torch.save(reference.state_dict(), tmp_path / "resnet18.pth")
    model = built("tsm_resnet18", weights=str(tmp_path / "resnet18.pth"))
    assert torch.equal(model.backbone.layer1[0].conv1.weight, reference.layer1[0].conv1.weight)


def test_a_clip_of_one_frame_is_a_tsn_without_the_channels_that_come_from_elsewhere():
    plain, shifted = built("tsn_resnet18").double().eval(), built("tsm_resnet18").double().eval()
    for block in (module for module in plain.modules() if hasattr(module, "conv1")):
        if isinstance(block, nn.Sequential):
            continue  # the stem
        with torch.no_grad():
            block.conv1.weight[:, : 2 * (block.conv1.in_channels // 8)] = 0
    clips = torch.randn(2, 1, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(shifted(clips).clip_logits, plain(clips).clip_logits)


def test_in_the_first_block_of_a_static_clip_only_the_end_frames_differ():
    shifted = temporal_shift(torch.randn(1, 16, 2, 2).expand(5, -1, -1, -1), num_frames=5)
    assert torch.equal(shifted[1], shifted[2])
    assert torch.equal(shifted[2], shifted[3])
    assert not shifted[4, :2].any()  # no next frame
    assert not shifted[0, 2:4].any()  # none before
    assert torch.equal(shifted[0, :2], shifted[1, :2])


def test_frames_see_their_neighbours_and_clips_do_not():
    model = built("tsm_resnet18").eval()
    clips = torch.randn(2, 3, 3, 32, 32)
    other = clips.clone()
    other[0, 2] += 1
    before, after = model(clips).frame_logits, model(other).frame_logits
    assert not torch.equal(before[0, 0], after[0, 0])
    torch.testing.assert_close(before[1], after[1])


def test_a_copy_of_a_model_has_its_own_clip_length():
    model = built("tsm_resnet18").eval()
    twin = copy.deepcopy(model)
    clips = torch.randn(1, 4, 3, 32, 32)
    expected = model(clips).clip_logits
    model(clips[:, :2])
    assert torch.equal(twin(clips).clip_logits, expected)
