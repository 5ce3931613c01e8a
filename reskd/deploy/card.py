"""A trained model that needs nothing else: what it is to be fed, and a network that takes the pixels themselves."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from reskd.checkpoint import load_weights
from reskd.data.transforms import IMAGENET_MEAN, IMAGENET_STD, view
from reskd.errors import BadInput
from reskd.files import Json
from reskd.models.catalogue import build_model
from reskd.models.video_model import VideoModel
from reskd.recipe import ModelSpec

CARD_KEY = "reskd.json"
"""Under this name an exported file holds its card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What a person, or a program, must know to use a model; inside every exported file as JSON."""

    step_id: str
    model: str
    classes: tuple[str, ...]
    """In the order of the logits."""
    num_frames: int
    """Of a clip: the middles of as many equal segments of the video, or with a stride one run of frames."""
    stride: int | None = None
    """From one frame to the next of a clip out of the video's middle (num_frames * stride frames of it); null: the
    frames come from segments."""
    short_side: int
    """Pixels to which a frame's shorter side is resized, antialiased bilinear, before the crop."""
    crop_size: int
    """Pixels of the square centre crop: the input's height and width."""
    resolution: int
    """Pixels of the square that is made from the crop, inside the network: what it sees of a frame."""
    enlarge_to: int | None = None
    """Pixels that those are enlarged to before the first layer; null: they are not."""
    decode: str = "pyav"
    """The backend whose frames it was trained on."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Subtracted from pixels in 0..1, inside the network."""
    std: tuple[float, ...] = IMAGENET_STD
    """Divided by, inside the network."""
    input: str = "clips: uint8 (batch, num_frames, 3, crop_size, crop_size), RGB, 0..255; any batch from 1"
    output: str = "logits: float32 (batch, classes); softmax over the classes gives probabilities"
    recipe: Json | None = field(default=None, hash=False)
    """What decided the training, as the step's identity has it; None where that was not at hand."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)


def card_from_json(text: str, *, source: Path) -> Card:
    """The card inside an exported file; BadInput when it is not one."""
    try:
        value = json.loads(text)
        lists = {name: tuple(value[name]) for name in ("classes", "mean", "std")}
        return Card(**{**value, **lists})
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"{source}: {CARD_KEY} in it is not what `reskd export` writes ({error}); export again"
        ) from error


@dataclass(frozen=True, slots=True)
class Trained:
    """A `weights.pt` made into a model again: on the CPU, in eval mode, in the precision of its weights."""

    model: VideoModel
    spec: ModelSpec
    card: Card


def load_trained(path: Path, *, recipe: Json | None = None) -> Trained:
    """The model of a `weights.pt`; ``recipe``, when it is at hand, goes into the card as it is.

    BadInput when the file is missing, damaged or of an architecture that this version does not build.
    """
    content = load_weights(path)
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
            crop_size=content["crop_size"],
            resolution=spec.resolution,
            enlarge_to=spec.enlarge_to,
            decode=content.get("decode", "pyav"),
            recipe=recipe,
        )
        model = build_model(spec, num_classes=len(classes), num_frames=card.num_frames)
        model.to(next(value.dtype for value in content["model"].values() if value.is_floating_point()))
        model.load_state_dict(content["model"])
    except (KeyError, TypeError, RuntimeError) as error:  # a field that is not there, or tensors of another network
        reason = str(error).partition("\n")[0]
        raise BadInput(f"{path}: does not fit this version of reskd ({reason}); train it again") from error
    return Trained(model.eval(), spec, card)


class PixelNetwork(nn.Module):
    """From the pixels of a crop to logits: normalise, resize to the model's resolution, classify; in float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model = trained.model.float()
        self.spec = trained.spec
        # Buffers, not transforms.normalise: what that keeps between calls would be a constant of the traced graph.
        for name, values in (("mean", trained.card.mean), ("std", trained.card.std)):
            scaled = (torch.tensor(values, dtype=torch.float64) * 255).float()
            self.register_buffer(name, scaled[:, None, None])

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 (B, T, 3, S, S) -> float32 (B, K)."""
        normalised = (clips.float() - self.mean) / self.std
        seen = view(
            normalised,
            resolution=self.spec.resolution,
            antialias=self.spec.antialias,
            enlarge_to=self.spec.enlarge_to,
        )
        logits: Tensor = self.model(seen).clip_logits
        return logits
