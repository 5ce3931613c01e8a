"""Models that go wrong in one place on worker 1 alone, as real ones do on one bad batch or one bad GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from reskd.models.backbones.mini import tsn_mini
from reskd.models.catalogue import MODELS, Network
from reskd.models.video_model import VideoModel

FAULTY_CALL = 6  # its sixth training forward: the last group of the third step, with two groups a worker


def _faulty(*, where: str, **options: Any) -> VideoModel:
    model = tsn_mini(num_blocks=1, **options)
    calls = 0

    def break_it(module: nn.Module, inputs: tuple[Tensor, ...], features: Tensor) -> Tensor:
        nonlocal calls
        calls += module.training
        if dist.get_rank() != 1 or calls != FAULTY_CALL:
            return features
        if where == "forward":
            raise RuntimeError("broken in forward")
        if where == "backward":
            features.register_hook(_raise)
            return features
        return features * float("nan")

    model.backbone.register_forward_hook(break_it)
    return model


def _raise(_: Tensor) -> Tensor:
    raise RuntimeError("broken in backward")


def install() -> None:
    for where in ("forward", "backward", "nan"):
        MODELS[f"faulty_{where}"] = Network(partial(_faulty, where=where))
