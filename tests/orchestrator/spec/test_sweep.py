import copy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints
from unicodedata import normalize

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from orchestrator.spec.sweep import (
    CohortSpec,
    Resources,
    SweepFile,
    TableSpec,
    load,
    recipe_from_dict,
    recipe_to_dict,
)
from reskd.errors import BadInput
from reskd.recipe import Checkpoint, DataSpec, KDSpec, ModelSpec, OptimSpec, Recipe

DEMO = Path(__file__).parents[3] / "sweeps" / "demo.yaml"
GOOD = {
    "question": "Does it work?",
    "base": {
        "data": {"name": "toy", "crop_size": 64, "short_side": 64},
        "model": {"name": "tsn_mini10", "resolution": 32},
        "optim.epochs": 4,
        "teacher": {"model.name": "tsn_mini18", "model": {"resolution": 64}},
    },
    "rows": {"chain": [{"row": "baseline"}, {"row": "pixel", "kd.level": "pixel"}]},
    "seeds": [0, 1],
    "tables": {"t": {"rows": "row", "columns": ["test/top1", "GMACs"], "delta_to": "baseline"}},
}


def saved(tmp_path, tree=GOOD):
    path = tmp_path / "gap.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False))
    return path


def with_value(where, value):
    """GOOD with a value put at a path of keys and indexes."""
    tree = copy.deepcopy(GOOD)
    node = tree
    for part in where[:-1]:
        node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
    node[where[-1]] = value
    return tree


def message_of(tmp_path, tree, **arguments):
    path = saved(tmp_path, tree)
    with pytest.raises(BadInput) as caught:
        load(path, **arguments)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def rows_of(tmp_path, rows):
    tree = {**GOOD, "rows": rows, "tables": {}}
    return {cell.row: cell.recipe for cell in load(saved(tmp_path, tree)).cells}


def test_a_sweep_is_its_rows_times_its_seeds_over_one_base(tmp_path):
    sweep = load(saved(tmp_path))
    data = DataSpec(name="toy", crop_size=64, short_side=64)
    optim = OptimSpec(epochs=4)

    def teacher(seed):
        model = ModelSpec(name="tsn_mini18", resolution=64)
        return Recipe(data=data, model=model, optim=optim, data_seed=seed, model_seed=seed)

    def student(seed, **values):
        model = ModelSpec(name="tsn_mini10", resolution=32)
        return Recipe(data=data, model=model, optim=optim, data_seed=seed, model_seed=seed, **values)

    assert [(cell.row, cell.seed, cell.recipe) for cell in sweep.cells] == [
        ("baseline", 0, student(0)),
        ("baseline", 1, student(1)),
        ("pixel", 0, student(0, kd=KDSpec(level="pixel"), teacher=teacher(0))),
        ("pixel", 1, student(1, kd=KDSpec(level="pixel"), teacher=teacher(1))),
    ]
    assert (sweep.name, sweep.seeds, sweep.rows, sweep.teacher_seed) == ("gap", (0, 1), ("baseline", "pixel"), None)
    assert (sweep.resources, sweep.cohort) == (Resources(), CohortSpec())
    assert sweep.tables == {
        "t": TableSpec(title="t", rows=("baseline", "pixel"), columns=("test/top1", "GMACs"), delta_to="baseline")
    }


def test_the_demo_shares_steps_between_its_tables(tmp_path):
    sweep = load(DEMO)
    recipes = {(cell.row, cell.seed): cell.recipe for cell in sweep.cells}
    assert recipes["18 px", 1] == recipes["pixel-level MSE", 1]
    assert recipes["pixel-level MSE", 0] != recipes["pixel-level MSE", 1]
    assert {row: recipes[row, 0].teacher.model.resolution for row in sweep.tables["table6"].rows[1:]} == {
        "model distillation": 18,
        "resolution distillation": 48,
        "pixel-level MSE": 48,
    }
    assert len(sweep.cells) == 30


