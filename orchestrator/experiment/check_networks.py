"""Checks before the start, on shapes alone, that the networks of a sweep can do what its rows ask for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

from orchestrator.plan.network_facts import remembered
from orchestrator.spec.steps import Step
from orchestrator.spec.strict import check, did_you_mean, naming
from reskd.checkpoint import load_weights
from reskd.errors import BadInput
from reskd.methods.distillation import LastMap, check_maps
from reskd.models.catalogue import MODELS, build_model, is_model
from reskd.recipe import ModelSpec, Recipe, require_mean

ANY_NUMBER = 2
"""Number of classes of the networks that are built for data whose classes are not known yet."""


def check_models(steps: Mapping[str, Step], classes_of: Callable[[Step], tuple[str, ...] | None]) -> None:
    """Check each network of the steps with one clip on torch's meta device. Nothing is computed or downloaded.

    ``classes_of`` gives the class names of a step's data; None: not known yet, and not compared. Raises BadInput, with
    the name of the row, if

    - a resolution is too small for the network's last map, in training or in the final test;
    - student and teacher have maps with other channels or of another number in time, and the KD level needs them equal;
    - a teacher was trained on too few frames for the student's clips;
    - a teacher has other classes, or a teacher from a file needs larger frames than data.crop_size;
    - the file of an imported model does not hold that model, or holds one with another number of classes.
    """
    map_of, model_in = cache(_last_map), cache(_model_in)
    student_of = {step.teacher_id: step for step in steps.values()}
    for step in steps.values():
        recipe, classes = step.recipe, classes_of(step)
        num_classes = ANY_NUMBER if classes is None else len(classes)
        # For a teacher that is in no row, the message names the row of a student.
        row, _ = (step if step.cells else student_of[step.id]).cells[0]
        with naming(f"row {row!r}" + ("" if step.cells else ": teacher")):
            num_frames = recipe.data.num_frames
            ours = map_of(_network(recipe.model), num_frames, num_frames, num_classes)
            crop_size = recipe.data.crop_size
            tested = recipe.model.at_crop(recipe.test_protocol.crop_size or crop_size, trained_at=crop_size)
            with naming("its final test (eval.crop_size)"):
                map_of(_network(tested), num_frames, num_frames, num_classes)
            if recipe.is_imported and classes is not None:
                _check_file(recipe, classes)
            if not recipe.has_teacher:
                continue
            source = recipe.teacher
            assert source is not None, "a recipe with distillation has a teacher"
            if isinstance(source, Recipe):
                teacher, taught_on = source.model, source.data.num_frames
                assert step.teacher_id is not None
                _refuse_other_classes(classes_of(steps[step.teacher_id]), classes, "its teacher's data")
            else:
                teacher, known = model_in(source.checkpoint, classes, recipe.data.crop_size)
                taught_on = known or num_frames
            with naming("its teacher"):
                theirs = map_of(_network(teacher), taught_on, num_frames, num_classes)
            require_mean(recipe.kd, teacher, who="the teacher")
            names = {"student": recipe.model.name, "teacher": teacher.name}
            check_maps(recipe.kd.level, ours, theirs, num_frames=num_frames, **names)


def _check_file(recipe: Recipe, classes: tuple[str, ...]) -> None:
    import torch

    from reskd.models.imported import read_imported

    with torch.device("meta"):
        model = build_model(recipe.model, num_classes=len(classes), num_frames=recipe.data.num_frames)
    read_imported(recipe, own=model.state_dict(), classes=classes)


def _refuse_other_classes(theirs: tuple[str, ...] | None, ours: tuple[str, ...] | None, who: str) -> None:
    if theirs is not None and ours is not None and theirs != ours:
        raise BadInput(
            f"{who} has {len(theirs)} classes, the student's data has {len(ours)}, or their names differ; "
            f"a teacher and its students must have the same classes in the same order"
        )


def _network(spec: ModelSpec) -> ModelSpec:
    """The fields that decide the shape of the last map. Networks with equal fields are checked once."""
    return ModelSpec(name=spec.name, resolution=spec.resolution, enlarge_to=spec.enlarge_to, stride=spec.stride)


def _last_map(spec: ModelSpec, trained_on: int, num_frames: int, num_classes: int) -> LastMap:
    """The shape of a network's last map for a clip of ``num_frames`` frames. Raises BadInput if there is no map.

    trained_on: frames of the clips in its training. Some networks cannot look at more.
    """
    key = [spec.name, spec.resolution, spec.enlarge_to, spec.stride, trained_on, num_frames, num_classes]
    size = partial(_size_of_map, spec, trained_on, num_frames, num_classes)
    return LastMap(*remembered(f"last map {json.dumps(key)}", size))


def _size_of_map(spec: ModelSpec, trained_on: int, num_frames: int, num_classes: int) -> tuple[int, int]:
    """(channels, maps in time), from a pass on shapes."""
    import torch

    with torch.device("meta"):
        model = build_model(spec, num_classes=num_classes, num_frames=trained_on).eval()
        clip = torch.empty(1, num_frames, 3, spec.input_size, spec.input_size)
    reason = "it would be empty"
    try:
        num_time_cells, num_channels, height, width = model(clip).features.shape
        if height * width > 0:
            return num_channels, num_time_cells
    except RuntimeError as error:  # most layers refuse a map smaller than themselves
        reason = str(error)
    raise BadInput(
        f"model.resolution is {spec.resolution}, too small for {spec.name!r} with clips of {num_frames} frames "
        f"({reason}); raise it, or change data.num_frames"
    )


def _model_in(path: str, classes: tuple[str, ...] | None, crop_size: int) -> tuple[ModelSpec, int | None]:
    """The network in a teacher's weights file, and the number of frames that it was trained on."""
    content = load_weights(Path(path))
    with naming(path):
        spec: ModelSpec = check(ModelSpec, content["model_spec"], name="model_spec")
        if not is_model(spec.name):
            raise BadInput(f"'model_spec.name' is not a model: {spec.name!r}{did_you_mean(spec.name, MODELS)}")
        _refuse_other_classes(tuple(content["classes"]), classes, "this teacher")
        if spec.resolution > crop_size:
            raise BadInput(
                f"this teacher takes {spec.resolution} pixels, more than data.crop_size = "
                f"{crop_size}; raise data.crop_size"
            )
    return spec, content.get("num_frames")
