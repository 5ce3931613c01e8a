"""The distillation terms without their weights, as plain functions of the outputs of student and teacher.

All compute in at least float32, so they give the same inside and outside of autocast. All check shapes first, which
costs a GPU nothing: outputs that do not fit would broadcast, and give a wrong number silently. TERMS maps each KD level
of reskd/methods/distillation.py to its term.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reskd.distill.resize import resized
from reskd.errors import BadInput
from reskd.methods.distillation import LEVELS, KDLevel, KDSpec
from reskd.models.video_model import ClipOutput

CLIP_LOGITS = ("clips", "classes")
FRAME_LOGITS = ("clips", "frames", "classes")
MAP = ("frames of all clips", "channels", "height", "width")


def clip_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher || student) between softened class distributions, averaged over clips; logits are (B, K).

    The ``temperature ** 2`` factor keeps the gradient's size when the temperature changes (Hinton et al. 2015, section
    2). Raises BadInput for other or different shapes.
    """
    _require_same(student_logits, teacher_logits, axes=CLIP_LOGITS)
    return _softened_kl(student_logits, teacher_logits, temperature=temperature)


def frame_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher || student) between the class distributions of each frame, averaged over clips and frames.

    Logits are (B, T, K). For a 3-D network, T is its number of maps in time. Raises BadInput for other or different
    shapes.
    """
    _require_same(student_logits, teacher_logits, axes=FRAME_LOGITS)
    # Frames are flattened into the batch first: "batchmean" divides by the first axis alone, which on
    # (B, T, K) would make the loss T times too large.
    return _softened_kl(student_logits.flatten(0, 1), teacher_logits.flatten(0, 1), temperature=temperature)


def pixel_mse(student_map: Tensor, teacher_map: Tensor, *, align_corners: bool) -> Tensor:
    """Mean squared difference over all elements of the last maps: student (N, C, h, w), teacher (N, C, H, W).

    A student's map of another size is resized bilinearly to the teacher's. With ``align_corners``, cells lie exactly on
    the grid of a ResNet (cell i is at input pixel 32 i); the official code does not use it. Raises BadInput for maps
    of other axes, and if the number of frames or channels differs.
    """
    _require_maps(student_map, teacher_map)
    if student_map.shape[1] != teacher_map.shape[1]:
        raise BadInput(
            f"kd.level pixel: {_shapes(student_map, teacher_map)}: {student_map.shape[1]} channels against "
            f"{teacher_map.shape[1]}; choose networks with equally many, or another kd.level"
        )
    student_map, teacher_map = _at_least_float32(student_map), _at_least_float32(teacher_map)
    return F.mse_loss(resized(student_map, like=teacher_map, align_corners=align_corners), teacher_map)


def pixel_kl(
    student_map: Tensor,
    teacher_map: Tensor,
    *,
    student_classifier: nn.Linear,
    teacher_classifier: nn.Linear,
    temperature: float,
    align_corners: bool,
) -> Tensor:
    """KL(teacher || student) between the class distributions of each cell of the last maps, averaged over all cells.

    Maps are (N, C, h, w) and (N, D, H, W) for N frames. Each goes through its own network's classifier, so C and D may
    differ. If the student's map has another size, its logits are resized as in `pixel_mse`. Resizing the features would
    give the same, since a bilinear resize is a weighted mean and the classifier is linear. Raises BadInput for maps of
    other axes, if the number of frames or classes differs, or if a map has not the channels of its classifier.
    """
    _require_maps(student_map, teacher_map)
    _require_fit(student_classifier, student_map, who="student")
    _require_fit(teacher_classifier, teacher_map, who="teacher")
    if student_classifier.out_features != teacher_classifier.out_features:
        raise BadInput(
            f"the student's classifier has {student_classifier.out_features} classes, the teacher's "
            f"{teacher_classifier.out_features}; a teacher distils only into a student with its classes"
        )
    ours = _at_each_cell(student_classifier, student_map)
    theirs = _at_each_cell(teacher_classifier, teacher_map)
    ours = resized(ours, like=theirs, align_corners=align_corners)
    # (N, K, H, W) -> (N * H * W, K): every cell of every frame is one distribution.
    student_logits, teacher_logits = (logits.movedim(1, -1).flatten(0, -2) for logits in (ours, theirs))
    return clip_kl(student_logits, teacher_logits, temperature=temperature)


def _at_each_cell(classifier: nn.Linear, features: Tensor) -> Tensor:
    """Logits at each cell: (N, C, h, w) -> (N, K, h, w)."""
    logits: Tensor = classifier(_at_least_float32(features).movedim(1, -1))
    return logits.movedim(-1, 1)


def _softened_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    log_p_student = F.log_softmax(_at_least_float32(student_logits) / temperature, dim=-1)
    log_p_teacher = F.log_softmax(_at_least_float32(teacher_logits) / temperature, dim=-1)
    return F.kl_div(log_p_student, log_p_teacher, reduction="batchmean", log_target=True) * temperature**2


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _require_same(student_logits: Tensor, teacher_logits: Tensor, *, axes: tuple[str, ...]) -> None:
    """Raise BadInput unless both have these axes, equally long and none of them empty."""
    student, teacher = tuple(student_logits.shape), tuple(teacher_logits.shape)
    if student != teacher or len(student) != len(axes) or 0 in student:
        raise BadInput(
            f"student logits {student} against teacher logits {teacher}; both must be the same {_words(axes)}, none of "
            "them 0: a teacher distils only into a student with its classes and clips"
        )


def _require_maps(student_map: Tensor, teacher_map: Tensor) -> None:
    """Raise BadInput unless both are maps, and of the same number of frames."""
    if not _is_map(student_map) or not _is_map(teacher_map):
        way_out = "; put clips and frames into one axis: maps.flatten(0, 1)" if student_map.ndim == len(MAP) + 1 else ""
        raise BadInput(f"{_shapes(student_map, teacher_map)}; both must be {_words(MAP)}, none of them 0{way_out}")
    if student_map.shape[0] != teacher_map.shape[0]:
        raise BadInput(
            f"{_shapes(student_map, teacher_map)}: {student_map.shape[0]} frames against {teacher_map.shape[0]}; both "
            "must see the same clips and have equally many maps in time"
        )


def _is_map(features: Tensor) -> bool:
    return len(features.shape) == len(MAP) and 0 not in features.shape


def _shapes(student_map: Tensor, teacher_map: Tensor) -> str:
    return f"the student's map has the shape {tuple(student_map.shape)}, the teacher's {tuple(teacher_map.shape)}"


def _require_fit(classifier: nn.Linear, features: Tensor, *, who: str) -> None:
    """Raise BadInput unless the map has the channels that the classifier takes."""
    if features.shape[1] != classifier.in_features:
        raise BadInput(
            f"the {who}'s map {tuple(features.shape)} has {features.shape[1]} channels, its classifier takes "
            f"{classifier.in_features}; give the classifier of the same network"
        )


def _words(axes: tuple[str, ...]) -> str:
    return f"({', '.join(axes)})"


class Answer(NamedTuple):
    """A network's output for a group of clips, and the linear layer that its logits come from."""

    output: ClipOutput
    classifier: nn.Linear


