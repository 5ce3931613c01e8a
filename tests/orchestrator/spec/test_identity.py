import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec.expand import IMPORTED
from orchestrator.spec.identity import canonical_json, file_sha256, payload, short, step_id
from reskd.errors import BadInput
from reskd.recipe import Checkpoint, DataSpec, EvalSpec, KDSpec, ModelSpec, OptimSpec, Recipe

MANIFEST = "0" * 64
TEACHER = Recipe(model=ModelSpec(name="tsn_mini18", resolution=64))
STUDENT = Recipe(
    model=ModelSpec(name="tsn_mini10", resolution=24), kd=KDSpec(level="clip", temperature=3.0), teacher=TEACHER
)


def id_of(recipe, *, manifest=MANIFEST, teacher="t" * 64, weights=None):
    return step_id(payload(recipe, manifest_sha256=manifest, teacher=teacher, weights_sha256=weights))


def test_the_id_of_a_fixed_recipe_never_changes():
    # Written out by hand from the recipe's fields: if this fails, every store has lost its steps.
    text = (
        '{"data":{"crop_scales":[1.0,0.875,0.75,0.66],"crop_size":224,"decode":"pyav","flip":true,"num_frames":16,'
        '"short_side":256},"data_seed":3,"kd":{"align_corners":false,"level":"pixel","teacher_mode":"eval",'
        '"temperature":2.0,"weight":100.0},"manifest_sha256":"abc","model":{"antialias":false,"dropout":0.5,'
        '"name":"tsn_resnet50","resolution":112,"weights":"imagenet_v1"},"model_seed":4,"optim":{"batch_size":64,'
        '"clip_norm":null,"epochs":50,"group_size":8,"lr":0.01,"momentum":0.9,"name":"sgd","nesterov":false,'
        '"running_stats":"mean","schedule":"cosine","warmup_epochs":0.0,"weight_decay":0.0001},"precision":"fp32",'
        '"recipe_version":1,"teacher":"def"}'
    )
    recipe = Recipe(
        model=ModelSpec(resolution=112, weights="imagenet_v1"),
        kd=KDSpec(level="pixel"),
        teacher=Recipe(),
        data_seed=3,
        model_seed=4,
    )
    made = payload(recipe, manifest_sha256="abc", teacher="def")
    assert canonical_json(made) == text
    assert step_id(made) == hashlib.sha256(text.encode()).hexdigest()
    assert step_id(made) == "a54bb932f14ac3acc9070739ada4305bd5d327f69095a3aaaafbce5015b2ad78"
    assert short(step_id(made)) == step_id(made)[:16]


def test_where_and_how_a_training_runs_is_no_part_of_the_id():
    moved = replace(
        STUDENT,
        data=DataSpec(name="elsewhere", root="/mnt", train="t.csv", val="v.csv", classes="c.txt", max_damaged=0.5),
        eval=EvalSpec(every=7, metric="mAP"),
    )
    assert id_of(moved) == id_of(STUDENT)


def another(value, hint):
    """A value of the same type that is not ``value`` and that the recipe's checks accept."""
    choices = [choice for choice in get_args(hint) if isinstance(choice, str) and choice != value]
    if choices:
        return choices[-1]
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return value[:-1]
    if isinstance(value, str):
        return "imagenet_v1"
    if value is None:
        return 0.5 if float in get_args(hint) else 64
    return value / 2 if isinstance(value, float) and value else value + 1


def identity_fields(spec, path=()):
    for entry in fields(spec):
        value = getattr(spec, entry.name)
        if is_dataclass(value) and entry.name != "teacher":
            yield from identity_fields(value, (*path, entry.name))
        elif entry.metadata.get("identity", True) and entry.name != "teacher":
            yield (*path, entry.name)


def changed(spec, path):
    name, *rest = path
    value = getattr(spec, name)
    return replace(spec, **{name: changed(value, rest) if rest else another(value, get_type_hints(type(spec))[name])})


WITH_ANOTHER = {("optim", "milestones"), ("data", "frame_stride")}
"""Fields that cannot be told from their partner: each is refused with the other's default."""


# test_imported_rows.py tells what counts of a model from a checkpoint.
TRAINED_BY = [path for path in identity_fields(STUDENT) if path[0] not in IMPORTED]


@pytest.mark.parametrize("path", TRAINED_BY, ids=".".join)
def test_every_other_field_changes_the_id(path):
    # batch_size has to stay a multiple of group_size.
    by_hand = {
        ("optim", "group_size"): {"group_size": 16},
        ("optim", "batch_size"): {"batch_size": 32},
        ("optim", "milestones"): {"schedule": "step", "milestones": (3,)},
        ("optim", "gamma"): {"schedule": "step", "milestones": (3,), "gamma": 0.5},
        ("model", "exit_beta"): {"name": "frameexit_mini10", "exit_beta": 1e-3},
        ("model", "enlarge_to"): {"enlarge_to": 64},
        ("model", "stride"): {"stride": 16},
        ("data", "frame_stride"): {"sampling": "dense", "frame_stride": 2},
    }
    if path in by_hand:
        room, values = getattr(STUDENT, path[0]), by_hand[path]
        # What has to be changed with a field is changed in both.
        rest = {name: value for name, value in values.items() if name != path[1]}
        before = replace(STUDENT, **{path[0]: replace(room, **({} if path in WITH_ANOTHER else rest))})
        other = replace(STUDENT, **{path[0]: replace(room, **values)})
    else:
        before, other = STUDENT, changed(STUDENT, path)
    assert id_of(other) != id_of(before)


