"""The record of an evaluation, stored beside its logits."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from reskd.evaluation.clip_logits import ClipLogits, Protocol
from reskd.files import Json


def versions() -> dict[str, str]:
    """Versions that a result may depend on; recorded, never part of identity."""
    found = {"python": platform.python_version()}
    for name in ("reskd", "torch", "torchvision", "av", "pillow", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def evaluation_record(
    clips: ClipLogits,
    *,
    protocol: Protocol,
    metrics: Mapping[str, float],
    num_in_split: int,
    num_missing: int,
    packed: str = "",
) -> Json:
    """The record of an evaluation: metrics, number of evaluated clips, and names of skipped clips.

    ``num_missing``: annotated clips without a video; they are not part of ``num_in_split``.
    ``packed``: how the frames were packed, in words; empty for original videos.
    """
    return {
        "protocol": protocol.to_dict(),
        "metrics": dict(metrics),
        "num_clips": len(clips.indices),
        "num_skipped": num_in_split - len(clips.indices),
        "num_missing": num_missing,
        "packed": packed,
        "skipped": sorted(damage.path for damage in clips.damaged),
    }
