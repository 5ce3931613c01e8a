"""Initial weights: torchvision's ImageNet and Kinetics files, or a file that a person names."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import (
    MobileNet_V2_Weights,
    ResNet18_Weights,
    ResNet34_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    ResNet152_Weights,
    WeightsEnum,
)
from torchvision.models.video import (
    MViT_V2_S_Weights,
    R3D_18_Weights,
    Swin3D_B_Weights,
    Swin3D_S_Weights,
    Swin3D_T_Weights,
)

from reskd.errors import BadInput
from reskd.models.inflate import inflated_state
from reskd.models.video_model import VideoModel

logger = logging.getLogger(__name__)

# V1 by name: torchvision's DEFAULT is V2, and the paper's students start from V1.
IMAGENET_V1: dict[str, WeightsEnum] = {
    "tsn_resnet18": ResNet18_Weights.IMAGENET1K_V1,
    "tsn_resnet34": ResNet34_Weights.IMAGENET1K_V1,
    "tsn_resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "tsn_resnet101": ResNet101_Weights.IMAGENET1K_V1,
    "tsn_resnet152": ResNet152_Weights.IMAGENET1K_V1,
    "tsn_mobilenet_v2": MobileNet_V2_Weights.IMAGENET1K_V1,
    "slowonly_resnet18": ResNet18_Weights.IMAGENET1K_V1,  # 2-D weights, inflated
    "slowonly_resnet50": ResNet50_Weights.IMAGENET1K_V1,
}

KINETICS_V1: dict[str, WeightsEnum] = {
    "swin3d_t": Swin3D_T_Weights.KINETICS400_V1,
    "swin3d_s": Swin3D_S_Weights.KINETICS400_V1,
    "swin3d_b": Swin3D_B_Weights.KINETICS400_V1,
    "r3d_18": R3D_18_Weights.KINETICS400_V1,
    "mvit_v2_s": MViT_V2_S_Weights.KINETICS400_V1,
}

NAMED_WEIGHTS = {"imagenet_v1": IMAGENET_V1, "kinetics_v1": KINETICS_V1}
"""Value of model.weights -> model -> torchvision's file for it; only the backbone is taken from it."""

CLASSIFIERS = ("fc.", "classifier.", "head.")
"""What torchvision calls its classifier: of a ResNet, of a MobileNet, of a transformer."""

NUM_NAMED = 5
"""Tensors that an error names in each of its lists; the rest is counted."""


def load_named_weights(model: VideoModel, weights: str, *, name: str) -> None:
    """Fill the backbone of the model called ``name`` from torchvision's file, downloaded once and cached.

    Raises BadInput where torchvision has no such file for the model, and where the file can neither be found
    in torch's cache nor be fetched.
    """
    files = NAMED_WEIGHTS[weights]
    if name not in files:
        others = [other for other, theirs in NAMED_WEIGHTS.items() if name in theirs]
        raise BadInput(
            f"model.weights: {weights!r} does not exist for {name!r}; "
            f"it does for {', '.join(files)}; otherwise say {', '.join([*others, 'none'])} or a file"
        )
    file = files[name]
    cached = Path(torch.hub.get_dir(), "checkpoints", file.url.rpartition("/")[2])
    try:
        state = file.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # no network, a proxy's answer, a wrong hash, a torn file: one way out for all
        raise BadInput(
            f"model.weights: {weights!r}: {file.url} could not be fetched or read ({error}); "
            f"put that file at {cached} (TORCH_HOME moves the folder; a torn file there must go first), "
            "or give its path as model.weights"
        ) from error
    _load(model, _from_torchvision(state, model), name=name, source=str(cached))


def load_weights_file(model: VideoModel, path: Path, *, name: str) -> None:
    """Fill the model called ``name`` from a file on this machine.

    The file holds either torchvision's plain state dict (then the backbone is loaded, a 2-D one inflated for a 3-D
    model, and its classifier ignored), or a dict whose "model" is a VideoModel's state dict (then the classifier is
    loaded too, where the number of classes is the same; otherwise it stays as it is). Raises BadInput where the file
    is missing or not such a file, and where any backbone tensor is missing, unexpected or of another shape.
    """
    if not path.is_file():
        names = ", ".join(map(repr, ["none", *NAMED_WEIGHTS]))
        raise BadInput(f"model.weights: {str(path)!r} is no file here; give an existing file or one of {names}")
    data = io.BytesIO(path.read_bytes())  # read first: an error of the file system stays the OSError it is
    try:
        content = torch.load(data, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch.load raises on a torn or foreign file has no common type
        reason = str(error).partition("\n")[0]
        raise BadInput(
            f"{path}: model.weights: torch.load(weights_only=True) does not read it ({reason}); "
            "give a file of tensors that torch.save wrote"
        ) from error
    if not isinstance(content, Mapping):
        raise BadInput(
            f"{path}: model.weights: holds a {type(content).__name__}, not a state dict; give a file of one, "
            "or of a dict with the state dict under 'model'"
        )
    inner = content.get("model")
    if isinstance(inner, Mapping):
        state = {str(key): value for key, value in inner.items()}
    else:
        state = _from_torchvision(content, model)
    _load(model, state, name=name, source=str(path))


def _from_torchvision(state: Mapping[str, Any], model: VideoModel) -> dict[str, Any]:
    """Torchvision's names -> ours, without its classifier; 2-D filters inflated where the model's are 3-D."""
    ours = {f"backbone.{key}": value for key, value in state.items() if not str(key).startswith(CLASSIFIERS)}
    return inflated_state(ours, like=model.state_dict())


def _load(model: VideoModel, state: dict[str, Any], *, name: str, source: str) -> None:
    """Copy ``state`` into the model, or copy nothing and raise BadInput with everything that does not fit."""
    own = model.state_dict()
    head = {key: state.pop(key) for key in list(state) if key.startswith("classifier.")}
    backbone = {key: value for key, value in own.items() if key.startswith("backbone.")}
    # Files older than torch 0.4.1 have no such counter; with a fixed momentum nothing ever reads it.
    required = [key for key in backbone if not key.endswith(".num_batches_tracked")]
    missing = [key for key in required if key not in state]
    unexpected = [key for key in state if key not in backbone]
    misshapen = [
        f"{key} {_shape(state[key])} for {_shape(value)}"
        for key, value in backbone.items()
        if key in state and _shape(state[key]) != _shape(value)
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(map(str, keys[:NUM_NAMED]))}{', ...' if len(keys) > NUM_NAMED else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if problems:
        raise BadInput(
            f"{source}: model.weights does not fit {name}: {'; '.join(problems)}; "
            "give a file of the same backbone or another model.name"
        )
    if _shapes(head) == _shapes({key: value for key, value in own.items() if key.startswith("classifier.")}):
        state |= head
    else:
        logger.info("%s: classifier not loaded; this model has %d classes", source, model.num_classes)
    model.load_state_dict({**own, **state})


def _shapes(state: Mapping[str, Any]) -> dict[str, object]:
    return {key: _shape(value) for key, value in state.items()}


def _shape(value: object) -> object:
    """A tensor's shape; of anything else its type's name, which equals no shape."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