def test_data_teacher_and_the_content_of_weights_change_the_id():
    weighted = replace(STUDENT, model=replace(STUDENT.model, weights="/some/file.pt"))
    ids = {
        id_of(STUDENT),
        id_of(STUDENT, manifest="1" * 64),
        id_of(STUDENT, teacher="u" * 64),
        id_of(weighted, weights="a" * 64),
        id_of(weighted, weights="b" * 64),
    }
    assert len(ids) == 5
    moved = replace(weighted, model=replace(weighted.model, weights="/another/file.pt"))
    assert id_of(moved, weights="a" * 64) == id_of(weighted, weights="a" * 64)


def test_without_distillation_the_teacher_and_its_fields_do_not_count():
    teacher_as_a_row = replace(TEACHER, kd=KDSpec(level="none", weight=7.0, temperature=9.0), teacher=STUDENT.teacher)
    assert id_of(teacher_as_a_row) == id_of(TEACHER, teacher=None)
    assert "kd" not in payload(TEACHER, manifest_sha256=MANIFEST, teacher=None)


def test_a_teacher_counts_by_its_id_alone():
    from_file = replace(STUDENT, teacher=Checkpoint(checkpoint="/x.pt"))
    assert id_of(from_file) == id_of(STUDENT)
    assert id_of(from_file, teacher="checkpoint:" + "t" * 64) != id_of(STUDENT)


def test_the_default_weight_and_the_same_weight_written_out_are_one_step():
    assert id_of(STUDENT) == id_of(replace(STUDENT, kd=replace(STUDENT.kd, weight=1.0)))
    assert id_of(STUDENT) != id_of(replace(STUDENT, kd=replace(STUDENT.kd, weight=1.5)))


def test_whole_numbers_and_floats_are_one_step_where_the_field_is_a_float():
    ints = Recipe(data=DataSpec(crop_scales=(1,)), optim=OptimSpec(lr=1, weight_decay=-0.0, clip_norm=2))
    floats = Recipe(data=DataSpec(crop_scales=(1.0,)), optim=OptimSpec(lr=1.0, weight_decay=0.0, clip_norm=2.0))
    assert id_of(ints) == id_of(floats)


def test_a_field_added_later_counts_only_when_it_is_not_at_its_default():
    def recipe(optim, **values):
        return replace(STUDENT, optim=optim(epochs=9, **values))

    added = field(default=1.0, metadata={"added": True})
    grown = make_dataclass(
        "OptimSpec", [("ema", float, added)], bases=(OptimSpec,), frozen=True, kw_only=True, slots=True
    )
    assert id_of(recipe(grown)) == id_of(recipe(OptimSpec))
    assert id_of(recipe(grown, ema=1.0)) == id_of(recipe(OptimSpec))
    assert id_of(recipe(grown, ema=0.9)) != id_of(recipe(OptimSpec))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_canonical_json_reads_back_as_the_same_values_whatever_the_order(values):
    backwards = dict(reversed(values.items()))
    assert canonical_json(values) == canonical_json(backwards)
    assert json.loads(canonical_json(values)) == values


def test_tuples_are_lists():
    assert canonical_json({"a": (1, (2.5,))}) == '{"a":[1,[2.5]]}'


def test_other_letters_are_written_in_ascii_so_that_ids_do_not_depend_on_an_encoding():
    assert canonical_json({"é": "日"}) == r'{"\u00e9":"\u65e5"}'
    assert step_id({"é": "日"}) == hashlib.sha256(rb'{"\u00e9":"\u65e5"}').hexdigest()


@dataclass
class Something:
    pass


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), {1, 2}, print, Something(), b"x", {1: 2}, [1, {"b": {3}}]]
)
def test_what_has_no_stable_text_is_refused(value):
    with pytest.raises(BadInput, match=r"^identity: .*a"):
        canonical_json({"a": value})


def test_a_file_counts_by_its_bytes(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"abc")
    assert file_sha256(tmp_path / "w.pt") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(BadInput, match=r"gone\.pt: cannot be read"):
        file_sha256(tmp_path / "gone.pt")


def test_the_step_schedules_fields_are_absent_from_the_ids_of_other_schedules():
    plain = payload(STUDENT, manifest_sha256=MANIFEST, teacher="t")["optim"]
    assert not {"milestones", "gamma"} & set(plain)
    stepped = replace(STUDENT, optim=OptimSpec(schedule="step", milestones=(20, 40)))
    later = replace(STUDENT, optim=OptimSpec(schedule="step", milestones=(20, 41)))
    assert payload(stepped, manifest_sha256=MANIFEST, teacher="t")["optim"]["milestones"] == [20, 40]
    assert id_of(stepped) != id_of(later)


def test_dense_sampling_and_its_stride_count_and_plain_segments_leave_no_trace():
    plain = payload(STUDENT, manifest_sha256=MANIFEST, teacher="t")["data"]
    assert not {"sampling", "frame_stride", "crop"} & set(plain)
    ids = {id_of(replace(STUDENT, data=DataSpec(sampling="dense", frame_stride=stride))) for stride in (1, 2, 8)}
    assert len(ids | {id_of(STUDENT)}) == 4


def test_the_views_of_the_final_test_are_no_part_of_the_id():
    assert id_of(replace(STUDENT, eval=EvalSpec(views="10x3", twice=True))) == id_of(STUDENT)
