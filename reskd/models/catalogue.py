"""Networks by name, and how a ModelSpec becomes one."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from reskd.errors import BadInput
from reskd.models.backbones.frame_exit import frame_exit_mini, frame_exit_resnet
from reskd.models.backbones.mini import slowonly_mini, swin3d_mini, tsn_mini
from reskd.models.backbones.mvit import video_mvit
from reskd.models.backbones.r3d import video_resnet
from reskd.models.backbones.slowonly import slowonly_resnet
from reskd.models.backbones.swin3d import swin3d
from reskd.models.backbones.timm_backbone import PREFIX as TIMM_PREFIX
from reskd.models.backbones.timm_backbone import require as require_timm
from reskd.models.backbones.timm_backbone import tsn_timm
from reskd.models.backbones.tsm import tsm_mobilenet_v2, tsm_resnet
from reskd.models.backbones.tsn import set_stride, tsn_mobilenet_v2, tsn_resnet
from reskd.models.video_model import ClipOutput, VideoModel, VideoModel3d, evaluating
from reskd.models.weights import load_named_weights, load_weights_file
from reskd.recipe import NAMED_WEIGHTS, ModelSpec

__all__ = [
    "MODELS",
    "TIMM_PREFIX",
    "ClipOutput",
    "VideoModel",
    "VideoModel3d",
    "build_model",
    "evaluating",
    "is_model",
    "most_frames",
]

FRAME_EXITS: dict[str, Callable[..., VideoModel]] = {
    "frameexit_resnet18": partial(frame_exit_resnet, depth=18),
    "frameexit_resnet50": partial(frame_exit_resnet, depth=50),
    "frameexit_mini10": partial(frame_exit_mini, num_blocks=1),
}
"""Called with ``num_exits`` and ``exit_beta`` too."""

MODELS: dict[str, Callable[..., VideoModel]] = {
    "tsn_resnet18": partial(tsn_resnet, depth=18),
    "tsn_resnet34": partial(tsn_resnet, depth=34),
    "tsn_resnet50": partial(tsn_resnet, depth=50),
    "tsn_resnet101": partial(tsn_resnet, depth=101),
    "tsn_resnet152": partial(tsn_resnet, depth=152),
    "tsn_mobilenet_v2": tsn_mobilenet_v2,
    "tsm_resnet18": partial(tsm_resnet, depth=18),
    "tsm_resnet50": partial(tsm_resnet, depth=50),
    "tsm_mobilenet_v2": tsm_mobilenet_v2,
    "tsn_mini10": partial(tsn_mini, num_blocks=1),
    "tsn_mini18": partial(tsn_mini, num_blocks=2),
    "slowonly_resnet18": partial(slowonly_resnet, depth=18),
    "slowonly_resnet50": partial(slowonly_resnet, depth=50),
    "slowonly_mini10": partial(slowonly_mini, num_blocks=1),
    "swin3d_mini": swin3d_mini,
    "swin3d_t": partial(swin3d, size="t"),
    "swin3d_s": partial(swin3d, size="s"),
    "swin3d_b": partial(swin3d, size="b"),
    "r3d_18": video_resnet,
    "mvit_v2_s": video_mvit,
    **FRAME_EXITS,
}
"""Name -> builder, called with ``num_classes`` and ``dropout``."""


def most_frames(spec: ModelSpec, *, trained_on: int) -> int | None:
    """Frames of the longest clip that a network trained on clips of ``trained_on`` frames can look at; None: any."""
    return trained_on if spec.name in FRAME_EXITS else None


def is_model(name: str) -> bool:
    """Whether there is such a network. BadInput for one of timm's that timm, or its absence, denies."""
    if name.startswith(TIMM_PREFIX):
        require_timm(name)
        return True
    return name in MODELS


def _builder(name: str) -> Callable[..., VideoModel]:
    if name.startswith(TIMM_PREFIX):
        return partial(tsn_timm, name=name)
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.0)[0]
        raise BadInput(
            f"model.name: {name!r} is not a model; did you mean {nearest!r}? "
            f"There are {', '.join(MODELS)}, and timm's 2-D networks as {TIMM_PREFIX}<name>"
        )
    return MODELS[name]


def build_model(spec: ModelSpec, *, num_classes: int, num_frames: int | None = None) -> VideoModel:
    """The network that ``spec`` names, on the CPU, in train mode, holding the weights that ``spec.weights`` names.

    num_frames: of the clips it is trained on; only a network with an exit after each frame must know.
    Random weights come from torch's global generator; seed it before. Raises BadInput for a name or weights that do
    not exist or do not fit.
    """
    build = _builder(spec.name)
    if spec.name in FRAME_EXITS:
        assert num_frames is not None, f"{spec.name} has an exit after each frame"
        build = partial(build, num_exits=num_frames, exit_beta=spec.exit_beta)
    model = build(num_classes=num_classes, dropout=spec.dropout)
    if spec.stride is not None and not set_stride(model, spec.stride):
        raise BadInput(
            f"model.stride: {spec.stride} with {spec.name!r}; only 2-D ResNets may have 16 for their own 32; say null"
        )
    if spec.weights in NAMED_WEIGHTS:
        load_named_weights(model, spec.weights, name=spec.name)
    elif spec.weights != "none":
        load_weights_file(model, Path(spec.weights).expanduser(), name=spec.name)
    return model
