"""Files as other programs leave them: small networks built by hand with mmaction2's names, and their checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS, STRIDES = (32, 64, 96, 128), (2, 2, 1, 1)


def _conv(inputs: int, outputs: int, size: tuple[int, int], stride: int, dims: int) -> nn.Module:
    """A convolution over ``size`` = (frames, pixels); in 2-D, frames are not seen."""
    frames, pixels = size
    if dims == 2:
        return nn.Conv2d(inputs, outputs, pixels, stride, pixels // 2, bias=False)
    sizes, strides, pads = (frames, pixels, pixels), (1, stride, stride), (frames // 2, pixels // 2, pixels // 2)
    return nn.Conv3d(inputs, outputs, sizes, strides, pads, bias=False)


class ConvModule(nn.Module):
    """mmcv's: conv and bn by name."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], *, stride: int = 1, dims: int) -> None:
        super().__init__()
        self.conv = _conv(inputs, outputs, size, stride, dims)
        self.bn = nn.BatchNorm2d(outputs) if dims == 2 else nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, frames: int, stride: int, dims: int) -> None:
        super().__init__()
        self.conv1 = ConvModule(inputs, outputs, (frames, 3), stride=stride, dims=dims)
        self.conv2 = ConvModule(outputs, outputs, (frames, 3), dims=dims)
        self.downsample = (
            ConvModule(inputs, outputs, (1, 1), stride=stride, dims=dims) if stride != 1 or inputs != outputs else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    """What tsn_mini10 (2-D) and slowonly_mini10 (3-D) are here; the latter's last two stages look at three frames."""

    def __init__(self, *, dims: int) -> None:
        super().__init__()
        self.conv1 = ConvModule(3, WIDTHS[0], (1, 5), stride=2, dims=dims)
        inputs = WIDTHS[0]
        for stage, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True), 1):
            frames = 3 if stage > 2 else 1
            block = Block(inputs, width, frames=frames, stride=stride, dims=dims)
            self.add_module(f"layer{stage}", nn.Sequential(block))
            inputs = width

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


class Recognizer(nn.Module):
    """mmaction2's Recognizer2D or 3D: (B, T, 3, h, w) -> logits (B, K)."""

    def __init__(self, *, dims: int = 2, num_classes: int = 5) -> None:
        super().__init__()
        self.dims = dims
        self.backbone = Backbone(dims=dims)
        self.cls_head = nn.Module()
        self.cls_head.fc_cls = nn.Linear(WIDTHS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        self.eval()

    def forward(self, clips: Tensor) -> Tensor:
        if self.dims == 3:
            pooled = self.backbone(clips.transpose(1, 2)).mean(dim=(2, 3, 4))
        else:
            maps = self.backbone(clips.flatten(0, 1))
            pooled = maps.mean(dim=(2, 3)).unflatten(0, clips.shape[:2]).mean(dim=1)
        return self.cls_head.fc_cls(pooled)  # type: ignore[no-any-return, operator]


def save_version_0(state: dict[str, Any], path: Path) -> Path:
    """A checkpoint as mmaction2 0.x writes it."""
    torch.save(
        {"meta": {"epoch": 50, "mmaction_version": "0.20.0", "config": "model = dict()"}, "state_dict": state}, path
    )
    return path


def save_version_1(state: dict[str, Any], path: Path) -> Path:
    """A checkpoint as mmaction2 1.x publishes it, with what it does to pixels."""
    pixels = {
        "data_preprocessor.mean": torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1),
        "data_preprocessor.std": torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1),
    }
    meta = {"epoch": 50, "mmaction2_version": "1.2.0", "dataset_meta": {"classes": None}, "seed": 0}
    torch.save({"meta": meta, "state_dict": {**pixels, **state}}, path)
    return path


def save_mini(path: Path, *, num_classes: int, seed: int = 0) -> Path:
    """A checkpoint of a network with the tensors of tsn_mini10, as mmaction2 0.x writes it."""
    torch.manual_seed(seed)
    return save_version_0(Recognizer(num_classes=num_classes).state_dict(), path)