def test_a_fixed_teacher_seed_holds_for_every_student_and_is_told(tmp_path):
    sweep = load(saved(tmp_path, with_value(["base", "teacher", "seed"], 5)))
    assert sweep.teacher_seed == 5
    taught = [cell.recipe for cell in sweep.cells if cell.row == "pixel"]
    assert [(recipe.data_seed, recipe.teacher.data_seed, recipe.teacher.model_seed) for recipe in taught] == [
        (0, 5, 5),
        (1, 5, 5),
    ]


def test_the_teacher_is_the_base_and_not_the_row_with_its_changes(tmp_path):
    row = {"row": "a", "kd.level": "clip", "optim.lr": 0.5, "teacher.optim.epochs": 9}
    recipe = rows_of(tmp_path, {"chain": [row]})["a"]
    assert (recipe.optim.lr, recipe.optim.epochs) == (0.5, 4)
    assert (recipe.teacher.optim.lr, recipe.teacher.optim.epochs, recipe.teacher.kd) == (0.01, 9, KDSpec())
    assert (recipe.teacher.model.name, recipe.teacher.model.resolution) == ("tsn_mini18", 64)


def test_a_grid_is_a_product_and_a_zip_goes_in_step_and_rows_follow_as_written(tmp_path):
    rows = rows_of(
        tmp_path,
        {
            "zip": {"row": ["a", "b"], "kd": {"level": ["clip", "none"]}, "model.resolution": [16, 24]},
            "grid": {"model.resolution": [16, 64], "data.flip": [True, False]},
            "chain": [{"row": "c"}],
        },
    )
    assert list(rows) == [
        "a",
        "b",
        "model.resolution=16, data.flip=true",
        "model.resolution=16, data.flip=false",
        "model.resolution=64, data.flip=true",
        "model.resolution=64, data.flip=false",
        "c",
    ]
    assert (rows["a"].kd.level, rows["a"].model.resolution) == ("clip", 16)
    assert (rows["b"].kd.level, rows["b"].model.resolution, rows["b"].teacher) == ("none", 24, None)
    assert rows["model.resolution=64, data.flip=false"].model.resolution == 64
    assert rows["model.resolution=64, data.flip=false"].data.flip is False
    assert list(rows_of(tmp_path, {"zip": {"model.resolution": [16, 24], "optim.lr": [1, 2]}})) == [
        "model.resolution=16, optim.lr=1",
        "model.resolution=24, optim.lr=2",
    ]


def test_a_row_may_replace_the_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = rows_of(
        tmp_path,
        {
            "chain": [
                {"row": "file", "kd.level": "clip", "teacher": {"checkpoint": "big.pt"}},
                {"row": "none", "teacher": None},
            ]
        },
    )
    assert rows["file"].teacher == Checkpoint(checkpoint=str(tmp_path / "big.pt"))
    assert rows["none"].teacher is None


def test_an_empty_teacher_is_the_base_itself(tmp_path):
    tree = with_value(["base", "teacher"], {})
    recipe = load(saved(tmp_path, tree)).cells[-1].recipe
    assert recipe.teacher.model == recipe.model
    assert recipe.teacher.kd.level == "none"


def test_relative_paths_start_at_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = with_value(["base", "data", "root"], "videos")
    tree["base"]["model"]["weights"] = "../w.pt"
    recipe = load(saved(tmp_path, tree)).cells[-1].recipe
    assert recipe.data.root == recipe.teacher.data.root == str(tmp_path / "videos")
    assert recipe.model.weights == str(tmp_path.parent / "w.pt")
    assert recipe.data.train == "train.csv"


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("1E3", 1000.0), ("7", 7.0), (".5", 0.5), ("+1.", 1.0), ("010", 10.0)]
)
def test_numbers_are_read_as_people_write_them(tmp_path, text, value):
    path = saved(tmp_path, yaml.safe_dump(GOOD) + "\n")
    path.write_text(path.read_text().replace("optim.epochs: 4", f"optim.lr: {text}"))
    lr = load(path).cells[0].recipe.optim.lr
    assert lr == value
    assert type(lr) is float


