"""Initial weights: torchvision's ImageNet and Kinetics files, or a file of the user."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torchvision.models import get_weight

from reskd.errors import BadInput
from reskd.models.backbones.inflate import inflated_state
from reskd.models.backbones.inflate_swin import in_3d_names, is_flat_swin
from reskd.models.layouts import Layout, in_our_names, misfits, shapes
from reskd.models.tensor_file import read_tensor_file
from reskd.models.video_model import VideoModel
from reskd.normalisation import IMAGENET, Normalisation
from reskd.recipe import NAMED_WEIGHTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What a file gave to a model. All unused tensors are counted here."""

    source: str
    layout: Layout
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
    return _load_content(model, state, name=name, source=str(cached))


def load_weights_file(model: VideoModel, path: Path, *, name: str) -> Loaded:
    """Fill the model ``name`` from a file on this machine. The file holds one of:

    - torchvision's state dict: the backbone is loaded (a 2-D one is inflated for a 3-D model), the classifier ignored;
    - a dict whose "model" is a VideoModel's state dict;
    - a checkpoint of mmaction2, alone or under "state_dict". Of a distillation's two networks, the student is taken.

    From the last two, the classifier is loaded too if the number of classes is equal; otherwise it is not changed.
    Raises BadInput if the file is missing or of another kind, or if any backbone tensor is missing, unexpected or of
    another shape.
    """
    if not path.is_file():
        names = ", ".join(map(repr, ["none", *NAMED_WEIGHTS]))
        raise BadInput(f"model.weights: {str(path)!r} is no file here; give an existing file or one of {names}")
    content, _ = read_tensor_file(path, field="model.weights")
    loaded = _load_content(model, content, name=name, source=str(path))
    logger.info("%s", loaded.words)
    return loaded


def _load_content(model: VideoModel, content: Mapping[Any, Any], *, name: str, source: str) -> Loaded:
    """Load the content according to its tensor names; the classifier of a network of images is left out."""
    own = model.state_dict()
    try:
        found = in_our_names(content, name=name, own=own, part_of_two="student")
    except BadInput as error:
        raise BadInput(f"{source}: model.weights: {error}") from error
    theirs = trained_normalisation(content) if "model_spec" in content else found.normalisation
    if theirs not in (None, model.normalisation):
        raise BadInput(
            f"{source}: model.weights: its network takes pixels with {theirs}, and {name} gets {model.normalisation}; "
            "give weights that were trained with the latter, or set model.normalisation to imagenet if the former are "
            "ImageNet's"
        )
    ours, num_head = found.state, len(found.behind)
    if found.layout in ("torchvision", "timm", "Swin"):
        ours = {key: value for key, value in ours.items() if key.startswith("backbone.")}
        num_head += len(found.state) - len(ours)
    if is_flat_swin(ours, like=own):
        ours = in_3d_names(ours, like=own)
    if found.layout != "reskd":
        ours = inflated_state(ours, like=own)
    loaded = Loaded(
        source=source,
        layout=found.layout,
        num_backbone=0,
        has_head=False,
        num_head=num_head,
        num_teacher=found.num_other,
    )
    return _load(model, ours, loaded, name=name)


def _load(model: VideoModel, state: dict[str, Any], found: Loaded, *, name: str) -> Loaded:
    """Copy ``state`` into the model. If anything does not fit, copy nothing and raise BadInput with all of it."""
    own = model.state_dict()
    own_head = {key: value for key, value in own.items() if not key.startswith("backbone.")}
    head = {key: state.pop(key) for key in list(state) if key.startswith("classifier.") or key in own_head}
    backbone = {key: value for key, value in own.items() if key.startswith("backbone.")}
    problems = misfits(state, backbone)
    if problems:
        raise BadInput(
            f"{found.source}: model.weights does not fit {name}: {problems}; "
            "give a file of the same backbone or another model.name"
        )
    num_backbone, has_head = len(state), bool(head) and shapes(head).items() <= shapes(own_head).items()
    model.load_state_dict({**own, **state, **(head if has_head else {})})
    return replace(
        found,
        num_backbone=num_backbone,
        has_head=has_head,
        num_head=found.num_head + (0 if has_head else len(head)),
    )
