"""Builds the optimiser of a recipe (torch's fused SGD or AdamW) and its parameter groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reskd.models.video_model import VideoModel
from reskd.recipe import OptimSpec


def build_optimizer(spec: OptimSpec, model: VideoModel) -> torch.optim.Optimizer:
    """The optimiser of all parameters. Each parameter group also has an ``lr_factor``."""
    groups = parameter_groups(spec, model)
    if spec.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=spec.lr,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            nesterov=spec.nesterov,
            fused=True,
        )
    return torch.optim.AdamW(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)


def parameter_groups(spec: OptimSpec, model: VideoModel) -> list[dict[str, Any]]:
    """Groups of parameters with equal learning rate and weight decay, in the model's order."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = spec.backbone_lr if name.startswith("backbone.") else 1.0
        decays = spec.decay == "all" or parameter.ndim > 1
        groups.setdefault((factor, spec.weight_decay if decays else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
