"""Whole models that were trained elsewhere: every tensor of the network and its classifier, from one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reskd.errors import BadInput
from reskd.files import Json
from reskd.models.catalogue import find_network
from reskd.models.layouts import Layout, Renamed, in_our_names, misfits
from reskd.models.mmaction import Part
from reskd.models.tensor_file import read_tensor_file
from reskd.models.video_model import VideoModel
from reskd.models.weights import trained_normalisation
from reskd.normalisation import IMAGENET, Normalisation
from reskd.recipe import CLASS_ORDER, ModelSpec, Recipe
from reskd.text import composed

BEFORE_TRAINING = ("weights", "normalisation", "head_std")
"""Fields of a model that say how its training began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What a file gave to a model."""

    file: str
    sha256: str
    layout: Layout
    part: Part | None
    normalisation: Normalisation
    num_tensors: int
    knows_classes: bool
    """Whether the file names its classes, so that their order was compared."""

    @property
    def words(self) -> str:
        part = "" if self.part is None else f", the {self.part} of a distillation"
        pixels = "" if self.normalisation == IMAGENET else f", pixels by {self.normalisation}"
        order = "its classes are the data set's, in the same order" if self.knows_classes else CLASS_ORDER
        tensors = f"{self.num_tensors} tensors with the classifier{pixels}"
        return f"{self.file} ({self.layout}'s names{part}): {tensors}; {order}"

    def to_dict(self) -> Json:
        return asdict(self)


def load_imported(model: VideoModel, recipe: Recipe, *, classes: Sequence[str], sha256: str | None = None) -> Imported:
    """Copy the tensors of ``recipe.checkpoint`` into the model that ``recipe.model`` describes.

    sha256: hash of the content that is expected. Raises BadInput for another content, and as `read_imported`.
    """
    state, found = read_imported(recipe, own=model.state_dict(), classes=classes)
    if sha256 not in (None, found.sha256):
        raise BadInput(
            f"{found.file}: its content has changed since the step was planned; run the sweep again, which makes "
            "another step of it"
        )
    model.load_state_dict(state)
    model.normalisation = found.normalisation
    return found


def read_imported(recipe: Recipe, *, own: Mapping[str, Any], classes: Sequence[str]) -> tuple[dict[str, Any], Imported]:
    """Every tensor of the model, from the file ``recipe.checkpoint``, and facts about the file.

    own: the model's state dict, which gives names and shapes, and the buffers that follow from the architecture. Raises
    BadInput if the file is missing or damaged; if any tensor is missing, unexpected or of another shape; if there is no
    classifier, or one of another number of classes; and if a reskd `weights.pt` says another model or other classes.
    """
    assert recipe.checkpoint is not None, "only an imported model has a file"
    path, spec = Path(recipe.checkpoint), recipe.model
    content, sha256 = read_tensor_file(path, field="checkpoint")
    try:
        found = in_our_names(content, name=spec.name, own=own, part=recipe.checkpoint_part)
        if found.layout == "reskd":
            _check_own_words(content, spec, classes)
        _check_classifier(found, spec, classes, own=own)
        state = {
            **found.state,
            **{key: value for key, value in own.items() if key.endswith(".relative_position_index")},
        }
        problems = misfits(state, own)
        if problems:
            raise BadInput(f"it does not fit {spec.name}: {problems}; give the file of this network, or its model.name")
    except BadInput as error:
        raise BadInput(f"{path}: checkpoint: {error}") from error
    facts = Imported(
        file=str(path),
        sha256=sha256,
        layout=found.layout,
        part=recipe.checkpoint_part,
        normalisation=_normalisation(found, content, spec),
        num_tensors=len(found.state),
        knows_classes=found.layout == "reskd" and "classes" in content,
    )
    return {**own, **state}, facts


def _normalisation(found: Renamed, content: Mapping[Any, Any], spec: ModelSpec) -> Normalisation:
    """That of the network's training: as the file says, else as the library that wrote it trains this network."""
    if spec.normalisation == "imagenet":
        return IMAGENET
    if found.layout == "reskd":
        return trained_normalisation(content)
    if found.layout == "mmaction2":
        return found.normalisation or IMAGENET
    network = find_network(spec.name)
    return IMAGENET if network is None else network.normalisation


def _check_own_words(content: Mapping[Any, Any], spec: ModelSpec, classes: Sequence[str]) -> None:
    """Compare what a reskd `weights.pt` says of its model with the recipe; only how it began to train may differ."""
    theirs, ours = dict(content.get("model_spec", {})), asdict(spec)
    for name, value in theirs.items():
        if name not in BEFORE_TRAINING and ours.get(name) != value:
            raise BadInput(f"its model.{name} is {value!r}, and {ours.get(name)!r} here; set model.{name} to its value")
    known = tuple(map(composed, content.get("classes", classes)))
    if len(known) == len(classes) and known != tuple(classes):
        first = next(number for number, pair in enumerate(zip(known, classes, strict=True)) if pair[0] != pair[1])
        raise BadInput(
            f"its class {first} is {known[first]!r}, and {classes[first]!r} in the data set; data.classes orders them"
        )


def _check_classifier(found: Renamed, spec: ModelSpec, classes: Sequence[str], *, own: Mapping[str, Any]) -> None:
    network = find_network(spec.name)
    read = network.classifier_elsewhere if network is not None and found.layout == "torchvision" else ""
    if read or found.behind:
        why = f"reads {read}" if read else f"has {len(found.behind)} tensors before it ({', '.join(found.behind[:3])})"
        raise BadInput(
            f"its classifier {why}, and that of {spec.name} here reads the mean of the last maps; such a file can only "
            "give initial weights: model.weights"
        )
    if "classifier.weight" not in own:
        return  # a network with heads of its own, whose tensors `misfits` compares
    weight = found.state.get("classifier.weight")
    if weight is None:
        of = (
            "the teacher in a distillation's checkpoint may lack it; take its own file, or"
            if found.num_other
            else "use"
        )
        raise BadInput(f"it holds no classifier, so it cannot name classes; {of} the file as model.weights alone")
    num_classes = len(weight) if getattr(weight, "ndim", 0) else 0
    if num_classes != len(classes):
        few = ", ".join(list(classes)[:3]) + (", ..." if len(classes) > 3 else "")
        raise BadInput(
            f"its classifier has {num_classes} classes and the data set {len(classes)} ({few}); give the file of a "
            "model of this data set, or the data set of this file"
        )