def _clip_logits(output: ClipOutput, kd: KDSpec) -> Tensor:
    """(B, K): the clip's logits, after dropout or without it as ``kd`` says.

    Without it they are the mean over time of the logits of each map, since the last layer is linear.
    """
    return output.clip_logits if kd.through_dropout else output.frame_logits.mean(dim=1)


Term = Callable[[Answer, Answer, KDSpec], Tensor]
"""(student's answer, teacher's answer on the same clips, the recipe's fields) -> a scalar without its weight."""

TERMS: dict[KDLevel, Term] = {
    "clip": lambda student, teacher, kd: clip_kl(
        _clip_logits(student.output, kd), _clip_logits(teacher.output, kd), temperature=kd.temperature
    ),
    "frame": lambda student, teacher, kd: frame_kl(
        student.output.frame_logits, teacher.output.frame_logits, temperature=kd.temperature
    ),
    "pixel": lambda student, teacher, kd: pixel_mse(
        student.output.features, teacher.output.features, align_corners=kd.align_corners
    ),
    "pixel_kl": lambda student, teacher, kd: pixel_kl(
        student.output.features,
        teacher.output.features,
        student_classifier=student.classifier,
        teacher_classifier=teacher.classifier,
        temperature=kd.temperature,
        align_corners=kd.align_corners,
    ),
}
"""The term of each level."""

assert TERMS.keys() == LEVELS.keys(), f"only one of TERMS and LEVELS has {sorted(TERMS.keys() ^ LEVELS.keys())}"
