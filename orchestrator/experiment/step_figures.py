"""Draws what finished steps look at: sheets of receptive fields and of Grad-CAM, from their weights in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.experiment.load_step import load_finished
from orchestrator.experiment.reevaluate import stored_recipe
from orchestrator.spec.strict import did_you_mean
from orchestrator.store.evaluations import finished_step
from orchestrator.store.store import Store
from reskd.data.annotations import data_root as root_of
from reskd.data.manifest import read_manifest
from reskd.data.model_inputs import ModelInputs
from reskd.deploy.card import Trained
from reskd.deploy.predict import find_videos, read_clip
from reskd.errors import BadInput
from reskd.figures.erf import PLACE, cell_at, effective_receptive_field
from reskd.figures.gradcam import grad_cam
from reskd.figures.sheets import Field, Seen, cam_sheet, field_sheet
from reskd.files import on_disk, write_atomic
from reskd.protocol import counted
from reskd.recipe import Recipe

BATCH = 8
"""Number of clips per batch; their gradients are in memory together."""
ID_LENGTH = 8
"""Characters of a step's id in a file name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The model of a finished step, and its name in a figure."""

    step_id: str
    words: str
    trained: Trained


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedClip:
    """A test crop, uint8 (T, 3, S, S), with its source and, if they are known, its classes."""

    name: str
    pixels: Tensor
    labels: tuple[str, ...] = ()


def open_networks(store: Store, prefixes: Sequence[str]) -> list[Network]:
    """The models of finished steps, named by the first letters of their ids.

    Raises BadInput unless all take the same clips.
    """
    networks = [_open(store, finished_step(store, prefix)) for prefix in dict.fromkeys(prefixes)]
    first = networks[0]
    for other in networks[1:]:
        for name in ("num_frames", "stride", "short_side", "crop_size", "decode", "classes"):
            if getattr(other.trained.card, name) != getattr(first.trained.card, name):
                raise BadInput(
                    f"steps {first.step_id} and {other.step_id} differ in {name}; name steps with the same clips"
                )
    return networks


def named_clips(paths: Sequence[Path], network: Network) -> list[NamedClip]:
    """Clips from video files and from the videos in folders. Raises BadInput for a video that does not decode."""
    return [NamedClip(name=path.name, pixels=_read(path, network)) for path in find_videos(paths)]


