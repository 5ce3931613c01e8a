"""What a finished step says of itself: the trained model alone, and its DONE record."""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from reskd.checkpoint import Json, state_hash
from reskd.data.dataset import Damage
from reskd.evaluate import ClipLogits, Protocol
from reskd.flops import complexity
from reskd.member import Member
from reskd.throughput import device_name


def versions() -> dict[str, str]:
    """Versions that a result may depend on; recorded, never part of identity."""
    found = {"python": platform.python_version()}
    for name in ("reskd", "torch", "torchvision", "av", "numpy"):
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
        "short_side": data.short_side,
        "crop_size": data.crop_size,
        "step_id": member.step_id,
    }


def evaluation_record(
    clips: ClipLogits, *, protocol: Protocol, metrics: Mapping[str, float], num_in_split: int
) -> Json:
    """The record beside which the logits lie; skipped clips are named, and n says how many were judged."""
    return {
        "protocol": protocol.to_dict(),
        "metrics": dict(metrics),
        "num_clips": len(clips.indices),
        "num_skipped": num_in_split - len(clips.indices),
        "skipped": sorted(damage.path for damage in clips.damaged),
    }


def done_record(
    member: Member,
    *,
    protocol: Protocol,
    metrics: Mapping[str, float],
    damaged: Iterable[tuple[str, Damage]],
    spent_s: tuple[float, float],
    num_workers: int,
    started_ms: int,
    provenance: Json,
) -> Json:
    """The last file of a step. spent_s: wall seconds of the jobs while this member was in them, and its equal
    share of their device seconds (wall x workers / members)."""
    recipe = member.recipe
    measured = complexity(member.model, resolution=recipe.model.resolution, num_frames=recipe.data.num_frames)
    return {
        "step_id": member.step_id,
        "state_hash": state_hash(member.model.state_dict()),
        "metrics": {f"test/{name}": value for name, value in metrics.items()},
        "protocol": protocol.name,
        "complexity": asdict(measured),
        "epochs": recipe.optim.epochs,
        "wall_s": round(spent_s[0], 3),
        "device_s": round(spent_s[1], 3),
        "workers": num_workers,
        "threads": torch.get_num_threads(),
        "device": device_name(next(member.model.parameters()).device),
        "damaged": [
            {"split": split, "path": damage.path, "reason": damage.reason}
            for split, damage in sorted(damaged, key=lambda item: (item[0], item[1].path))
        ],
        "versions": versions(),
        "host": socket.gethostname(),
        "started_ms": started_ms,
        "finished_ms": int(time.time() * 1000),
        **provenance,
    }


def losses_by_name(task_loss: float, kd_loss: float, *, kd_weight: float, has_teacher: bool) -> dict[str, float]:
    """Loss terms apart, the distillation term before its weight, as they are logged."""
    terms: dict[str, Any] = {"train/loss": task_loss + kd_weight * kd_loss, "train/task_loss": task_loss}
    return terms | ({"train/kd_loss": kd_loss} if has_teacher else {})