def test_words_that_older_yaml_takes_for_numbers_and_booleans_are_words(tmp_path):
    text = yaml.safe_dump(GOOD, sort_keys=False).replace("row: baseline", "row: on").replace("row: pixel", "row: 1:30")
    assert load(saved(tmp_path, text.replace("delta_to: baseline", "delta_to: on"))).rows == ("on", "1:30")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["questoin"], "'questoin' is not a field of SweepFile; did you mean 'question'?"),
        (["base", "dta"], "'dta' is not a field of Recipe; did you mean 'data'?"),
        (["base", "lr"], "'lr' is not a field of Recipe; did you mean 'optim.lr'?"),
        (["base", "kd.temprature"], "'kd.temprature' is not a field of KDSpec; did you mean 'kd.temperature'?"),
        (["base", "data", "cropsize"], "'data.cropsize' is not a field of DataSpec; did you mean 'data.crop_size'?"),
        (["base", "kd.level.x"], "'kd.level' is one value and has no field 'x'; remove it"),
        (
            ["base", "teacher", "modle.name"],
            "'teacher.modle.name' is not a field of Recipe; did you mean 'teacher.model'?",
        ),
        (["base", "teacher", "sede"], "'teacher.sede' is not a field of Recipe; did you mean 'teacher.seed'?"),
        (["base", "teacher", "kd.level"], "'teacher.kd.level' is not for a teacher"),
        (["base", "data_seed"], "'data_seed' cannot be set here; 'seeds' sets it"),
        (["rows", "gird"], "'rows.gird' is not a way to list rows; did you mean 'rows.grid'?"),
        (["rows", "chain", 1, "kd.lvel"], "row 'pixel': 'kd.lvel' is not a field of KDSpec; did you mean 'kd.level'?"),
        (["rows", "chain", 1, "teacher.seed"], "row 'pixel': 'teacher.seed' cannot be set here"),
        (["resources", "worker"], "'resources.worker' is not a field of Resources; did you mean 'resources.workers'?"),
        (
            ["cohort", "max_member"],
            "'cohort.max_member' is not a field of CohortSpec; did you mean 'cohort.max_members'",
        ),
        (["tables", "t", "titel"], "'tables.t.titel' is not a field of TableSpec; did you mean 'tables.t.title'?"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(tmp_path, where, expected):
    assert expected in message_of(tmp_path, with_value(where, 1))


NAN = float("nan")


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        (["question"], 3, "'question' must be text, in quotes if it looks like something else, got 3"),
        (["question"], " ", "'question' is empty"),
        (["base"], None, "'base' must be a mapping, got None"),
        (["base", "data"], 3, "'data' must be a mapping, got 3"),
        (["base", "teacher"], "big", "'teacher' must be null or a mapping of changes, once; got 'big'"),
        (["base", "teacher", "checkpoint"], 3, "'teacher.checkpoint' must be text"),
        (["base", "teacher", "seed"], -1, "'teacher.seed' must be at least 0, got -1"),
        (["base", "teacher", "optim.epochs"], "x", "'teacher.optim.epochs' must be a whole number, got 'x'"),
        (["base", "optim.lr"], "fast", "'optim.lr' must be a number, got 'fast'"),
        (["base", "optim.lr"], True, "'optim.lr' must be a number, got True"),
        (["base", "optim.lr"], NAN, "'optim.lr' must be a finite number, got nan"),
        (["base", "optim.lr"], float("inf"), "'optim.lr' must be a finite number, got inf"),
        (["base", "optim.clip_norm"], "a", "'optim.clip_norm' must be a number, got 'a'"),
        (["base", "optim.epochs"], True, "'optim.epochs' must be a whole number, got True"),
        (["base", "optim.epochs"], 2.0, "'optim.epochs' must be a whole number, got 2.0"),
        (["base", "data", "flip"], 1, "'data.flip' must be true or false, got 1"),
        (["base", "data", "crop_scales"], [1, "x"], "'data.crop_scales[1]' must be a number, got 'x'"),
        (["base", "data", "crop_scales"], 1, "'data.crop_scales' must be a list, got 1"),
        (["base", "kd.level"], "pixle", "'frame', 'pixel' or 'pixel_kl', got 'pixle'; did you mean 'pixel'?"),
        (["base", "model", "name"], "tsn_mini11", "'model.name' is not a model: 'tsn_mini11'; did you mean 'tsn_mini1"),
        (["base", "teacher", "model", "name"], "x", "'teacher.model.name' is given twice; keep one"),
        (["base", "optim"], {"epochs": 3}, "'optim.epochs' is given twice; keep one"),
        (["rows"], {}, "'rows' is empty"),
        (["rows"], [], "'rows' must be a mapping, got []"),
        (["rows", "chain"], [], "'rows.chain' must be a list of one row or more, got []"),
        (["rows", "chain", 0], "a", "'rows.chain[0]' must be a mapping, got 'a'"),
        (["rows", "chain", 0], {"kd.level": "none"}, "'rows.chain[0].row' must be the row's name as text"),
        (["rows", "chain", 0, "row"], 224, "'rows.chain[0].row' must be the row's name as text"),
        (["rows", "chain", 1, "row"], "baseline", "two rows are named 'baseline'; rename one"),
        (["rows", "chain", 1, "optim.lr"], "x", "row 'pixel': 'optim.lr' must be a number, got 'x'"),
        (["rows", "chain", 1, "optim.lr"], -1, "row 'pixel': optim.lr must be positive, got -1.0"),
        (["rows", "chain", 1, "model.resolution"], 65, "row 'pixel': model.resolution must be at most"),
        (["rows", "chain", 1, "teacher.optim.lr"], 0, "row 'pixel': teacher: optim.lr must be positive, got 0.0"),
        (["rows", "chain", 1, "teacher"], None, "row 'pixel': kd.level is 'pixel' but there is no teacher"),
        (["rows", "grid"], {"optim.lr": []}, "'rows.grid.optim.lr' must be a list of one value or more, got []"),
        (["rows", "grid"], {"row": ["a"]}, "'rows.grid.row' cannot name the rows of a grid"),
        (["rows", "grid"], {f"optim.{name}": [*range(1, 200)] for name in "abc"}, "has 7880599 rows, more than 10000"),
        (["rows", "grid"], {"optim.lr": [1, 1]}, "two rows are named 'optim.lr=1'"),
        (["rows", "zip"], {"optim.lr": [1, 2], "data.flip": [True]}, "axes of one length, got optim.lr 2, data.flip 1"),
        (["rows", "zip"], {"row": ["a", 3]}, "'rows.zip.row[1]' must be the row's name as text"),
        (["seeds"], [], "'seeds' is empty"),
        (["seeds"], 3, "'seeds' must be a list, got 3"),
        (["seeds"], [0, True], "'seeds[1]' must be a whole number, got True"),
        (["seeds"], [0, -1], "'seeds[1]' must be at least 0, got -1"),
        (["seeds"], [0, 1, 0], "'seeds' has 0 twice; keep one"),
        (["resources", "workers"], 0, "'resources.workers' must be at least 1, got 0"),
        (["resources", "workers"], 3, "row 'baseline': 'resources.workers' must divide optim.batch_size"),
        (["resources"], {"max_cpus": 1, "workers": 2}, "'resources.max_cpus' is 1, but a job takes 2 workers x 1 cpus"),
        (["resources"], {"max_gpus": 3, "gpus_per_worker": 4}, "'resources.max_gpus' is 3, but a job takes 1 workers"),
        (["cohort", "max_members"], 0, "'cohort.max_members' must be at least 1, got 0"),
        (["cohort", "enabled"], "yes", "'cohort.enabled' must be true or false, got 'yes'"),
        (["tables", "a/b"], {}, "'tables' has the key 'a/b'; it names files"),
        (["tables", "u"], {"rows": "row"}, "'tables.u.columns' is missing"),
        (["tables", "t"], 3, "'tables.t' must be a mapping, got 3"),
        (["tables", "t", "rows"], [], "'tables.t.rows' selects nothing"),
        (["tables", "t", "rows"], "rwo", "'tables.t.rows' must be a list, got 'rwo'"),
        (["tables", "t", "rows"], ["pixl"], "'tables.t.rows' names 'pixl', which is not a row; did you mean 'pixel'?"),
        (["tables", "t", "rows"], ["pixel", "pixel"], "'tables.t.rows' has 'pixel' twice; keep one"),
        (["tables", "t", "columns"], [], "'tables.t.columns' selects nothing"),
        (["tables", "t", "columns"], ["GMAC"], "'tables.t.columns' has 'GMAC'; a column is test/<metric> or one of"),
        (["tables", "t", "delta_to"], "base", "'tables.t.delta_to' names 'base', which is not a row"),
        (
            ["tables", "t", "main_row"],
            "pixl",
            "'tables.t.main_row' names 'pixl', which is not a row; did you mean 'pixel'",
        ),
        (
            ["tables", "t", "main_row"],
            "baseline",
            "'tables.t.main_row' has no difference: it needs 'tables.t.delta_to'",
        ),
        (["tables", "t", "published_rows"], {"x": "y"}, "'tables.t.published_rows' names 'x', which is not a row"),
        (["tables", "t", "published_rows"], {"pixel": "y"}, "'tables.t.published_rows' needs 'tables.t.published'"),
        (
            ["tables", "t", "plot"],
            "accuracy",
            "'tables.t.plot[0]' must be 'accuracy_vs_gmacs', 'learning_curves' or 'class_gain', got 'accuracy'",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_field_and_a_way_out(tmp_path, where, value, expected):
    assert expected in message_of(tmp_path, with_value(where, value))


def test_a_checkpoint_takes_no_changes(tmp_path):
    tree = with_value(["base", "teacher"], {"checkpoint": "a.pt", "optim.lr": 1})
    assert "'teacher.optim.lr' cannot change a finished 'teacher.checkpoint'" in message_of(tmp_path, tree)


def test_workers_have_to_suit_the_teacher_too(tmp_path):
    tree = with_value(["base", "teacher", "optim.batch_size"], 8)
    tree["resources"] = {"workers": 2}
    assert "row 'pixel': teacher: 'resources.workers' must divide" in message_of(tmp_path, tree)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be a mapping with question, base, rows and seeds, got None"),
        ("- a\n", "must be a mapping with question, base, rows and seeds, got ['a']"),
        ("a: [1\n", "line 2, column 1: not a sweep in YAML: "),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: not a sweep in YAML: 'a' is given twice; keep one"),
        ("a: {224: x}\n", "a key is read as 224, not as text; put it in quotes"),
        ("a: &x [1]\nb: *x\n", "alias *x; write the value out again"),
        ("a: !!python/name:os.system x\n", "could not determine a constructor"),
        ("a: !!binary aGk=\n", "could not determine a constructor"),
        ("a: !!bool maybe\n", "not a sweep in YAML: "),
        ("a: \x00\n", "not a sweep in YAML: "),
        ("[" * 20_000, "nested too deeply"),
        ("a: " + "1" * 10_000, "not a sweep in YAML: "),
    ],
)
def test_what_is_no_sweep_in_yaml_is_refused(tmp_path, text, expected):
    assert expected in message_of(tmp_path, text)


