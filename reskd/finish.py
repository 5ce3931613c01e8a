"""What a finished step says of itself: the trained model alone, and its DONE record."""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

import torch

from reskd.checkpoint import state_hash
from reskd.evaluate import ClipLogits, Protocol
from reskd.files import Json
from reskd.flops import complexity
from reskd.member import Member
from reskd.throughput import device_name


def versions() -> dict[str, str]:
    """Versions that a result may depend on; recorded, never part of identity."""
    found = {"python": platform.python_version()}
    for name in ("reskd", "torch", "torchvision", "av", "pillow", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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


def evaluation_record(
    clips: ClipLogits, *, protocol: Protocol, metrics: Mapping[str, float], num_in_split: int, num_missing: int
) -> Json:
    """The record beside which the logits lie; skipped clips are named, and n says how many were judged.

    ``num_missing``: annotated clips that are not among the ``num_in_split``, since their videos are not here.
    """
    return {
        "protocol": protocol.to_dict(),
        "metrics": dict(metrics),
        "num_clips": len(clips.indices),
        "num_skipped": num_in_split - len(clips.indices),
        "num_missing": num_missing,
        "skipped": sorted(damage.path for damage in clips.damaged),
    }


def done_record(
    member: Member,
    *,
    protocol: Protocol,
    metrics: Mapping[str, float],
    damaged: list[list[str]],
    num_workers: int,
    facts: Json,
) -> Json:
    """The last file of a step; `facts` are times, the code's commit and whatever else the caller knows."""
    recipe = member.recipe
    measured = complexity(
        member.model,
        resolution=recipe.model.resolution,
        num_frames=recipe.data.num_frames,
        num_views=protocol.num_forwards,
    )
    return {
        "step_id": member.step_id,
        "state_hash": state_hash(member.model.state_dict()),
        "metrics": {f"test/{name}": value for name, value in metrics.items()},
        "protocol": protocol.name,
        "complexity": asdict(measured),
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
