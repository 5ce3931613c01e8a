"""The frozen teacher of a cohort. It has no part in autograd, all-reduce, optimisers and checkpoints."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import torch
from torch import nn

from reskd.checkpoint import load_weights
from reskd.errors import BadInput
from reskd.models.catalogue import build_model
from reskd.models.fold_batch_norm import fold_batch_norm
from reskd.models.memory_format import in_fast_memory_format
from reskd.models.video_model import VideoModel
from reskd.models.weights import trained_normalisation
from reskd.recipe import ModelSpec, TeacherMode
from reskd.text import composed

logger = logging.getLogger(__name__)


class Teacher:
    """A trained model that gives targets. Seed torch's generator before each forward.

    `model` is always in eval mode. `for_students` computes the targets, and depends on the mode:

    - `eval`: a copy with batch norms folded into their convolutions, equal up to rounding.
    - `batch`: a copy whose batch norms use the statistics of the current group (the official code's train mode without
      dropout).
    - `official_train`: like `batch`, but in train mode, with dropout.

    Copies for `batch` and `official_train` have no running statistics. So they compute what the module in train mode
    would, and do not change any buffer.
    """

    def __init__(self, model: VideoModel, spec: ModelSpec, *, mode: TeacherMode) -> None:
        self.spec = spec
        self.model = in_fast_memory_format(model).eval().requires_grad_(False)
        self.for_students = _folded(self.model) if mode == "eval" else _with_batch_statistics(self.model)
        if mode == "official_train":
            self.for_students.train()


def _folded(model: VideoModel) -> VideoModel:
    try:
        return fold_batch_norm(model).requires_grad_(False)
    except TypeError as reason:
        logger.info("the teacher keeps its batch norms: %s", reason)
        return model


def _with_batch_statistics(model: VideoModel) -> VideoModel:
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return model


def load_teacher(
    path: Path,
    *,
    classes: tuple[str, ...],
    mode: TeacherMode,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Teacher:
    """Load a teacher from a `weights.pt`, in its students' dtype. Raises BadInput if it was trained on other
    classes."""
    content = load_weights(path)
    if tuple(map(composed, content["classes"])) != classes:
        raise BadInput(
            f"{path}: the teacher knows {len(content['classes'])} classes ({_few(content['classes'])}), "
            f"the data set has {len(classes)} ({_few(classes)}); they must be the same, in the same order"
        )
    spec = ModelSpec(**content["model_spec"])
    # The stored spec names the initial weights of the teacher's training; the trained ones are in this file.
    model = build_model(
        ModelSpec(**{**content["model_spec"], "weights": "none"}),
        num_classes=len(classes),
        num_frames=content.get("num_frames"),
    )
    model.load_state_dict(content["model"])
    model.normalisation = trained_normalisation(content)
    return Teacher(model.to(device, dtype), spec, mode=mode)


def _few(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
