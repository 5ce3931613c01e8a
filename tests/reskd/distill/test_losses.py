import runpy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reskd.distill import losses
from reskd.distill.losses import TERMS, Answer, clip_kl, frame_kl, pixel_kl, pixel_mse
from reskd.errors import BadInput
from reskd.methods.distillation import LEVELS, KDSpec, Level
from reskd.models.catalogue import build_model
from reskd.recipe import ModelSpec, Recipe
from tests.support.by_hand import bilinear


def kl_written_out(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL of each row, (..., K) -> (...)."""
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    return (p * (p / q).log()).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_clip_kl_equals_the_sum_written_out(temperature):
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    expected = temperature**2 * kl_written_out(student, teacher, temperature).mean()
    torch.testing.assert_close(clip_kl(student, teacher, temperature=temperature), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_frame_kl_equals_the_mean_over_every_frame_of_every_clip(temperature):
    student, teacher = torch.randn(2, 3, 7), torch.randn(2, 3, 7)
    terms = [kl_written_out(student[b, t], teacher[b, t], temperature) for b in range(2) for t in range(3)]
    expected = temperature**2 * sum(terms) / 6
    torch.testing.assert_close(frame_kl(student, teacher, temperature=temperature), expected)


def test_frame_kl_of_one_frame_is_clip_kl():
    student, teacher = torch.randn(4, 7), torch.randn(4, 7)
    one_frame = frame_kl(student[:, None], teacher[:, None], temperature=2.0)
    torch.testing.assert_close(one_frame, clip_kl(student, teacher, temperature=2.0))


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 8.0), st.floats(0.1, 50.0))
def test_kl_is_never_negative_and_zero_against_itself(seed, temperature, scale):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (scale * torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    assert clip_kl(student, teacher, temperature=temperature) >= -1e-12
    assert clip_kl(teacher, teacher, temperature=temperature).abs() < 1e-12


def test_the_gradient_keeps_its_size_when_the_temperature_grows():
    teacher = torch.randn(8, 5, dtype=torch.float64)
    norms = []
    for temperature in (100.0, 400.0):
        student = torch.zeros(8, 5, dtype=torch.float64, requires_grad=True)
        clip_kl(student, teacher, temperature=temperature).backward()
        norms.append(student.grad.norm())
    torch.testing.assert_close(norms[0], norms[1], rtol=0.02, atol=0)


def test_pixel_mse_of_equal_sizes_is_the_mean_over_every_element():
    student, teacher = torch.randn(3, 4, 2, 5), torch.randn(3, 4, 2, 5)
    expected = sum((s - t) ** 2 for s, t in zip(student.flatten(), teacher.flatten(), strict=True)) / 120
    torch.testing.assert_close(pixel_mse(student, teacher, align_corners=False), expected)


@pytest.mark.parametrize(
    ("align_corners", "enlarged"),
    [(False, [0.0, 2.0, 6.0, 8.0]), (True, [0.0, 8 / 3, 16 / 3, 8.0])],
)
def test_pixel_mse_enlarges_the_students_map_on_the_grid_it_is_told(align_corners, enlarged):
    student = torch.tensor([0.0, 8.0]).expand(1, 1, 2, 2)  # columns 0 and 8
    teacher = torch.ones(1, 1, 4, 4)
    expected = sum((value - 1) ** 2 for value in enlarged) / 4
    assert pixel_mse(student, teacher, align_corners=align_corners).item() == pytest.approx(expected)


def test_pixel_mse_shrinks_a_larger_map_of_the_student():
    student = torch.arange(16.0).reshape(1, 1, 4, 4)
    centres = torch.tensor([[2.5, 4.5], [10.5, 12.5]])  # means of the four 2x2 blocks
    assert pixel_mse(student, centres.reshape(1, 1, 2, 2), align_corners=False).item() == pytest.approx(0)


def test_the_student_gets_a_gradient_from_each_term():
    logits, maps = torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 4, 2, 2, requires_grad=True)
    frame_kl(logits, torch.randn(2, 3, 5), temperature=2.0).backward()
    pixel_mse(maps, torch.randn(2, 4, 3, 3), align_corners=False).backward()
    assert logits.grad.abs().min() > 0
    assert maps.grad.abs().min() > 0


def test_half_precision_outputs_are_compared_in_float32():
    student, teacher = torch.randn(2, 5).bfloat16(), torch.randn(2, 5).bfloat16()
    torch.testing.assert_close(
        clip_kl(student, teacher, temperature=2.0), clip_kl(student.float(), teacher.float(), temperature=2.0)
    )
    small, large = torch.randn(2, 3, 2, 2).bfloat16(), torch.randn(2, 3, 4, 4).bfloat16()
    upsampled = F.interpolate(small.float(), size=4, mode="bilinear")
    torch.testing.assert_close(
        pixel_mse(small, large, align_corners=False), (upsampled - large.float()).square().mean()
    )


def test_maps_of_different_channels_are_refused_with_both_numbers():
    with pytest.raises(BadInput, match="512 channels against 2048"):
        pixel_mse(torch.zeros(1, 512, 2, 2), torch.zeros(1, 2048, 2, 2), align_corners=False)


def test_maps_of_different_frames_are_refused():
    with pytest.raises(BadInput, match="1 frames against 4"):
        pixel_mse(torch.zeros(1, 8, 2, 2), torch.zeros(4, 8, 2, 2), align_corners=False)


def of_pixels(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """pixel_kl of networks with 4 channels and 5 classes."""
    return pixel_kl(student, teacher, **HEADS, temperature=2.0, align_corners=False)


HEADS = {"student_classifier": nn.Linear(4, 5), "teacher_classifier": nn.Linear(4, 5)}
LOSSES = {
    "clip_kl": (partial(clip_kl, temperature=2.0), (3, 5)),
    "frame_kl": (partial(frame_kl, temperature=2.0), (3, 2, 5)),
    "pixel_mse": (partial(pixel_mse, align_corners=False), (3, 4, 2, 2)),
    "pixel_kl": (of_pixels, (3, 4, 2, 2)),
}
"""Loss -> a call of it, and a shape that it takes."""
FITS_NOT = [
    *[(loss, good, wrong) for loss, (_, good) in LOSSES.items() for wrong in (good[1:], (1, *good), (0, *good[1:]))],
    *[(loss, (1, *good[1:]), good) for loss, (_, good) in LOSSES.items()],  # would broadcast
    ("clip_kl", (3, 1), (3, 5)),
    ("frame_kl", (3, 1, 5), (3, 2, 5)),
    ("frame_kl", (3, 2, 1), (3, 2, 5)),
    ("pixel_mse", (3, 1, 2, 2), (3, 4, 2, 2)),
    ("pixel_mse", (3, 4, 0, 2), (3, 4, 2, 2)),
    ("pixel_kl", (3, 3, 2, 2), (3, 4, 2, 2)),
    ("pixel_kl", (3, 2, 2, 4), (3, 4, 2, 2)),  # channels last
]


@pytest.mark.parametrize(("loss", "one", "other"), FITS_NOT)
def test_shapes_that_do_not_fit_are_refused_by_name_whichever_network_has_them(loss, one, other):
    compute, good = LOSSES[loss]
    assert compute(torch.zeros(good), torch.zeros(good)).shape == ()
    wrong = {str(shape) for shape in (one, other) if shape != good}
    for student, teacher in ((one, other), (other, one)):
        with pytest.raises(BadInput) as refused:
            compute(torch.zeros(student), torch.zeros(teacher))
        assert all(shape in str(refused.value) for shape in wrong)


@pytest.mark.parametrize("loss", LOSSES)
def test_two_outputs_of_a_rank_that_a_loss_does_not_take_are_refused_with_the_axes_it_takes(loss):
    compute, good = LOSSES[loss]
    with pytest.raises(BadInput, match="classes" if loss in ("clip_kl", "frame_kl") else "height, width"):
        compute(torch.zeros(2, *good), torch.zeros(2, *good))


def test_maps_with_an_axis_for_clips_are_refused_with_the_way_to_join_it_with_frames():
    maps = torch.randn(2, 3, 4, 5, 5)
    with pytest.raises(BadInput, match=r"student's map has the shape \(2, 3, 4, 5, 5\).*flatten\(0, 1\)"):
        pixel_mse(maps, maps, align_corners=False)
    assert pixel_mse(maps.flatten(0, 1), maps.flatten(0, 1), align_corners=False) == 0


@pytest.mark.filterwarnings("ignore:Dynamo detected a call")
@pytest.mark.parametrize("loss", LOSSES)
def test_a_compiled_loss_checks_shapes_without_leaving_its_graph(loss):
    compute, good = LOSSES[loss]
    torch.compiler.reset()
    student, teacher = torch.randn(good), torch.randn(good)
    whole = torch.compile(compute, backend="eager", fullgraph=True)
    torch.testing.assert_close(whole(student, teacher), compute(student, teacher))
    with pytest.raises(BadInput, match="student"):
        torch.compile(compute, backend="eager")(student[:1], teacher)


@pytest.mark.parametrize("align_corners", [False, True])
def test_pixel_kl_is_the_mean_over_every_cell_of_every_frame(align_corners):
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5, 2, 2).double(), torch.randn(3, 4, 3, 3).double()
    ours, theirs = torch.nn.Linear(5, 7).double(), torch.nn.Linear(4, 7).double()
    got = pixel_kl(
        student,
        teacher,
        student_classifier=ours,
        teacher_classifier=theirs,
        temperature=2.0,
        align_corners=align_corners,
    )
    # Written out with the features enlarged first, one cell after another.
    large = F.interpolate(student, size=(3, 3), mode="bilinear", align_corners=align_corners)
    total = 0.0
    for frame in range(3):
        for y in range(3):
            for x in range(3):
                logits = large[frame, :, y, x] @ ours.weight.T + ours.bias
                taught = teacher[frame, :, y, x] @ theirs.weight.T + theirs.bias
                total += kl_written_out(logits, taught, 2.0)
    torch.testing.assert_close(got, 4 * total / 27)


def test_pixel_kl_at_its_default_weight_is_the_official_term():
    # Official: 200 x the mean over every element, classes too, of the KL times the temperature's square.
    student, teacher = torch.randn(2, 5, 1, 1), torch.randn(2, 4, 1, 1)
    ours, theirs = torch.nn.Linear(5, 400), torch.nn.Linear(4, 400)
    options = {"student_classifier": ours, "teacher_classifier": theirs, "temperature": 2.0, "align_corners": False}
    official = (
        4
        * 200
        * F.kl_div(
            (ours(student.flatten(1)) / 2).log_softmax(-1),
            (theirs(teacher.flatten(1)) / 2).softmax(-1),
            reduction="none",
        ).mean()
    )
    torch.testing.assert_close(LEVELS["pixel_kl"].weight * pixel_kl(student, teacher, **options), official)


def test_pixel_kl_refuses_other_classes_and_other_clips():
    def options(num_classes):
        return {
            "student_classifier": torch.nn.Linear(5, 7),
            "teacher_classifier": torch.nn.Linear(4, num_classes),
            "temperature": 2.0,
            "align_corners": False,
        }

    with pytest.raises(BadInput, match="student's classifier has 7 classes, the teacher's 6"):
        pixel_kl(torch.randn(2, 5, 2, 2), torch.randn(2, 4, 2, 2), **options(6))
    with pytest.raises(BadInput, match="3 frames against 2"):
        pixel_kl(torch.randn(3, 5, 2, 2), torch.randn(2, 4, 2, 2), **options(7))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("level", "channels"),
    [(level, channels) for level in ("clip", "frame", "pixel_kl") for channels in ((4, 4), (5, 4))]
    + [("pixel", (4, 4))],
)
def test_every_level_is_its_formula_in_float64(level, channels, align_corners):
    torch.manual_seed(1)
    (ours_wide, theirs_wide), (clips, frames, classes, small, large) = channels, (2, 3, 7, 3, 5)
    student = torch.randn(clips * frames, ours_wide, small, small, dtype=torch.float64)
    teacher = torch.randn(clips * frames, theirs_wide, large, large, dtype=torch.float64)
    ours, theirs = (torch.nn.Linear(wide, classes).double() for wide in channels)
    enlarged = bilinear(student, (large, large), align_corners=align_corners)
    temperature = 2.0
    if level == "pixel":
        got = pixel_mse(student, teacher, align_corners=align_corners)
        expected = ((enlarged - teacher) ** 2).sum() / teacher.numel()
    elif level == "pixel_kl":
        got = pixel_kl(
            student,
            teacher,
            student_classifier=ours,
            teacher_classifier=theirs,
            temperature=temperature,
            align_corners=align_corners,
        )
        logits = [
            torch.einsum("nchw,kc->nhwk", map_, head.weight) + head.bias
            for map_, head in ((enlarged, ours), (teacher, theirs))
        ]
        expected = temperature**2 * kl_written_out(*logits, temperature).sum() / (clips * frames * large**2)
    else:
        by_frame = [
            (map_.mean((2, 3)) @ head.weight.T + head.bias).reshape(clips, frames, classes)
            for map_, head in ((student, ours), (teacher, theirs))
        ]
        logits = by_frame if level == "frame" else [values.mean(1) for values in by_frame]
        got = (frame_kl if level == "frame" else clip_kl)(*logits, temperature=temperature)
        num_terms = clips * frames if level == "frame" else clips
        expected = temperature**2 * kl_written_out(*logits, temperature).sum() / num_terms
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"), [((2, 3), (4, 5)), ((4, 5), (2, 3)), ((3, 3), (3, 3)), ((1, 1), (3, 2)), ((3, 2), (1, 1))]
)
def test_maps_of_any_two_sizes_are_compared_by_the_bilinear_formula(ours, theirs, align_corners):
    torch.manual_seed(2)
    student, teacher = (torch.randn(2, 4, *size, dtype=torch.float64) for size in (ours, theirs))
    difference = bilinear(student, theirs, align_corners=align_corners) - teacher
    expected = (difference**2).sum() / (2 * 4 * theirs[0] * theirs[1])
    got = pixel_mse(student, teacher, align_corners=align_corners)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.booleans(),
    st.booleans(),
)
def test_a_resized_map_and_its_gradient_are_those_of_interpolate(size, target, corners, channels_last):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, *size, dtype=torch.float64), torch.randn(2, 3, *target, dtype=torch.float64)
    ours, plain = (student.clone().requires_grad_() for _ in range(2))
    given = ours.contiguous(memory_format=torch.channels_last) if channels_last else ours
    found = pixel_mse(given, teacher, align_corners=corners)
    resized = F.interpolate(plain, size=target, mode="bilinear", align_corners=corners)
    expected = (resized - teacher).square().mean()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-12, atol=1e-12)


def test_clip_level_without_dropout_is_zero_between_equal_networks_and_with_it_is_not():
    model = build_model(ModelSpec(name="tsn_mini10", dropout=0.5, head_std=1.0), num_classes=5).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # else the two passes would differ by more than dropout
    clips = torch.randn(4, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (Answer(model(clips), model.classifier) for _ in range(2))
        model.dropout.eval()
        plain = model(clips).clip_logits
    before = KDSpec(level="clip", through_dropout=False)
    assert TERMS["clip"](first, second, before).abs() < 1e-6
    assert TERMS["clip"](first, second, KDSpec(level="clip")) > 1e-3
    other = Answer(second.output._replace(frame_logits=second.output.frame_logits.flip(0)), second.classifier)
    expected = clip_kl(plain, plain.flip(0), temperature=2.0)
    torch.testing.assert_close(TERMS["clip"](first, other, before), expected, rtol=1e-4, atol=1e-5)


def test_only_clip_level_and_networks_without_exits_may_leave_dropout_out():
    with pytest.raises(BadInput, match=r"kd\.through_dropout must be true with kd\.level pixel"):
        KDSpec(level="pixel", through_dropout=False)
    kd, plain = KDSpec(level="clip", through_dropout=False), Recipe()
    exits = ModelSpec(name="frameexit_resnet18")
    with pytest.raises(BadInput, match=r"true with model\.name frameexit_resnet18"):
        Recipe(kd=kd, model=exits, teacher=plain)
    with pytest.raises(BadInput, match=r"true with the teacher frameexit_resnet18"):
        Recipe(kd=kd, teacher=replace(plain, model=exits))


def test_a_level_without_a_term_is_an_error_before_anything_trains(monkeypatch):
    runpy.run_path(losses.__file__)
    monkeypatch.setitem(LEVELS, "forgotten", Level(weight=1.0))
    with pytest.raises(AssertionError, match=r"\['forgotten'\]"):
        runpy.run_path(losses.__file__)


def test_a_level_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(BadInput, match=r"kd\.level must be one of none, clip, frame, pixel, pixel_kl, got 'pixle'"):
        KDSpec(level="pixle")
