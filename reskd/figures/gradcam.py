"""Grad-CAM: the regions of a frame that support a class.

Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: visual explanations from deep networks via
gradient-based localization", ICCV 2017. It is the sum of a layer's maps, weighted by the mean gradient of the class's
logit, with negative values set to zero.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reskd.errors import BadInput
from reskd.models.video_model import VideoModel, evaluating


class GradCam(NamedTuple):
    """The result for B clips with T' maps each."""

    maps: Tensor
    """(B, T', h, w), at least 0, not normalised."""
    classes: Tensor
    """(B,) int64: the class of each clip's maps."""
    probabilities: Tensor
    """(B, K): the model's softmax output."""


def grad_cam(
    model: VideoModel, clips: Tensor, *, layer: str | None = None, classes: Sequence[int] | None = None
) -> GradCam:
    """Grad-CAM of normalised clips (B, T, 3, r, r).

    layer: dotted name of a module with output (B * T', C, h, w), (B, C, T', h, w) or (B, T', h, w, C). None: the last
    map, the input of the head. classes: one per clip. None: the predicted class. Each map has its own channel weights,
    the mean gradient over its cells, also in a 3-D network. The model runs in eval mode and then returns to its former
    mode. Raises BadInput for a layer or class that does not fit.
    """
    with evaluating(model), torch.enable_grad():
        # The pixels require gradients, so that a frozen model has gradients too.
        seen, logits = _forward(model, clips.detach().clone().requires_grad_(), layer)
        chosen = _chosen(logits, classes)
        score = logits.gather(1, chosen[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, seen, allow_unused=True)
    if gradient is None:
        raise BadInput(f"layer {layer!r} has no effect on the clip's logits; name one that has")
    activation, gradient = _frames_first(seen.detach()), _frames_first(gradient)  # (B * T', C, h, w)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    maps = (weights * activation).sum(dim=1).relu()
    return GradCam(maps.unflatten(0, (len(clips), -1)), chosen, logits.detach().softmax(dim=1))


def _forward(model: VideoModel, clips: Tensor, layer: str | None) -> tuple[Tensor, Tensor]:
    """The layer's output, and the logits (B, K) computed from it."""
    if layer is None:
        features = model.forward_features(clips)
        return features, model.forward_head(features, num_frames=clips.shape[1])[1]
    kept: list[Any] = []

    def keep(_module: nn.Module, _inputs: object, output: Any) -> Any:
        kept.append(output)
        # A later in-place ReLU would overwrite the kept tensor.
        return output.clone() if isinstance(output, Tensor) else output

    handle = _module(model, layer).register_forward_hook(keep)
    try:
        logits = model(clips).clip_logits
    finally:
        handle.remove()
    if len(kept) != 1 or not isinstance(kept[0], Tensor) or kept[0].dim() not in (4, 5):
        raise BadInput(f"layer {layer!r} gives {_said(kept)}, no maps; name a convolution, a block or a stage")
    return kept[0], logits


def _module(model: nn.Module, name: str) -> nn.Module:
    names = [found for found, _ in model.named_modules() if found]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3) or [found for found in names if found.count(".") < 2]
        raise BadInput(f"layer {name!r} is not in the model; there are {', '.join(near[:12])}")
    return model.get_submodule(name)


def _chosen(logits: Tensor, classes: Sequence[int] | None) -> Tensor:
    if classes is None:
        return logits.argmax(dim=1)
    num_clips, num_classes = logits.shape
    if len(classes) != num_clips or not all(0 <= number < num_classes for number in classes):
        raise BadInput(f"classes {list(classes)}: must be {num_clips}, one a clip, each from 0 to {num_classes - 1}")
    return torch.tensor(classes, device=logits.device)


def _frames_first(maps: Tensor) -> Tensor:
    """(B, C, T', h, w), or Swin's (B, T', h, w, C), -> (B * T', C, h, w). A 4-D tensor is returned unchanged."""
    if maps.dim() == 4:
        return maps
    # Frames are square. So if dimensions 2 and 3 are equal and the last differs, the channels are last.
    if maps.shape[2] == maps.shape[3] != maps.shape[4]:
        maps = maps.permute(0, 4, 1, 2, 3)
    return maps.transpose(1, 2).flatten(0, 1)


def _said(kept: Sequence[Any]) -> str:
    if len(kept) != 1:
        return f"{len(kept)} outputs a clip"
    return f"a tensor of shape {tuple(kept[0].shape)}" if isinstance(kept[0], Tensor) else type(kept[0]).__name__
