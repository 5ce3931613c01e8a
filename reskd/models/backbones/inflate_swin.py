"""Renames the ImageNet weights of a 2-D Swin for torchvision's 3-D Swin, as Video Swin's trainings start.

The files may have torchvision's names or those of Swin's own repository, which alone has ImageNet-22K weights.

Liu et al., "Video Swin Transformer", CVPR 2022, section 3.3: the patch filter is inflated. The bias between two cells
is that of their distance in space, whatever their distance in time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

PATCHES = "backbone.features.0.0.weight"
"""The 2-D network's patch embedding is its first feature layer; the 3-D network's has its own name."""
OWN_RULES = (
    (r"^patch_embed\.proj\.", "features.0.0."),
    (r"^patch_embed\.norm\.", "features.0.2."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)
"""Names of Swin's own repository (github.com/microsoft/Swin-Transformer) and torchvision's, besides those of stages."""
NAMES = {r"features\.0\.0\.": "patch_embed.proj.", r"features\.0\.2\.": "patch_embed.norm."}


def is_swins_own(state: Mapping[str, Any]) -> bool:
    """Whether tensors have the names of Swin's own repository."""
    return "layers.0.blocks.0.attn.qkv.weight" in state


def in_torchvisions_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of Swin's own repository under torchvision's names of its 2-D Swin, without the masks of its windows.

    torchvision numbers the layers: features[2 i + 1] are the blocks of stage i, features[2 i + 2] the merging after it.
    """
    return {_torchvisions_name(key): value for key, value in state.items() if not key.endswith(".attn_mask")}


def _torchvisions_name(key: str) -> str:
    key = re.sub(r"^layers\.(\d)\.blocks\.", lambda found: f"features.{2 * int(found[1]) + 1}.", key)
    key = re.sub(r"^layers\.(\d)\.downsample\.", lambda found: f"features.{2 * int(found[1]) + 2}.", key)
    for pattern, theirs in OWN_RULES:
        key = re.sub(pattern, theirs, key)
    return key


def is_flat_swin(state: Mapping[str, Any], *, like: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` belongs to a 2-D Swin and ``like`` to a 3-D one. Both have ``backbone.`` before each name."""
    return PATCHES in state and "backbone.patch_embed.proj.weight" in like


def in_3d_names(state: Mapping[str, Any], *, like: Mapping[str, Tensor]) -> dict[str, Any]:
    """A 2-D Swin's ``state`` with 3-D names, position tables and indices. Filters stay 2-D.

    It raises no error: the loader reports what does not match.
    """
    renamed = {_name(key): value for key, value in state.items()}
    for key, value in renamed.items():
        ours = like.get(key)
        if ours is None or not isinstance(value, Tensor):
            continue
        if key.endswith(".relative_position_index"):
            renamed[key] = ours  # follows from the window alone
        elif key.endswith(".relative_position_bias_table") and value.shape[1:] == ours.shape[1:]:
            renamed[key] = value.repeat(len(ours) // len(value), 1)  # rows by time first: (2t-1) (2h-1) (2w-1)
    return renamed


def _name(key: str) -> str:
    """backbone.features.3.1.norm1.weight -> backbone.features.2.1.norm1.weight."""
    _, _, name = key.partition("backbone.")
    for pattern, replacement in NAMES.items():
        if re.match(pattern, name):
            return "backbone." + re.sub(pattern, replacement, name)
    stage = re.match(r"features\.(\d+)\.(.*)", name)
    return f"backbone.features.{int(stage[1]) - 1}.{stage[2]}" if stage else key