def test_files_that_cannot_be_sweeps_are_refused_unread(tmp_path):
    with pytest.raises(BadInput, match=r"gone\.yaml: cannot be read \(No such file or directory\)"):
        load(tmp_path / "gone.yaml")
    with pytest.raises(BadInput, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    with pytest.raises(BadInput, match="not a text file in UTF-8"):
        load(tmp_path / "latin.yaml")
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(BadInput, match="1,000,000,000,000 bytes; the limit is 200,000 bytes"):
        load(tmp_path / "big.yaml")


def test_changes_of_the_command_line_change_the_base_and_the_name(tmp_path):
    path = saved(tmp_path)
    sweep = load(path, changes=["optim.lr=2e-2", "seeds=[3]", "resources.workers=2", "teacher.seed=1"])
    assert sweep.name == "gap+optim.lr=2e-2+seeds=[3]+teacher.seed=1"
    assert {cell.recipe.optim.lr for cell in sweep.cells} == {0.02}
    assert sweep.cells[-1].recipe.teacher.optim.lr == 0.02
    assert (sweep.seeds, sweep.resources.workers, sweep.teacher_seed) == ((3,), 2, 1)


def test_changes_of_where_it_runs_leave_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = load(saved(tmp_path), changes=["data.root=videos", "cohort.enabled=false", "resources.max_cpus=8"])
    assert sweep.name == "gap"
    assert sweep.cells[0].recipe.data.root == str(tmp_path / "videos")
    assert (sweep.cohort.enabled, sweep.resources.max_cpus) == (False, 8.0)


def test_a_change_of_a_value_given_nested_or_dotted_overrides_it(tmp_path):
    sweep = load(saved(tmp_path), changes=["model.resolution=16", "optim.epochs=3"])
    assert (sweep.cells[0].recipe.model.resolution, sweep.cells[0].recipe.optim.epochs) == (16, 3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("optim.lr", "--set 'optim.lr': write it as key=value, such as optim.lr=0.02"),
        ("optim.lrr=1", "'optim.lrr' is not a field of OptimSpec; did you mean 'optim.lr'?"),
        ("optim.lr=x", "'optim.lr' must be a number, got 'x'"),
        ("question=why", "'question' is not a field of Recipe"),
        ("resources.worker=2", "'resources.worker' is not a field of Resources"),
        ("resources=2", "'resources' must be a mapping, got 2"),
        ("seeds=1", "'seeds' must be a list, got 1"),
        ("optim.lr=[", "not a sweep in YAML"),
        ("row=x", "'row' is not a field of Recipe"),
    ],
)
def test_a_wrong_change_is_refused(tmp_path, change, expected):
    assert expected in message_of(tmp_path, GOOD, changes=[change])


