"""The results of a finished step: the content of weights.pt, and the DONE record."""

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
    """The content of weights.pt, enough to use the model: weights, architecture, classes, frames and crop."""
    data = member.recipe.data
    return {
        "model": {name: value.detach().cpu().clone() for name, value in member.model.state_dict().items()},
        "model_spec": asdict(member.recipe.model),
        "classes": list(classes),
        "num_frames": data.num_frames,
        "stride": data.stride,
        "short_side": data.short_side,
        "crop_size": data.crop_size,
        "resample": data.resample,
        "short_videos": data.short_videos,
        "normalisation": [list(values) for values in member.model.normalisation],
        "decode": data.decode,
        "step_id": member.step_id,
    }


def done_record(
    member: Member,
    *,
    protocol: Protocol,
    resolution: int,
    metrics: Mapping[str, float],
    frames_used: np.ndarray | None,
    damaged: list[list[str]],
    num_workers: int,
    facts: Json,
) -> Json:
    """The DONE record, the last file of a step. `facts` are added to it: times, the code's commit and so on.

    resolution: side of the network's input in the final test, in pixels, for the complexity.
    frames_used: (N,) frames used per clip by a model with early exit, else None. The complexity is then a mean over
    clips.
    """
    recipe = member.recipe
    num_frames, num_views = recipe.data.num_frames, protocol.num_forwards
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
        "epochs": recipe.num_epochs,
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
    """Number of used frames -> number of clips. A fractional mean over views is split linearly between its two
    neighbours, since the cost is linear in the frames between them.
    """
    counts: defaultdict[int, float] = defaultdict(float)
    for frames in frames_used.tolist():
        below = int(frames)
        share = frames - below
        counts[below] += 1 - share
        if share:
            counts[below + 1] += share
    return dict(counts)
