"""The distillation terms, each without its weight: plain functions on the outputs of student and teacher.

All compute in float32 at least, so that they give the same inside and outside of autocast.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reskd.errors import BadInput


def clip_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher || student) between softened class distributions, averaged over clips; logits are (B, K).

    The ``temperature ** 2`` factor keeps the gradient's size when the temperature changes
    (Hinton et al. 2015, section 2). Raises BadInput where the two shapes differ.
    """
    _require_same(student_logits, teacher_logits, ndim=2, axes="(clips, classes)")
    return _softened_kl(student_logits, teacher_logits, temperature=temperature)


def frame_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher || student) between the class distributions of each frame, averaged over clips and frames.

    Logits are (B, T, K); of a 3-D network the frames are its T' cells of time.
    Raises BadInput where the two shapes differ.
    """
    _require_same(student_logits, teacher_logits, ndim=3, axes="(clips, frames, classes)")
    # Frames are flattened into the batch first: "batchmean" divides by the first axis alone, which on
    # (B, T, K) would make the loss T times too large.
    return _softened_kl(student_logits.flatten(0, 1), teacher_logits.flatten(0, 1), temperature=temperature)


def pixel_mse(student_map: Tensor, teacher_map: Tensor, *, align_corners: bool) -> Tensor:
    """Mean squared difference over every element of the last maps; student (N, C, h, w), teacher (N, C, H, W).

    A student's map of another size is resized bilinearly to the teacher's. With ``align_corners`` cells lie on
    the grid of a ResNet exactly (cell i sits on input pixel 32 i); the official code does without.
    Raises BadInput where frames or channels differ in number.
    """
    if student_map.shape[1] != teacher_map.shape[1]:
        raise BadInput(
            f"kd.level pixel: the student's map has {student_map.shape[1]} channels, the teacher's "
            f"{teacher_map.shape[1]}; choose networks with equally many, or kd.level pixel_kl, frame or clip"
        )
    _require_same_frames(student_map, teacher_map)
    student_map, teacher_map = _at_least_float32(student_map), _at_least_float32(teacher_map)
    return F.mse_loss(_resized(student_map, like=teacher_map, align_corners=align_corners), teacher_map)


def pixel_kl(
    student_map: Tensor,
    teacher_map: Tensor,
    *,
    student_classifier: nn.Linear,
    teacher_classifier: nn.Linear,
    temperature: float,
    align_corners: bool,
) -> Tensor:
    """KL(teacher || student) between class distributions at each cell of the last maps, averaged over cells and frames.

    Maps are (N, C, h, w) and (N, D, H, W); each goes through its own network's classifier, so that C and D may
    differ. A student of another size is resized as in `pixel_mse`: its logits, which is the same as its features
    would be, since a bilinear resize is a weighted mean and the classifier is linear.
    Raises BadInput where frames or classes differ in number.
    """
    _require_same_frames(student_map, teacher_map)
    ours = _at_each_cell(student_classifier, student_map)
    theirs = _at_each_cell(teacher_classifier, teacher_map)
    ours = _resized(ours, like=theirs, align_corners=align_corners)
    # (N, K, H, W) -> (N * H * W, K): every cell of every frame is one distribution.
    student_logits, teacher_logits = (logits.movedim(1, -1).flatten(0, -2) for logits in (ours, theirs))
    return clip_kl(student_logits, teacher_logits, temperature=temperature)


def _at_each_cell(classifier: nn.Linear, features: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, K, h, w)."""
    logits: Tensor = classifier(_at_least_float32(features).movedim(1, -1))
    return logits.movedim(-1, 1)


def _resized(values: Tensor, *, like: Tensor, align_corners: bool) -> Tensor:
    """(N, C, h, w) -> (N, C, H, W), bilinearly, as one fixed matrix from the h * w cells to the H * W.

    What F.interpolate computes, to rounding; but that one's gradient adds up in an order that changes on a GPU, and a
    product of matrices has one order.
    """
    size, target = tuple(values.shape[-2:]), tuple(like.shape[-2:])
    if size == target:
        return values
    weights = _resize_matrix(size, target, align_corners, values.dtype, values.device)
    if values.is_contiguous():
        return (values.flatten(2) @ weights.T).unflatten(2, target)
    cells = values.permute(0, 2, 3, 1).flatten(1, 2)  # (N, h * w, C): how a channels-last map lies in memory
    return (weights @ cells).unflatten(1, target).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def _resize_matrix(
    size: tuple[int, int], target: tuple[int, int], align_corners: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(H * W, h * w): what each cell of a map counts for in each cell of the resized one."""
    rows, columns = (_resize_line(old, new, align_corners=align_corners) for old, new in zip(size, target, strict=True))
    return torch.kron(rows, columns).to(device, dtype)


def _resize_line(old: int, new: int, *, align_corners: bool) -> Tensor:
    """(new, old) float64: the linear interpolation of one axis, as F.interpolate defines it."""
    places = torch.arange(new, dtype=torch.float64)
    if align_corners:
        places = places * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        places = ((places + 0.5) * (old / new) - 0.5).clamp(min=0.0)
    left = places.floor().long().clamp(max=old - 1)
    right = (left + 1).clamp(max=old - 1)
    share = (places - left).unsqueeze(1)
    return F.one_hot(left, old) * (1 - share) + F.one_hot(right, old) * share


def _require_same_frames(student_map: Tensor, teacher_map: Tensor) -> None:
    if student_map.shape[0] != teacher_map.shape[0]:
        raise BadInput(
            f"kd.level pixel: {student_map.shape[0]} frames of the student against {teacher_map.shape[0]} of the "
            "teacher; both must see the same clips and leave a map as often in time"
        )


def _softened_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    log_p_student = F.log_softmax(_at_least_float32(student_logits) / temperature, dim=-1)
    log_p_teacher = F.log_softmax(_at_least_float32(teacher_logits) / temperature, dim=-1)
    return F.kl_div(log_p_student, log_p_teacher, reduction="batchmean", log_target=True) * temperature**2


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _require_same(student_logits: Tensor, teacher_logits: Tensor, *, ndim: int, axes: str) -> None:
    student, teacher = tuple(student_logits.shape), tuple(teacher_logits.shape)
    if student != teacher or len(student) != ndim:
        raise BadInput(
            f"student logits {student} against teacher logits {teacher}; both must be the same {axes}: "
            "a teacher distils only into a student with its classes and clips"
        )
