"""Checkpoints in mmaction2's layout. No official file is at hand: the networks here are built by hand in that layout,
so that their state dicts have its names, and run, so that what was loaded is seen to compute the same.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reskd.errors import BadInput
from reskd.models.catalogue import build_model
from reskd.models.imported import load_imported
from reskd.models.video_model import VideoModel
from reskd.models.weights import load_weights_file
from reskd.recipe import ModelSpec, Recipe
from tests.support.by_hand import shifted_by_hand
from tests.support.forms import forms

NUM_FRAMES = 3
NUM_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class ConvModule(nn.Module):
    """mmcv's: conv and bn by name."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Shift(nn.Module):
    """mmaction2's TemporalShift: what it stands before is called net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(shifted_by_hand(x, num_frames=NUM_FRAMES))


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, *, stride: int, depth: int, shift: bool) -> None:
        super().__init__()
        outputs = width if depth == 18 else 4 * width
        if depth == 18:
            self.conv1 = ConvModule(inputs, width, 3, stride=stride)
            self.conv2 = ConvModule(width, width, 3)
        else:
            self.conv1 = ConvModule(inputs, width, 1)
            self.conv2 = ConvModule(width, width, 3, stride=stride)
            self.conv3 = ConvModule(width, outputs, 1)
        if shift:
            self.conv1.conv = Shift(self.conv1.conv)
        if stride != 1 or inputs != outputs:
            self.downsample = ConvModule(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x))
        y = self.conv3(F.relu(self.conv2(y))) if hasattr(self, "conv3") else self.conv2(y)
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, *, depth: int, shift: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvModule(3, 64, 7, stride=2)
        inputs = 64
        for stage, (width, num) in enumerate(zip((64, 128, 256, 512), NUM_BLOCKS[depth], strict=True), 1):
            blocks = nn.Sequential()
            for number in range(num):
                stride = 2 if stage > 1 and number == 0 else 1
                blocks.append(Block(inputs, width, stride=stride, depth=depth, shift=shift))
                inputs = width if depth == 18 else 4 * width
            self.add_module(f"layer{stage}", blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int, expand: int, shift: bool) -> None:
        super().__init__()
        self.has_shortcut = stride == 1 and inputs == outputs
        hidden = inputs * expand
        layers = [ConvModule(inputs, hidden, 1)] if expand != 1 else []
        layers += [ConvModule(hidden, hidden, 3, stride=stride, groups=hidden), ConvModule(hidden, outputs, 1)]
        if shift and self.has_shortcut and expand != 1:
            layers[0] = Shift(layers[0])  # type: ignore[call-overload]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.conv[:-1]:
            y = F.relu6(layer(y))
        y = self.conv[-1](y)
        return x + y if self.has_shortcut else y


class MobileNetV2(nn.Module):
    def __init__(self, *, shift: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvModule(3, 32, 3, stride=2)
        inputs = 32
        table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
        for stage, (expand, outputs, num, stride) in enumerate([*table, (6, 320, 1, 1)], 1):
            blocks = nn.Sequential()
            for number in range(num):
                options = {"stride": stride if number == 0 else 1, "expand": expand, "shift": shift}
                blocks.append(InvertedResidual(inputs, outputs, **options))
                inputs = outputs
            self.add_module(f"layer{stage}", blocks)
        self.conv2 = ConvModule(320, 1280, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.conv1(x))
        for stage in range(1, 8):
            x = getattr(self, f"layer{stage}")(x)
        return F.relu6(self.conv2(x))


def recognizer(backbone: nn.Module, *, num_features: int, num_classes: int = 5) -> nn.Module:
    """mmaction2's Recognizer2D: a backbone and a head, with statistics that are not the initial ones."""
    model = nn.Module()
    model.backbone = backbone
    model.cls_head = nn.Module()
    model.cls_head.fc_cls = nn.Linear(num_features, num_classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def built(name: str) -> VideoModel:
    return build_model(ModelSpec(name=name, dropout=0.0), num_classes=5).eval()


def saved(state: dict[str, Any], path: Path) -> Path:
    torch.save({"meta": {"epoch": 50, "mmaction_version": "0.20.0"}, "state_dict": state, "optimizer": {}}, path)
    return path


NETWORKS = {
    "tsn_resnet18": (lambda: ResNet(depth=18), 512),
    "tsn_resnet50": (lambda: ResNet(depth=50), 2048),
    "tsm_resnet18": (lambda: ResNet(depth=18, shift=True), 512),
    "tsm_resnet50": (lambda: ResNet(depth=50, shift=True), 2048),
    "tsn_mobilenet_v2": (MobileNetV2, 1280),
    "tsm_mobilenet_v2": (lambda: MobileNetV2(shift=True), 1280),
}


@pytest.mark.parametrize("name", forms(NETWORKS, light=["tsn_resnet18", "tsm_resnet18"]))
def test_a_network_built_in_that_layout_gives_the_same_logits_once_loaded(name, tmp_path):
    torch.manual_seed(0)
    build, num_features = NETWORKS[name]
    theirs = recognizer(build(), num_features=num_features)
    model = built(name)
    loaded = load_weights_file(model, saved(theirs.state_dict(), tmp_path / "epoch_50.pth"), name=name)
    assert loaded.num_backbone == len(theirs.backbone.state_dict())
    assert (loaded.layout, loaded.has_head, loaded.num_teacher, loaded.num_head) == ("mmaction2", True, 0, 0)
    clips = torch.randn(2, NUM_FRAMES, 3, 32, 32)
    with torch.no_grad():
        features = theirs.backbone(clips.flatten(0, 1))
        expected = theirs.cls_head.fc_cls(features.mean(dim=(2, 3)).unflatten(0, (2, NUM_FRAMES)).mean(dim=1))
        torch.testing.assert_close(model(clips).clip_logits, expected, rtol=1e-4, atol=1e-4)
    whole = built(name)
    recipe = Recipe(model=ModelSpec(name=name), checkpoint=str(tmp_path / "epoch_50.pth"))
    imported = load_imported(whole, recipe, classes="abcde")
    assert imported.num_tensors == len(theirs.state_dict())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in whole.state_dict().items())


