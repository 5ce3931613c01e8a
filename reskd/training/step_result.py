"""What a finished step says of itself: the trained model alone, and its DONE record."""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import torch

from reskd.checkpoint import state_hash
from reskd.cost.gmacs import complexity, mean_complexity
from reskd.evaluation.clip_logits import Protocol
from reskd.evaluation.record import versions
from reskd.files import Json
from reskd.runtime.device import device_name
from reskd.training.member import Member


def weights_content(member: Member, *, classes: tuple[str, ...]) -> Json:
    """A model that needs nothing else to be used: weights, architecture, classes, frames and view."""
    data = member.recipe.data
    return {
        "model": {name: value.detach().cpu().clone() for name, value in member.model.state_dict().items()},
        "model_spec": asdict(member.recipe.model),
        "classes": list(classes),
        "num_frames": data.num_frames,
        "stride": data.stride,
        "short_side": data.short_side,
        "crop_size": data.crop_size,
        "decode": data.decode,
        "step_id": member.step_id,
    }


def done_record(
    member: Member,
    *,
    protocol: Protocol,
    metrics: Mapping[str, float],
    frames_used: np.ndarray | None,
    damaged: list[list[str]],
    num_workers: int,
    facts: Json,
) -> Json:
    """The last file of a step; `facts` are times, the code's commit and whatever else the caller knows.

    frames_used: of each clip of the evaluation, where the model may stop early; then the complexity is their mean.
    """
    recipe = member.recipe
    resolution, num_frames = recipe.model.input_size, recipe.data.num_frames
    num_views = protocol.num_forwards
    exits: Json = {}
    if frames_used is None:
        measured = complexity(member.model, resolution=resolution, num_frames=num_frames, num_views=num_views)
    else:
        clips_by_frames = count_frames(frames_used)
        measured = mean_complexity(
            member.model, resolution=resolution, clips_by_frames=clips_by_frames, num_views=num_views
        )
        exits = {"clips_by_frames": {str(frames): clips for frames, clips in sorted(clips_by_frames.items())}}
    return {
        "step_id": member.step_id,
        "state_hash": state_hash(member.model.state_dict()),
        "metrics": {f"test/{name}": value for name, value in metrics.items()},
        "protocol": protocol.name,
        "complexity": asdict(measured),
        **exits,
        "epochs": recipe.optim.epochs,
        "workers": num_workers,
        "threads": torch.get_num_threads(),
        "device": device_name(next(member.model.parameters()).device),
        "damaged": [{"split": split, "path": path, "reason": reason} for split, path, reason in damaged],
        "versions": versions(),
        "host": socket.gethostname(),
        "finished_ms": int(time.time() * 1000),
        **facts,
    }


def count_frames(frames_used: np.ndarray) -> dict[int, float]:
    """Frames looked at -> number of clips. A mean over a clip's views that is no whole number counts for both of its
    neighbours, by nearness: between the two the cost is linear in the frames.
    """
    counts: defaultdict[int, float] = defaultdict(float)
    for frames in frames_used.tolist():
        below = int(frames)
        share = frames - below
        counts[below] += 1 - share
        if share:
            counts[below + 1] += share
    return dict(counts)
