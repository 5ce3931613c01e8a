"""Evaluates trained models under another protocol, from their weights files. Nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reskd.checkpoint import Sink
from reskd.data.damage import DamageLog, LostClips
from reskd.data.dataset import VideoDataset
from reskd.data.manifest import Manifest
from reskd.distill.teacher import load_teacher
from reskd.errors import BadInput, ReskdError
from reskd.evaluation.clip_logits import ClipLogits, Judged, collect_logits
from reskd.evaluation.record import evaluation_metrics, evaluation_record, versions
from reskd.files import Json
from reskd.protocol import Protocol
from reskd.recipe import Recipe
from reskd.runtime.device import device_name
from reskd.runtime.precision import autocast_dtype, dtype_of, tf32
from reskd.runtime.workers import Workers

PassKey = tuple[object, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A finished step: its recipe, and the weights files of the step and of its teacher."""

    step_id: str
    recipe: Recipe
    weights: Path
    teacher: Path | None = None
    """The teacher's weights, to compute the agreement with it; None: no agreement."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One step under the new protocol: its evaluation record and the arrays behind it."""

    record: Json
    arrays: dict[str, np.ndarray]


def pass_key(recipe: Recipe, *, protocol: Protocol) -> PassKey:
    """Steps with equal keys can be evaluated in one pass, with the same decoded clips and precision."""
    data = recipe.data
    read = (
        data.root,
        data.annotations,
        data.train,
        data.val,
        data.classes,
        data.decode,
        data.short_side,
        data.crop_size,
    )
    return (*read, data.max_damaged, protocol, recipe.precision, recipe.optim.group_size)


def judge_again(
    steps: Sequence[Finished],
    *,
    protocol: Protocol,
    manifest: Manifest,
    root: Path,
    device: torch.device,
    loader_workers: int = 0,
    on_group: Callable[[int], None] | None = None,
    sink: Sink | None = None,
) -> dict[str, Judgement]:
    """Evaluate steps with the same `pass_key` in one pass over the split. Returns step id -> judgement.

    sink remembers clips at which the decoder crashes or hangs; nothing else is written to it. on_group gets the number
    of clips done so far. Raises BadInput for a weights file that is missing, damaged or of other classes,
    TooManyDamaged with the list of clips, and ReskdError if logits are not finite.
    """
    recipe, workers = steps[0].recipe, Workers(device=device)
    dataset = VideoDataset(
        manifest.val,
        root=root,
        spec=recipe.data,
        num_classes=len(manifest.classes),
        split="val",
        data_seed=recipe.data_seed,
        num_missing=manifest.num_missing("val"),
    ).judged_by(protocol)
    if sink is not None:
        LostClips([dataset], sink=sink, workers=workers).begin()
    paths = dict.fromkeys(path for step in steps for path in (step.weights, step.teacher) if path is not None)
    models = {str(path): _load(path, dataset, manifest=manifest, recipe=recipe, device=device) for path in paths}
    with tf32(allowed=recipe.precision == "tf32"):  # as in training
        clips = collect_logits(
            models,
            dataset,
            workers=workers,
            batch_size=recipe.optim.group_size,
            dtype=dtype_of(recipe),
            autocast=autocast_dtype(recipe),
            loader_workers=loader_workers,
            on_group=on_group,
        )
    damage = DamageLog(limit=recipe.data.max_damaged, num_clips={"val": len(dataset)}, workers=workers)
    damage.share("val", clips.damaged)
    if len(clips.indices) == 0:
        raise BadInput(f"{root}: no clip of {recipe.data.val} decodes, so there is nothing to evaluate")
    facts = {"evaluated_ms": int(time.time() * 1000), "device": device_name(device), "versions": versions()}
    return {step.step_id: _judgement(step, clips, dataset, protocol=protocol, facts=facts) for step in steps}


def _load(path: Path, dataset: VideoDataset, *, manifest: Manifest, recipe: Recipe, device: torch.device) -> Judged:
    frozen = load_teacher(path, classes=manifest.classes, mode="eval", device=device, dtype=dtype_of(recipe))
    return Judged(frozen.model, frozen.spec.at_crop(dataset.spec.crop_size, trained_at=recipe.data.crop_size))


def _judgement(
    step: Finished, clips: ClipLogits, dataset: VideoDataset, *, protocol: Protocol, facts: Mapping
) -> Judgement:
    name = str(step.weights)
    taught_by = clips.logits[str(step.teacher)] if step.teacher is not None else None
    metrics = evaluation_metrics(clips, name, teacher_logits=taught_by)
    if metrics is None:
        raise ReskdError(f"step {step.step_id}: its logits are not finite under {protocol.name}; nothing was written")
    record = evaluation_record(clips, dataset, protocol=protocol, metrics=metrics)
    return Judgement({**record, "average": "prob", **facts}, clips.arrays(name))