def test_of_a_distillation_the_student_is_taken_and_the_teacher_left_out_in_words(tmp_path, caplog):
    torch.manual_seed(0)
    backbone = nn.Module()
    backbone.low_res_path, backbone.high_res_path = ResNet(depth=18), ResNet(depth=50)
    theirs = recognizer(backbone, num_features=512)
    state = theirs.state_dict() | {"cls_head.fc_cls_t.weight": torch.zeros(5, 2048)}
    path = saved(state, tmp_path / "rkd.pth")
    with caplog.at_level(logging.INFO):
        model = build_model(ModelSpec(name="tsn_resnet18", weights=str(path)), num_classes=5)
    assert torch.equal(model.backbone.layer1[0].conv1.weight, backbone.low_res_path.layer1[0].conv1.conv.weight)
    assert torch.equal(model.backbone.layer2[0].downsample[1].bias, backbone.low_res_path.layer2[0].downsample.bn.bias)
    num_teacher = len(backbone.high_res_path.state_dict()) + 1
    num_student = len(backbone.low_res_path.state_dict())
    assert (
        f"rkd.pth (mmaction2's names): {num_student} tensors of the backbone and its classifier loaded; "
        f"left out: {num_teacher} tensors of the teacher" in caplog.text
    )


def test_a_classifier_of_other_classes_is_left_out_in_words(tmp_path):
    theirs = recognizer(ResNet(depth=18), num_features=512, num_classes=200)
    model = built("tsn_resnet18")
    before = model.classifier.weight.clone()
    loaded = load_weights_file(model, saved(theirs.state_dict(), tmp_path / "a.pth"), name="tsn_resnet18")
    assert torch.equal(model.classifier.weight, before)
    assert "no classifier loaded; left out: 2 tensors of a head that is not this model's" in loaded.words


def test_a_checkpoint_that_does_not_fit_names_keys_and_shapes_and_changes_nothing(tmp_path):
    state = recognizer(ResNet(depth=18), num_features=512).state_dict()
    del state["backbone.layer3.0.downsample.bn.weight"]
    state["backbone.layer1.0.conv1.conv.weight"] = torch.zeros(64, 64, 1, 1)
    state["backbone.layer5.0.conv1.conv.weight"] = torch.zeros(1)
    state["cls_head.other.weight"] = torch.zeros(1)
    model = built("tsn_resnet18")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(BadInput) as caught:
        load_weights_file(model, saved(state, tmp_path / "a.pth"), name="tsn_resnet18")
    for part in (
        "a.pth",
        "1 missing (backbone.layer3.0.downsample.1.weight)",
        "2 unexpected (backbone.layer5.0.conv1.weight, cls_head.other.weight)",
        "backbone.layer1.0.conv1.weight (64, 64, 1, 1) for (64, 64, 3, 3)",
    ):
        assert part in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_another_networks_checkpoint_is_refused(tmp_path):
    path = saved(recognizer(MobileNetV2(), num_features=1280).state_dict(), tmp_path / "a.pth")
    # Of 20 convolutions and as many norms of 4 tensors, the first ones have their names in both networks.
    with pytest.raises(BadInput, match=r"does not fit tsn_resnet18: 95 missing .*unexpected .*of another shape"):
        build_model(ModelSpec(name="tsn_resnet18", weights=str(path)), num_classes=5)


def test_a_swins_names_are_the_stages_and_merges_in_turn(tmp_path):
    """By hand from mmaction2's layout: layers.i.blocks.j, layers.i.downsample, mlp.fc1 and fc2, (N, N) indices."""
    with torch.device("meta"):
        own = build_model(ModelSpec(name="swin3d_mini"), num_classes=5).state_dict()
    state: dict[str, Tensor] = {}
    for number, (key, value) in enumerate(own.items()):
        shape = value.shape
        parts = key.split(".")
        if parts[1] == "features":
            stage = int(parts[2])
            is_merge = stage % 2 == 1
            parts[1:3] = ["layers", str(stage // 2), "downsample" if is_merge else "blocks"]
        theirs = ".".join(parts).replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
        theirs = theirs.replace("classifier.", "cls_head.fc_cls.")
        if theirs.endswith("relative_position_index"):
            shape = torch.Size([int(shape[0] ** 0.5)] * 2)
        state[theirs] = torch.full((), float(number)).expand(shape)
    model = build_model(ModelSpec(name="swin3d_mini"), num_classes=5)
    index = model.backbone.features[0][0].attn.relative_position_index.clone()
    loaded = load_weights_file(model, saved(state, tmp_path / "swin.pth"), name="swin3d_mini")
    assert loaded.has_head
    assert "backbone.layers.1.blocks.0.mlp.fc2.weight" in state
    assert "backbone.layers.0.downsample.reduction.weight" in state
    for number, (key, value) in enumerate(model.state_dict().items()):
        if key.endswith("relative_position_index"):
            assert torch.equal(model.backbone.features[0][0].attn.relative_position_index, index)
        else:
            assert (value == number).all(), key
