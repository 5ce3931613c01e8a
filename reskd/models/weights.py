"""Initial weights: torchvision's ImageNet and Kinetics files, or a file of the user."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.models import get_weight

from reskd.errors import BadInput
from reskd.models.backbones.inflate import inflated_state
from reskd.models.backbones.inflate_swin import in_3d_names, is_flat_swin
from reskd.models.backbones.timm_backbone import from_timm
from reskd.models.backbones.timm_names import PREFIX
from reskd.models.mmaction import from_mmaction, is_mmaction
from reskd.models.video_model import VideoModel
from reskd.normalisation import IMAGENET, Normalisation
from reskd.recipe import NAMED_WEIGHTS

logger = logging.getLogger(__name__)

CLASSIFIERS = ("fc.", "classifier.", "head.")
"""Prefixes of torchvision's classifiers: of a ResNet, a MobileNet, and a transformer."""

NUM_NAMED = 5
"""Each list in an error names at most this many tensors, and counts the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What a file gave to a model. All unused tensors are counted here."""

    source: str
    layout: Literal["reskd", "torchvision", "timm", "mmaction2"]
    num_backbone: int
    """Number of loaded backbone tensors: all that the model has (with an old file: all except batch norm's
    counters)."""
    has_head: bool
    """Whether classifiers were loaded; False if the file has none, or has other classes."""
    num_head: int = 0
    """Number of tensors of another model's head, which were left out."""
    num_teacher: int = 0
    """Number of tensors of a distillation's teacher, which were left out."""

    @property
    def words(self) -> str:
        head = "its classifier" if self.has_head else "no classifier"
        left_out = [
            f"{number} tensors of {what}"
            for number, what in (
                (self.num_head, "a head that is not this model's"),
                (self.num_teacher, "the teacher"),
            )
            if number
        ]
        return (
            f"{self.source} ({self.layout}'s names): {self.num_backbone} tensors of the backbone and {head} loaded"
            + (f"; left out: {', '.join(left_out)}" if left_out else "")
        )


def trained_normalisation(content: Mapping[str, Any]) -> Normalisation:
    """The normalisation that the network of a `weights.pt` was trained with; in older files ImageNet's."""
    known = content.get("normalisation")
    return IMAGENET if known is None else Normalisation(*(tuple(values) for values in known))


def load_named_weights(model: VideoModel, weights: str, *, file_name: str, name: str) -> Loaded:
    """Fill the backbone of the model ``name`` from torchvision's file, which is downloaded once and cached.

    file_name: torchvision's name of the file, such as ResNet18_Weights.IMAGENET1K_V1. Raises BadInput if the file is
    neither in torch's cache nor can be downloaded.
    """
    file = get_weight(file_name)
    cached = Path(torch.hub.get_dir(), "checkpoints", file.url.rpartition("/")[2])
    try:
        state = file.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # no internet, a wrong hash, an incomplete file: the way out is the same
        raise BadInput(
            f"model.weights: {weights!r}: {file.url} could not be fetched or read ({error}); "
            f"put that file at {cached} (TORCH_HOME moves the folder; delete an incomplete file there first), "
            "or give its path as model.weights"
        ) from error
    return _from_torchvision(model, state, name=name, source=str(cached))


def load_weights_file(model: VideoModel, path: Path, *, name: str) -> Loaded:
    """Fill the model ``name`` from a file on this machine. The file holds one of:

    - torchvision's state dict: the backbone is loaded (a 2-D one is inflated for a 3-D model), the classifier ignored;
    - a dict whose "model" is a VideoModel's state dict;
    - a checkpoint of mmaction2, alone or under "state_dict".

    From the last two, the classifier is loaded too if the number of classes is equal; otherwise it is not changed.
    Raises BadInput if the file is missing or of another kind, or if any backbone tensor is missing, unexpected or of
    another shape.
    """
    if not path.is_file():
        names = ", ".join(map(repr, ["none", *NAMED_WEIGHTS]))
        raise BadInput(f"model.weights: {str(path)!r} is no file here; give an existing file or one of {names}")
    data = io.BytesIO(path.read_bytes())  # read first, so that a file-system error stays an OSError
    try:
        content = torch.load(data, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load's errors for damaged or foreign files have no common type
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
    loaded = _load_content(model, content, name=name, source=str(path))
    logger.info("%s", loaded.words)
    return loaded


def _load_content(model: VideoModel, content: Mapping[Any, Any], *, name: str, source: str) -> Loaded:
    """Load the content according to its tensor names."""
    inner = content.get("model")
    if isinstance(inner, Mapping):
        state = {str(key): value for key, value in inner.items()}
        return _load(model, state, Loaded(source=source, layout="reskd", num_backbone=0, has_head=False), name=name)
    inner = content.get("state_dict")
    state = {str(key): value for key, value in (inner if isinstance(inner, Mapping) else content).items()}
    if not is_mmaction(state):
        return _from_torchvision(model, state, name=name, source=source)
    own = model.state_dict()
    ours, teacher = from_mmaction(state, own=own)
    found = Loaded(source=source, layout="mmaction2", num_backbone=0, has_head=False, num_teacher=len(teacher))
    return _load(model, inflated_state(ours, like=own), found, name=name)


def _from_torchvision(model: VideoModel, state: Mapping[str, Any], *, name: str, source: str) -> Loaded:
    """torchvision's (or timm's) names -> ours, without the classifier; 2-D filters are inflated for a 3-D model."""
    if name.startswith(PREFIX):
        ours, num_head = from_timm(state, name=name, own=model.state_dict())
        found = Loaded(source=source, layout="timm", num_backbone=0, has_head=False, num_head=num_head)
        return _load(model, ours, found, name=name)
    own = model.state_dict()
    ours = {f"backbone.{key}": value for key, value in state.items() if not key.startswith(CLASSIFIERS)}
    num_head = len(state) - len(ours)
    if is_flat_swin(ours, like=own):
        ours = in_3d_names(ours, like=own)
    found = Loaded(
        source=source,
        layout="torchvision",
        num_backbone=0,
        has_head=False,
        num_head=num_head,
    )
    return _load(model, inflated_state(ours, like=own), found, name=name)


def _load(model: VideoModel, state: dict[str, Any], found: Loaded, *, name: str) -> Loaded:
    """Copy ``state`` into the model. If anything does not fit, copy nothing and raise BadInput with all of it."""
    own = model.state_dict()
    own_head = {key: value for key, value in own.items() if not key.startswith("backbone.")}
    head = {key: state.pop(key) for key in list(state) if key.startswith("classifier.") or key in own_head}
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
            f"{found.source}: model.weights does not fit {name}: {'; '.join(problems)}; "
            "give a file of the same backbone or another model.name"
        )
    num_backbone, has_head = len(state), bool(head) and _shapes(head).items() <= _shapes(own_head).items()
    model.load_state_dict({**own, **state, **(head if has_head else {})})
    return replace(
        found,
        num_backbone=num_backbone,
        has_head=has_head,
        num_head=found.num_head + (0 if has_head else len(head)),
    )


def _shapes(state: Mapping[str, Any]) -> dict[str, object]:
    return {key: _shape(value) for key, value in state.items()}


def _shape(value: object) -> object:
    """A tensor's shape; for anything else the name of its type, which equals no shape."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
