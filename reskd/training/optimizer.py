"""Builds the optimiser of a recipe (torch's fused SGD or AdamW) and its parameter groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reskd.models.video_model import VideoModel
from reskd.recipe import OptimSpec

POSITION_BIASES = "relative_position_bias_table"
"""Last part of the names of Swin's learnt biases by relative position."""


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
    biases = _layer_biases(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = spec.backbone_lr if name.startswith("backbone.") else 1.0
        decays = spec.decay != "weights" or parameter.ndim > 1
        if spec.decay == "official_swin" and name.endswith(POSITION_BIASES):
            factor, decays = 1.0, False
        if name in biases:
            factor *= spec.bias_lr
        groups.setdefault((factor, spec.weight_decay if decays else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def _layer_biases(model: nn.Module) -> set[str]:
    """Names of the biases of convolutions and linear layers; those of norms are not among them."""
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    layers = {name for name, module in model.named_modules() if isinstance(module, kinds)}
    return {name for name, _ in model.named_parameters() if name.endswith(".bias") and name[: -len(".bias")] in layers}
