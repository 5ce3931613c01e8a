"""A trained model for use elsewhere: a card that describes its input, and a network that takes raw pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reskd.checkpoint import load_weights
from reskd.data.model_inputs import ModelInputs
from reskd.data.transforms import model_input
from reskd.errors import BadInput, reason_of
from reskd.files import Json, json_value
from reskd.models.catalogue import build_model
from reskd.models.video_model import VideoModel
from reskd.models.weights import trained_normalisation
from reskd.normalisation import IMAGENET
from reskd.recipe import ModelSpec, Resample

CARD_KEY = "reskd.json"
"""The name of the card inside an exported file."""
Logits = Callable[[Tensor], NDArray[np.float32]]
"""uint8 (B, T, 3, S, S) -> (B, K)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """Everything needed to use a model. Every exported file holds it as JSON."""

    step_id: str
    model: str
    classes: tuple[str, ...]
    """Class names in the order of the logits."""
    num_frames: int
    """Frames per clip. Without a stride: the middle frames of equal segments of the video."""
    stride: int | None = None
    """Distance between frames of a dense clip from the video's middle, which spans num_frames * stride frames. null:
    the frames come from segments."""
    short_side: int
    """The shorter side of a frame is resized to this many pixels before the crop, bilinearly as `resample` says."""
    resample: Resample = "antialias"
    """antialias: each pixel is a mean over all pixels that it covers. opencv: of its four neighbours only."""
    short_videos: Literal["loop", "stretch"] = "loop"
    """Frames of a video that has fewer than num_frames. loop: it starts again at its end. stretch: frames are repeated
    in place."""
    crop_size: int
    """Side of the square centre crop in pixels: the input's height and width."""
    resolution: int
    """The network resizes the crop to a square of this many pixels."""
    enlarge_to: int | None = None
    """The network then enlarges that square to this many pixels, before its first layer. null: it does not."""
    decode: str = "pyav"
    """Backend that decoded the training clips."""
    mean: tuple[float, ...] = IMAGENET.mean
    """The network subtracts it from pixels in 0..1."""
    std: tuple[float, ...] = IMAGENET.std
    """The network then divides by it."""
    input: str = "clips: uint8 (batch, num_frames, 3, crop_size, crop_size), RGB, 0..255; any batch from 1"
    output: str = "logits: float32 (batch, classes); softmax over the classes gives probabilities"
    recipe: Json | None = field(default=None, hash=False)
    """The recipe of the training, as in the step's identity; None if unknown."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)


def card_from_json(text: str, *, source: Path) -> Card:
    """Read the card of an exported file. Raises BadInput if the text is no card."""
    way_out = "export again"
    value = json_value(text, where=f"{source}: {CARD_KEY} in it", what="what `reskd export` writes", way_out=way_out)
    try:
        lists = {name: tuple(value[name]) for name in ("classes", "mean", "std")}
        return Card(**{**value, **lists})
    except (ValueError, TypeError, KeyError) as error:
        reason = f"not what `reskd export` writes ({reason_of(error)}); {way_out}"
        raise BadInput(f"{source}: {CARD_KEY} in it: {reason}") from error


class Classifier(Protocol):
    """What predictions need of a model, whatever file it is from."""

    @property
    def card(self) -> Card: ...
    @property
    def logits(self) -> Logits: ...


class Exported(NamedTuple):
    """A model of an exported file, on the CPU."""

    logits: Logits
    card: Card


@dataclass(frozen=True, slots=True)
class Trained:
    """A model loaded from a `weights.pt`: on the CPU, in eval mode, in the precision of its weights."""

    model: VideoModel
    spec: ModelSpec
    card: Card

    def logits(self, clips: Tensor) -> NDArray[np.float32]:
        """Logits (B, K) of uint8 clips (B, T, 3, S, S), computed as in an evaluation, on the CPU."""
        dtype = next(self.model.parameters()).dtype
        with torch.no_grad():
            inputs = ModelInputs(clips, device=torch.device("cpu"), dtype=dtype)
            pixels = inputs.of(self.spec, self.model.normalisation)
            logits: NDArray[np.float32] = self.model(pixels).clip_logits.float().numpy()
        return logits


def load_trained(path: str | Path, *, recipe: Json | None = None) -> Trained:
    """Load the model of a `weights.pt`. ``recipe`` goes into the card unchanged.

    Raises BadInput if the file is missing or damaged, or if this version cannot build its architecture.
    """
    content = load_weights(Path(path))
    classes = tuple(content["classes"])
    try:
        spec = ModelSpec(**{**content["model_spec"], "weights": "none"})
        card = Card(
            step_id=content["step_id"],
            model=spec.name,
            classes=classes,
            num_frames=content["num_frames"],
            stride=content.get("stride"),
            short_side=content["short_side"],
            resample=content.get("resample", "antialias"),
            short_videos=content.get("short_videos", "loop"),
            crop_size=content["crop_size"],
            resolution=spec.resolution,
            enlarge_to=spec.enlarge_to,
            decode=content.get("decode", "pyav"),
            **trained_normalisation(content)._asdict(),
            recipe=recipe,
        )
        model = build_model(spec, num_classes=len(classes), num_frames=card.num_frames)
        model.to(next(value.dtype for value in content["model"].values() if value.is_floating_point()))
        model.load_state_dict(content["model"])
        model.normalisation = trained_normalisation(content)
    except (KeyError, TypeError, RuntimeError) as error:  # a missing field, or tensors of another network
        reason = str(error).partition("\n")[0]
        raise BadInput(f"{path}: does not fit this version of reskd ({reason}); train it again") from error
    return Trained(model.eval(), spec, card)


class PixelNetwork(nn.Module):
    """Takes the pixels of a crop and returns logits: normalise, resize to the model's resolution, classify. float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model = trained.model.float()
        self.spec = trained.spec
        # Buffers instead of transforms.normalise: its cached tensors would become constants of the traced graph.
        for name, values in (("mean", trained.card.mean), ("std", trained.card.std)):
            scaled = (torch.tensor(values, dtype=torch.float64) * 255).float()
            self.register_buffer(name, scaled[:, None, None])

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 (B, T, 3, S, S) -> float32 logits (B, K)."""
        normalised = (clips.float() - self.mean) / self.std
        seen = model_input(
            normalised,
            resolution=self.spec.resolution,
            antialias=self.spec.antialias,
            enlarge_to=self.spec.enlarge_to,
        )
        logits: Tensor = self.model(seen).clip_logits
        return logits
