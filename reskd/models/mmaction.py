"""Converts mmaction2's tensor names, which the official checkpoints use, to ours.

A checkpoint of mmaction2 holds its tensors under ``state_dict``: the network as ``backbone.*`` and the classifier as
``cls_head.fc_cls.*``. Version 1 has the names of version 0, except for Swin's last norm, and may add what it does to
pixels as ``data_preprocessor.*``. A checkpoint of ResKD's distillation holds both networks: the student below
``backbone.low_res_path``, the teacher below ``backbone.high_res_path`` (Swin's also with ``cls_head.fc_cls_t``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from reskd.errors import BadInput
from reskd.normalisation import IMAGENET, Normalisation

Part = Literal["student", "teacher"]
PARTS: dict[Part, dict[str, str]] = {
    "student": {"backbone.low_res_path.": "backbone.", "cls_head.fc_cls.": "cls_head.fc_cls."},
    "teacher": {"backbone.high_res_path.": "backbone.", "cls_head.fc_cls_t.": "cls_head.fc_cls."},
}
"""Network of a distillation's checkpoint -> prefixes of its tensors, and what they are in a checkpoint of one
network."""
PIXELS = "data_preprocessor."
"""Prefix of mean and deviation of pixels from 0 to 255."""

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
    (r"^backbone\.norm\d\.", "backbone.norm."),  # version 1 numbers it by its stage
)
MOBILENET_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
"""Number of inverted residual blocks in mmaction2's layer1 to layer7. torchvision numbers all blocks consecutively."""


def is_mmaction(state: Mapping[str, Any]) -> bool:
    return any(str(key).startswith(("backbone.", "cls_head.")) for key in state)


def one_network(state: Mapping[str, Any], *, part: Part | None, part_of_two: Part | None) -> tuple[dict[str, Any], int]:
    """One network of a checkpoint, named as in a checkpoint of it alone, and the number of the other one's tensors.

    part: the network to take from a distillation's checkpoint, which holds two; if None, ``part_of_two``. Raises
    BadInput if the checkpoint holds one network and a part is given, or two and none is.
    """
    holds_two = any(key.startswith(("backbone.low_res_path.", "backbone.high_res_path.")) for key in state)
    if part is not None and not holds_two:
        raise BadInput(f"it holds one network and no {part} beside another; leave out checkpoint_part")
    if not holds_two:
        return dict(state), 0
    taken = part or part_of_two
    if taken is None:
        raise BadInput("it holds a student and its teacher; say which to take with checkpoint_part: student or teacher")
    other = tuple(PARTS["teacher" if taken == "student" else "student"])
    chosen = {_alone(key, PARTS[taken]): value for key, value in state.items() if not key.startswith(other)}
    return chosen, len(state) - len(chosen)


def _alone(key: str, prefixes: Mapping[str, str]) -> str:
    found = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
    return key if found is None else key.replace(found, prefixes[found], 1)


def from_mmaction(state: Mapping[str, Any], *, own: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of one network under our names.

    own: the model's state dict, whose names show its family. A key that fits no rule keeps its name, so that it is
    reported as unexpected. Buffers that follow from the architecture (Swin's position indices) are the model's own,
    since the two libraries arrange them differently. What it does to pixels is not among them: see `normalisation_in`.
    """
    renamed = {_our_name(key, own): value for key, value in state.items() if not key.startswith(PIXELS)}
    constants = {key: value for key, value in own.items() if key.endswith("relative_position_index")}
    return {key: constants.get(key, value) for key, value in renamed.items()}


def normalisation_in(state: Mapping[str, Any]) -> Normalisation | None:
    """What a checkpoint of version 1 does to pixels; None if it does not say. Raises BadInput for odd values."""
    found = [state[key] for key in (f"{PIXELS}mean", f"{PIXELS}std") if key in state]
    if not found:
        return None
    if len(found) != 2 or not all(isinstance(value, Tensor) and value.numel() == 3 for value in found):
        raise BadInput(f"its {PIXELS}mean and std are not three numbers each; only networks of RGB frames can be read")
    mean, std = (tuple(number / 255 for number in value.flatten().tolist()) for value in found)
    # float32 has other last digits, and equal normalisations are computed once.
    is_imagenet = all(abs(a - b) < 1e-4 for a, b in zip(mean + std, IMAGENET.mean + IMAGENET.std, strict=True))
    return IMAGENET if is_imagenet else Normalisation(mean, std)


def _our_name(key: str, own: Mapping[str, Any]) -> str:
    if key.startswith("cls_head.fc_cls."):
        return key.replace("cls_head.fc_cls.", "classifier.", 1)
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