def test_a_change_that_every_row_overrides_is_refused(tmp_path):
    tree = with_value(["rows"], {"zip": {"optim.lr": [1, 2]}})
    assert "--set optim.lr would change nothing" in message_of(tmp_path, tree, changes=["optim.lr=3"])
    assert "--set optim.lr is given twice" in message_of(tmp_path, GOOD, changes=["optim.lr=3", "optim.lr=4"])


def levels_of(kind, place=()):
    """Every mapping of dataclass fields under a place of the file, with the keys it takes."""
    yield place, {entry.name for entry in fields(kind)}
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from levels_of(hint, (*place, name))


LEVELS = [
    *levels_of(SweepFile),
    *levels_of(Recipe, ("base",)),
    (("base", "teacher"), {entry.name for entry in fields(Recipe)} | {"seed", "checkpoint"}),
    (("rows", "chain", 0), {entry.name for entry in fields(Recipe)} | {"row"}),
    (("rows",), {"chain", "grid", "zip"}),
    (("tables", "t"), {entry.name for entry in fields(TableSpec)}),
]


@example(level=LEVELS[0], key="x\uf900")  # a letter that Unicode's NFC writes as another one
@given(level=st.sampled_from(LEVELS), key=st.text(max_size=12).map("x".__add__))
def test_no_unknown_key_passes_at_any_level(tmp_path_factory, level, key):
    place, known = level
    assume(key.split(".")[0] not in known)
    message = message_of(tmp_path_factory.mktemp("sweep"), with_value([*place, key], 1))
    assert repr(normalize("NFC", key))[1:-1] in message


