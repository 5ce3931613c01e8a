"""Networks by name, and how a ModelSpec becomes one. Names are checked without torch; only building loads it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reskd.errors import BadInput
from reskd.models.backbones.timm_names import PREFIX as TIMM_PREFIX
from reskd.models.backbones.timm_names import require as require_timm
from reskd.normalisation import IMAGENET, KINETICS_MVIT, KINETICS_R3D, Normalisation
from reskd.recipe import NAMED_WEIGHTS, ModelSpec

if TYPE_CHECKING:
    from reskd.models.video_model import VideoModel


@dataclass(frozen=True, slots=True)
class Network:
    """A row of MODELS."""

    build: Callable[..., VideoModel]
    """Called with ``num_classes``, ``dropout`` and the result of `own_options`."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Value of model.weights -> torchvision's name of the file. Only the backbone is taken from it."""
    normalisation: Normalisation = IMAGENET
    """That of its pretrained weights."""
    smoke: str | None = None
    """The network that replaces it in a smoke test; None: itself. A large teacher's differs from a small one's, so that
    tables compare them there too."""
    own_options: Callable[[ModelSpec, int | None], dict[str, Any]] | None = None
    """(spec, number of frames of the training clips) -> further arguments of `build`."""
    classifier_elsewhere: str = ""
    """What torchvision's own classifier reads, where that is not the mean of the last maps; empty: it is."""
    is_bound_by_frames: bool = False
    """Whether it cannot look at longer clips than those it was trained on."""


def _tsn_resnet(**options: Any) -> VideoModel:
    from reskd.models.backbones.tsn import tsn_resnet

    return tsn_resnet(**options)


def _tsn_mobilenet_v2(**options: Any) -> VideoModel:
    from reskd.models.backbones.tsn import tsn_mobilenet_v2

    return tsn_mobilenet_v2(**options)


def _tsn_timm(**options: Any) -> VideoModel:
    from reskd.models.backbones.timm_backbone import tsn_timm

    return tsn_timm(**options)


def _tsm_resnet(**options: Any) -> VideoModel:
    from reskd.models.backbones.tsm import tsm_resnet

    return tsm_resnet(**options)


def _tsm_mobilenet_v2(**options: Any) -> VideoModel:
    from reskd.models.backbones.tsm import tsm_mobilenet_v2

    return tsm_mobilenet_v2(**options)


def _tsn_mini(**options: Any) -> VideoModel:
    from reskd.models.backbones.mini import tsn_mini

    return tsn_mini(**options)


def _slowonly_resnet(**options: Any) -> VideoModel:
    from reskd.models.backbones.slowonly import slowonly_resnet

    return slowonly_resnet(**options)


def _slowonly_mini(**options: Any) -> VideoModel:
    from reskd.models.backbones.mini import slowonly_mini

    return slowonly_mini(**options)


def _swin3d(**options: Any) -> VideoModel:
    from reskd.models.backbones.swin3d import swin3d

    return swin3d(**options)


def _swin3d_mini(**options: Any) -> VideoModel:
    from reskd.models.backbones.mini import swin3d_mini

    return swin3d_mini(**options)


def _video_resnet(**options: Any) -> VideoModel:
    from reskd.models.backbones.r3d import video_resnet

    return video_resnet(**options)


def _video_mvit(**options: Any) -> VideoModel:
    from reskd.models.backbones.mvit import video_mvit

    return video_mvit(**options)


def _frame_exit_resnet(**options: Any) -> VideoModel:
    from reskd.models.backbones.frame_exit import frame_exit_resnet

    return frame_exit_resnet(**options)


def _frame_exit_mini(**options: Any) -> VideoModel:
    from reskd.models.backbones.frame_exit import frame_exit_mini

    return frame_exit_mini(**options)


def _imagenet(network: str) -> dict[str, str]:
    # V1 by name: torchvision's DEFAULT is V2, and the paper's students start from V1.
    return {"imagenet_v1": f"{network}_Weights.IMAGENET1K_V1"}


def _kinetics(network: str) -> dict[str, str]:
    return {"kinetics_v1": f"{network}_Weights.KINETICS400_V1"}


_exits = partial(Network, own_options=ModelSpec.exit_options, is_bound_by_frames=True)

