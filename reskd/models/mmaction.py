"""Converts mmaction2's tensor names, which the official checkpoints use, to ours.

A checkpoint of mmaction2 holds its tensors under ``state_dict``: the network as ``backbone.*`` and the classifier as
``cls_head.fc_cls.*``. A checkpoint of ResKD's distillation holds both networks: the student below
``backbone.low_res_path``, the teacher below ``backbone.high_res_path`` (Swin's also with ``cls_head.fc_cls_t``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

STUDENT = "backbone.low_res_path."
TEACHER = ("backbone.high_res_path.", "cls_head.fc_cls_t.")

Rules = tuple[tuple[str, str], ...]

RESNET: Rules = (
    (r"\.conv(\d)\.conv\.", r".conv\1."),
    (r"\.conv(\d)\.bn\.", r".bn\1."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
)
SWIN: Rules = (
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),  # torchvision counts the activation and the dropout between them
)
MOBILENET_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
"""Number of inverted residual blocks in mmaction2's layer1 to layer7. torchvision numbers all blocks consecutively."""


def is_mmaction(state: Mapping[str, Any]) -> bool:
    return any(str(key).startswith(("backbone.", "cls_head.")) for key in state)


def from_mmaction(state: Mapping[str, Any], *, own: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Tensors under our names, and the keys of the teacher in a distillation checkpoint, which are left out.

    own: the model's state dict, whose names show its family. A key that fits no rule keeps its name, so that it is
    reported as unexpected. Buffers that follow from the architecture (Swin's position indices) are the model's own,
    since the two libraries arrange them differently.
    """
    teacher = [key for key in state if key.startswith(TEACHER)]
    renamed = {_our_name(str(key), own): value for key, value in state.items() if key not in teacher}
    constants = {key: value for key, value in own.items() if key.endswith("relative_position_index")}
    return {key: constants.get(key, value) for key, value in renamed.items()}, teacher


def _our_name(key: str, own: Mapping[str, Any]) -> str:
    if key.startswith("cls_head.fc_cls."):
        return key.replace("cls_head.fc_cls.", "classifier.", 1)
    if key.startswith(STUDENT):
        key = key.replace(STUDENT, "backbone.", 1)
    key = key.replace(".net.", ".", 1)  # the wrapper of a TSM's shift
    if "backbone.features.0.0.weight" in own:
        return _mobilenet_name(key, own)
    if "backbone.patch_embed.proj.weight" in own:
        # features[2 i] holds the blocks of stage i, features[2 i + 1] the patch merging after it.
        key = re.sub(r"\.layers\.(\d)\.blocks\.", lambda found: f".features.{2 * int(found[1])}.", key)
        key = re.sub(r"\.layers\.(\d)\.downsample\.", lambda found: f".features.{2 * int(found[1]) + 1}.", key)
        return _by(SWIN, key)
    return _by(RESNET, key)


def _by(rules: Rules, key: str) -> str:
    for pattern, ours in rules:
        key = re.sub(pattern, ours, key)
    return key


def _mobilenet_name(key: str, own: Mapping[str, Any]) -> str:
    """mmaction2 names conv and bn of each layer; torchvision numbers them, and does not wrap the last layer of a
    block."""
    part = {"conv": "0", "bn": "1"}
    ends = re.fullmatch(r"backbone\.conv([12])\.(conv|bn)\.(\w+)", key)
    if ends:
        position = 0 if ends[1] == "1" else sum(MOBILENET_BLOCKS) + 1
        return f"backbone.features.{position}.{part[ends[2]]}.{ends[3]}"
    inner = re.fullmatch(r"backbone\.layer([1-7])\.(\d)\.conv\.(\d)\.(conv|bn)\.(\w+)", key)
    if inner is None:
        return key
    block = f"backbone.features.{sum(MOBILENET_BLOCKS[: int(inner[1]) - 1]) + int(inner[2]) + 1}.conv"
    number = int(inner[3])
    wrapped = f"{block}.{number}.{part[inner[4]]}.{inner[5]}"
    return wrapped if wrapped in own else f"{block}.{number + int(part[inner[4]])}.{inner[5]}"