def validation_clips(store: Store, network: Network, *, num: int, root: Path | None = None) -> list[NamedClip]:
    """This number of clips of the step's validation split, evenly spaced in its list. root: where the videos are
    now."""
    data = stored_recipe(store, network.step_id).data
    sha256 = (store.identity(network.step_id) or {})["payload"]["manifest_sha256"]
    path = store.local(store.manifest_reference(data.name, sha256))
    if not path.is_file():
        raise BadInput(f"{path}: the manifest of step {network.step_id} is missing; name videos with --videos")
    manifest = read_manifest(path)
    folder = root or root_of(data)
    if not folder.is_dir():
        raise BadInput(f"the videos of {data.name!r} are not here: {folder} is no folder; name it with --data-root")
    num = min(num, len(manifest.val))
    chosen = [manifest.val[(2 * index + 1) * len(manifest.val) // (2 * num)] for index in range(num)]
    return [
        NamedClip(
            name=clip.path,
            pixels=_read(on_disk(folder / clip.path), network),
            labels=tuple(manifest.classes[label] for label in clip.labels),
        )
        for clip in chosen
    ]


def write_fields(
    networks: Sequence[Network], clips: Sequence[NamedClip], folder: Path, *, place: tuple[float, float] = PLACE
) -> list[Path]:
    """Write one sheet with each network's effective receptive field at one place of the frame, averaged over all
    clips."""
    fields = []
    for network in networks:
        with torch.no_grad():
            size = network.trained.model.forward_features(_seen(network, clips[:1])).shape[-2:]
        cell = cell_at(place, size=(size[0], size[1]))
        batches = (_seen(network, clips[first : first + BATCH]) for first in range(0, len(clips), BATCH))
        field = effective_receptive_field(network.trained.model, batches, cell=cell)
        words = f"{network.words}\ncell {cell[0] + 1}, {cell[1] + 1} of {size[0]} x {size[1]}"
        fields.append(Field(words=words, field=field, cell=cell, size=(size[0], size[1])))
    frames = clips[0].pixels
    note = (
        f"Mean size of the gradient of one cell of the last map (white square, row and column from the top left) by "
        f"the pixels of the network's input, over {counted(len(clips), 'clip')} of {counted(len(frames), 'frame')}."
    )
    content = field_sheet(frames[len(frames) // 2], fields, title="Effective receptive field", note=note)
    path = folder / f"erf_{_ids(networks)}.png"
    write_atomic(path, content)
    return [path]


def write_cams(
    networks: Sequence[Network],
    clips: Sequence[NamedClip],
    folder: Path,
    *,
    layer: str | None = None,
    class_name: str | None = None,
) -> list[Path]:
    """Write one sheet per clip: its frames, and the regions that support a class.

    The default class is the one that each network predicts.
    """
    classes = networks[0].trained.card.classes
    if class_name is not None and class_name not in classes:
        raise BadInput(f"--class {class_name!r} is not a class of these steps{did_you_mean(class_name, classes)}")
    asked = None if class_name is None else [classes.index(class_name)]
    paths = []
    for number, clip in enumerate(clips, start=1):
        rows = []
        for network in networks:
            found = grad_cam(network.trained.model, _seen(network, [clip]), layer=layer, classes=asked)
            best = int(found.probabilities[0].argmax())
            says = f"says {classes[best]!r}, {found.probabilities[0, best]:.0%}"
            if asked and asked[0] != best:
                says += f"; {class_name!r}, {found.probabilities[0, asked[0]]:.0%}"
            rows.append(Seen(words=f"{network.words}\n{says}", maps=found.maps[0]))
        truth = f", class {' and '.join(clip.labels)}" if clip.labels else ""
        note = (
            f"Light where {layer or 'the last map'} supports "
            f"{repr(class_name) if class_name else 'the class that the network predicts'}; each row has a scale of its "
            "own, from 0 to its largest value in the clip."
        )
        content = cam_sheet(clip.pixels, rows, title=f"Grad-CAM: {clip.name}{truth}", note=note)
        paths.append(folder / f"gradcam_{_ids(networks)}_{number}.png")
        write_atomic(paths[-1], content)
    return paths


def step_words(recipe: Recipe) -> str:
    """A step in words, such as `tsn_mini10 at 24 px, pixel-level distillation from tsn_mini18 at 64 px, seed 0`."""
    words = [f"{recipe.model.name} at {recipe.model.resolution} px"]
    if isinstance(recipe.teacher, Recipe) and recipe.has_teacher:
        teacher = recipe.teacher.model
        words.append(f"{recipe.kd.level}-level distillation from {teacher.name} at {teacher.resolution} px")
    else:
        words.append(f"{recipe.kd.level}-level distillation" if recipe.has_teacher else "no distillation")
    return ", ".join([*words, f"seed {recipe.seed}"])


def _open(store: Store, step_id: str) -> Network:
    words = f"{step_words(stored_recipe(store, step_id))} ({step_id[:ID_LENGTH]})"
    return Network(step_id=step_id, words=words, trained=load_finished(store, step_id))


def _read(path: Path, network: Network) -> Tensor:
    clip = read_clip(path, card=network.trained.card)
    if isinstance(clip, str):
        raise BadInput(f"{path}: {clip}; name other videos with --videos")
    return clip


def _seen(network: Network, clips: Sequence[NamedClip]) -> Tensor:
    """The clips as the network gets them: (B, T, 3, r, r)."""
    model, spec = network.trained.model, network.trained.spec
    pixels = torch.stack([clip.pixels for clip in clips])
    inputs = ModelInputs(pixels, device=torch.device("cpu"), dtype=next(model.parameters()).dtype)
    return inputs.of(spec, model.normalisation)


def _ids(networks: Sequence[Network]) -> str:
    return "_".join(network.step_id[:ID_LENGTH] for network in networks)