MODELS: dict[str, Network] = {
    "tsn_resnet18": Network(partial(_tsn_resnet, depth=18), _imagenet("ResNet18"), smoke="tsn_resnet18"),
    "tsn_resnet34": Network(partial(_tsn_resnet, depth=34), _imagenet("ResNet34")),
    "tsn_resnet50": Network(partial(_tsn_resnet, depth=50), _imagenet("ResNet50"), smoke="tsn_resnet18"),
    "tsn_resnet101": Network(partial(_tsn_resnet, depth=101), _imagenet("ResNet101"), smoke="tsn_resnet34"),
    "tsn_resnet152": Network(partial(_tsn_resnet, depth=152), _imagenet("ResNet152"), smoke="tsn_resnet34"),
    "tsn_mobilenet_v2": Network(_tsn_mobilenet_v2, _imagenet("MobileNet_V2")),
    "tsm_resnet18": Network(partial(_tsm_resnet, depth=18), _imagenet("ResNet18")),
    "tsm_resnet50": Network(partial(_tsm_resnet, depth=50), _imagenet("ResNet50"), smoke="tsm_resnet18"),
    "tsm_mobilenet_v2": Network(_tsm_mobilenet_v2, _imagenet("MobileNet_V2")),
    "tsn_mini6": Network(partial(_tsn_mini, num_blocks=1, num_stages=2)),
    "tsn_mini10": Network(partial(_tsn_mini, num_blocks=1)),
    "tsn_mini18": Network(partial(_tsn_mini, num_blocks=2), smoke="tsn_mini10"),
    # 2-D weights, inflated.
    "slowonly_resnet18": Network(partial(_slowonly_resnet, depth=18), _imagenet("ResNet18"), smoke="slowonly_mini10"),
    "slowonly_resnet50": Network(partial(_slowonly_resnet, depth=50), _imagenet("ResNet50"), smoke="slowonly_mini10"),
    "slowonly_mini10": Network(partial(_slowonly_mini, num_blocks=1)),
    "swin3d_mini": Network(_swin3d_mini),
    "swin3d_t": Network(partial(_swin3d, size="t"), _imagenet("Swin_T") | _kinetics("Swin3D_T"), smoke="swin3d_mini"),
    "swin3d_s": Network(partial(_swin3d, size="s"), _imagenet("Swin_S") | _kinetics("Swin3D_S"), smoke="swin3d_mini"),
    "swin3d_b": Network(partial(_swin3d, size="b"), _imagenet("Swin_B") | _kinetics("Swin3D_B"), smoke="swin3d_mini"),
    "r3d_18": Network(_video_resnet, _kinetics("R3D_18"), KINETICS_R3D),
    "mvit_v2_s": Network(_video_mvit, _kinetics("MViT_V2_S"), KINETICS_MVIT, classifier_elsewhere="the class token"),
    "frameexit_resnet18": _exits(partial(_frame_exit_resnet, depth=18), _imagenet("ResNet18")),
    "frameexit_resnet50": _exits(
        partial(_frame_exit_resnet, depth=50), _imagenet("ResNet50"), smoke="frameexit_resnet18"
    ),
    "frameexit_mini10": _exits(partial(_frame_exit_mini, num_blocks=1)),
}
"""Name -> facts about the network. timm's networks are not in it."""


def find_network(name: str) -> Network | None:
    """The network with this name (timm's as ``timm:<name>``); None if there is none.

    Raises BadInput for a timm name if timm is missing or does not have it.
    """
    if name.startswith(TIMM_PREFIX):
        known = require_timm(name).get_pretrained_cfg(name.removeprefix(TIMM_PREFIX))
        own = IMAGENET if known is None else Normalisation(tuple(known.mean), tuple(known.std))
        return Network(partial(_tsn_timm, name=name), normalisation=own, smoke="timm:resnet10t")
    return MODELS.get(name)


def is_model(name: str) -> bool:
    """Whether there is such a network. Raises BadInput for a timm name if timm is missing or does not have it."""
    return find_network(name) is not None


def most_frames(spec: ModelSpec, *, trained_on: int) -> int | None:
    """Longest clip, in frames, that a network trained on clips of ``trained_on`` frames can look at; None: no limit."""
    network = MODELS.get(spec.name)
    return trained_on if network is not None and network.is_bound_by_frames else None


def normalisation_of(spec: ModelSpec) -> Normalisation:
    """How the clips of a model are normalised. Raises BadInput for a name that is not a network.

    With pretrained weights, as those were trained, unless model.normalisation says imagenet; else ImageNet's.
    """
    is_own = spec.weights != "none" and spec.normalisation == "own"
    return _known(spec.name).normalisation if is_own else IMAGENET


def _known(name: str) -> Network:
    network = find_network(name)
    if network is None:
        nearest = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.0)[0]
        raise BadInput(
            f"model.name: {name!r} is not a model; did you mean {nearest!r}? "
            f"There are {', '.join(MODELS)}, and timm's 2-D networks as {TIMM_PREFIX}<name>"
        )
    return network


def build_model(spec: ModelSpec, *, num_classes: int, num_frames: int | None = None) -> VideoModel:
    """The network of ``spec`` with the weights that ``spec.weights`` names, on the CPU, in train mode.

    num_frames: frames of the training clips; only networks that are bound by them need it. Random weights come from
    torch's global generator; seed it before. Raises BadInput for a name or weights that do not exist or do not fit.
    """
    from reskd.models.backbones.swin3d import set_drop_path
    from reskd.models.backbones.tsn import set_stride
    from reskd.models.video_model import set_head_std
    from reskd.models.weights import load_named_weights, load_weights_file

    network = _known(spec.name)
    options = {} if network.own_options is None else network.own_options(spec, num_frames)
    model = network.build(num_classes=num_classes, dropout=spec.dropout, **options)
    if spec.stride is not None and not set_stride(model, spec.stride):
        raise BadInput(
            f"model.stride: {spec.stride} with {spec.name!r}; only 2-D ResNets may have 16 instead "
            f"of 32; set it to null"
        )
    if spec.drop_path is not None and not set_drop_path(model, spec.drop_path):
        raise BadInput(
            f"model.drop_path: {spec.drop_path} with {spec.name!r}; only swin3d_* and mvit_v2_s drop paths; "
            "set it to null"
        )
    set_head_std(model, spec.head_std)
    model.normalisation = normalisation_of(spec)
    if spec.weights in NAMED_WEIGHTS:
        load_named_weights(model, spec.weights, file_name=_file_name(spec, network), name=spec.name)
    elif spec.weights != "none":
        load_weights_file(model, Path(spec.weights).expanduser(), name=spec.name)
    return model


def _file_name(spec: ModelSpec, network: Network) -> str:
    """torchvision's name of the weights file for the spec. Raises BadInput if torchvision has none for this network."""
    if spec.weights not in network.weights:
        there = ", ".join(name for name, other in MODELS.items() if spec.weights in other.weights)
        raise BadInput(
            f"model.weights: {spec.weights!r} does not exist for {spec.name!r}; "
            f"it exists for {there}; for this network choose {', '.join([*network.weights, 'none'])} or a file"
        )
    return network.weights[spec.weights]
