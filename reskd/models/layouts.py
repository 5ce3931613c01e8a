"""Brings the tensors of a file under our names, whichever library wrote it; the classifier's too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from reskd.models.backbones.inflate_swin import in_torchvisions_names, is_swins_own
from reskd.models.backbones.timm_backbone import from_timm
from reskd.models.backbones.timm_names import PREFIX
from reskd.models.mmaction import Part, from_mmaction, is_mmaction, normalisation_in, one_network
from reskd.normalisation import Normalisation

Layout = Literal["reskd", "torchvision", "timm", "mmaction2", "Swin"]

TORCHVISION_CLASSIFIER = re.compile(r"(?:fc|classifier\.1|head|head\.1)\.(weight|bias)")
"""The classifier of a ResNet, of a MobileNet, of a Swin, and of an MViT."""
TORCHVISION_HEADS = ("fc.", "classifier.", "head.")
"""Prefixes of everything behind torchvision's last maps."""
NUM_NAMED = 5
"""Each list in an error names at most this many tensors, and counts the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed:
    """A file's tensors under our names."""

    layout: Layout
    state: dict[str, Any]
    """The backbone as ``backbone.*`` and the classifier as ``classifier.*``. What fits no rule keeps a name that no
    model has, so that it is reported as unexpected."""
    behind: tuple[str, ...] = ()
    """Names, in the file, of tensors between the last map and the classifier, which our network does not have."""
    normalisation: Normalisation | None = None
    """What the file says that its network does to pixels; None: nothing."""
    num_other: int = 0
    """Number of tensors of the other network in a distillation's checkpoint, which are left out."""


def in_our_names(
    content: Mapping[Any, Any],
    *,
    name: str,
    own: Mapping[str, Any],
    part: Part | None = None,
    part_of_two: Part | None = None,
) -> Renamed:
    """The tensors of a file for the model ``name``, whose state dict is ``own``.

    The state dict may be the content itself, or lie under "model" or "state_dict". part, part_of_two: see
    `one_network`, whose BadInput is raised.
    """
    inner = content.get("model")
    if isinstance(inner, Mapping) and _is_ours(inner):
        return Renamed(layout="reskd", state=_text_keys(inner))
    outer = inner if isinstance(inner, Mapping) else content.get("state_dict")
    state = _text_keys(outer if isinstance(outer, Mapping) else content)
    if state and all(key.startswith("module.") for key in state):  # torch's DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if is_mmaction(state):
        chosen, num_other = one_network(state, part=part, part_of_two=part_of_two)
        return Renamed(
            layout="mmaction2",
            state=from_mmaction(chosen, own=own),
            normalisation=normalisation_in(state),
            num_other=num_other,
        )
    if name.startswith(PREFIX):
        ours, behind = from_timm(state, name=name, own=own)
        return Renamed(layout="timm", state=ours, behind=tuple(behind))
    layout: Layout = "torchvision"
    if is_swins_own(state):
        layout, state = "Swin", in_torchvisions_names(state)
    return Renamed(layout=layout, state={_from_torchvision(key): value for key, value in state.items()})


def _is_ours(state: Mapping[Any, Any]) -> bool:
    return not state or any(str(key).startswith("backbone.") for key in state)


def _text_keys(state: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in state.items()}


def _from_torchvision(key: str) -> str:
    classifier = TORCHVISION_CLASSIFIER.fullmatch(key)
    if classifier:
        return f"classifier.{classifier[1]}"
    return key if key.startswith(TORCHVISION_HEADS) else f"backbone.{key}"


def misfits(state: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """What is wrong with tensors for a model, or a part of it, that has the tensors ``own``; empty if nothing is."""
    # Files older than torch 0.4.1 have no such counter; with a fixed momentum nothing ever reads it.
    required = [key for key in own if not key.endswith(".num_batches_tracked")]
    ours, theirs = shapes(own), shapes(state)
    missing = [key for key in required if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [f"{key} {theirs[key]} for {ours[key]}" for key in own if key in state and theirs[key] != ours[key]]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
    return "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:NUM_NAMED])}{', ...' if len(keys) > NUM_NAMED else ''})"
        for what, keys in kinds
        if keys
    )


def shapes(state: Mapping[str, Any]) -> dict[str, object]:
    """Name -> a tensor's shape; for anything else the name of its type, which equals no shape."""
    return {
        key: tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__ for key, value in state.items()
    }