def places_of(tree, place=()):
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield [*place, key]
        yield from places_of(value, (*place, key))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@given(place=st.sampled_from(list(places_of(GOOD))), value=VALUES)
def test_whatever_stands_in_a_place_the_answer_is_a_sweep_or_one_line(tmp_path_factory, place, value):
    answer_of(saved(tmp_path_factory.mktemp("sweep"), with_value(place, value)))


@given(st.text(alphabet="ab01:{}[]-+.!&*|>%@#?'\"\n ~<=", max_size=40))
def test_whatever_the_text_the_answer_is_one_line(tmp_path_factory, text):
    assert answer_of(saved(tmp_path_factory.mktemp("sweep"), text)) is not None


def answer_of(path):
    """What is wrong with a sweep, or None; anything but BadInput fails the test."""
    try:
        load(path)
    except BadInput as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        return message
    return None


FLOATS = st.floats(min_value=0, max_value=1, exclude_min=True)


@given(lr=FLOATS, decay=FLOATS, scales=st.lists(FLOATS, min_size=1, max_size=3), seed=st.integers(0, 2**40))
def test_a_recipe_survives_being_plain_values(lr, decay, scales, seed):
    recipe = Recipe(
        data=DataSpec(crop_scales=tuple(scales)),
        optim=OptimSpec(lr=lr, weight_decay=decay),
        kd=KDSpec(level="clip"),
        teacher=Recipe(optim=OptimSpec(lr=decay), model_seed=seed),
        data_seed=seed,
    )
    assert recipe_from_dict(recipe_to_dict(recipe)) == recipe


def test_a_checkpoint_survives_being_plain_values():
    recipe = Recipe(kd=KDSpec(level="pixel"), teacher=Checkpoint(checkpoint="/a.pt"))
    assert recipe_from_dict(recipe_to_dict(recipe)) == recipe


def test_a_name_is_the_same_row_however_its_accents_are_written(tmp_path):
    """Composed in the row, with the accent apart in the table, and as escapes in the change of the name of the data."""
    path = tmp_path / "s.yaml"
    path.write_text(
        'question: q\nbase: {data: {name: "caf\\u0065\\u0301"}}\nrows: {chain: [{row: entr\u00e9e, kd.level: none}]}\n'
        "seeds: [0]\ntables: {t: {rows: [entre\u0301e], columns: [test/top1]}}\n",
        encoding="utf-8",
    )
    sweep = load(path)
    assert sweep.tables["t"].rows == sweep.rows == ("entr\u00e9e",)
    assert sweep.cells[0].recipe.data.name == "caf\u00e9"


def test_a_row_name_with_a_letter_that_nobody_sees_is_refused(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "question: q\nbase: {}\nrows: {chain: [{row: a\u200b, kd.level: none}]}\nseeds: [0]\n", encoding="utf-8"
    )
    with pytest.raises(BadInput, match=r"the row name 'a\\u200b' holds U\+200B ZERO WIDTH SPACE; write it without"):
        load(path)


def test_a_file_of_weights_is_found_whatever_form_its_name_has(tmp_path):
    (tmp_path / "caf\u0065\u0301.pt").write_bytes(b"a")
    path = tmp_path / "s.yaml"
    path.write_text(
        f"question: q\nbase: {{model.weights: {tmp_path}/caf\u00e9.pt}}\n"
        "rows: {chain: [{row: a, kd.level: none}]}\nseeds: [0]\n",
        encoding="utf-8",
    )
    assert load(path).cells[0].recipe.model.weights == f"{tmp_path}/caf\u0065\u0301.pt"
