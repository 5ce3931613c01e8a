"""The paper's sweeps without a video: what they train and share; and their smoke form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.experiment.smoke import cut_down
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import load
from orchestrator.store.store import Store
from orchestrator.tables.published import load_published
from reskd.cost.gmacs import complexity
from reskd.models.catalogue import build_model
from tests.support.forms import forms
from tests.support.typed_runs import typed

SWEEPS = Path(__file__).parents[3] / "sweeps"
OFFICIAL = ("table4", "table5", "table6")
DATA_OF = {
    **dict.fromkeys((*OFFICIAL, "controlled", "table1_activitynet", "exp1", "exp2", "extras"), "activitynet"),
    "table1_fcvid": "fcvid",
    "table1_minikinetics": "mini_kinetics",
    "table2_ssv2": "something_something_v2",
    "table3": "kinetics400",
}
"""Every sweep of the paper's, and its data set."""
PAPER = tuple(DATA_OF)
RUN = ("table1_activitynet", "table1_fcvid", "table1_minikinetics", "table2_ssv2", "table3", "table5", "extras")
"""Those whose smoke form is run to its tables: together every annotation format, network and way of distilling."""
COLUMNS_OF = {
    "table1_activitynet": "ActivityNet",
    "table1_fcvid": "FCVID",
    "table1_minikinetics": "Mini-Kinetics",
}
"""How Table 1's published columns for a data set begin."""
FORMATS = {"something_something_v2": "ssv2", "kinetics400": "kinetics"}
SMALL = {
    "frameexit_resnet18",
    *(
        "tsn_resnet18",
        "tsn_resnet34",
        "tsn_mini6",
        "tsn_mini10",
        "tsn_mobilenet_v2",
        "tsm_resnet18",
        "slowonly_mini10",
        "swin3d_mini",
    ),
    "frameexit_mini10",
}
MULTI_LABEL = {"activitynet", "fcvid"}

Prepare = Callable[[str], Prepared]
Smoke = Callable[[str], tuple[Path, Store]]


@pytest.fixture(autouse=True)
def _no_videos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESKD_DATA", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """What a sweep asks for where nothing is done; each is prepared once, since no test changes anything in it."""
    store = Store(tmp_path_factory.mktemp("nothing_done") / "store")
    return cache(lambda name: prepare(SWEEPS / f"{name}.yaml", store=store))


@pytest.fixture(scope="module")
def smoke_form(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """A sweep's smoke form and its store; each is made once, since no test changes anything in it."""
    store = Store(tmp_path_factory.mktemp("smoke_forms") / "store")

    def make(name: str) -> tuple[Path, Store]:
        (made,) = cut_down([SWEEPS / f"{name}.yaml"], changes=[], store=store)
        return made

    return cache(make)


def split_by_row(steps: dict[str, Step]) -> tuple[list[Step], list[Step]]:
    """Steps that stand in a row, and teachers that do not."""
    return [step for step in steps.values() if step.cells], [step for step in steps.values() if not step.cells]


def test_the_three_official_tables_are_36_students_and_9_teachers(prepared: Prepare) -> None:
    steps: dict[str, Step] = {}
    for name in OFFICIAL:
        steps |= prepared(name).steps
    students, teachers = split_by_row(steps)
    assert (len(students), len(teachers)) == (36, 9)
    assert sorted(step.recipe.optim.epochs for step in students) == [50] * 18 + [200] * 18
    assert {step.recipe.optim.epochs for step in teachers} == {50}


def test_the_controlled_tables_are_33_students_and_9_teachers_under_one_budget(prepared: Prepare) -> None:
    steps = prepared("controlled").steps
    students, teachers = split_by_row(steps)
    assert (len(students), len(teachers)) == (33, 9)
    recipes = [step.recipe for step in steps.values()]
    assert len({(recipe.optim, recipe.data, recipe.model.antialias) for recipe in recipes}) == 1
    assert len({recipe.kd.teacher_mode for recipe in recipes}) == 1


@pytest.mark.parametrize("name", forms(PAPER, light=["table1_activitynet", "table5", "table3"]))
def test_a_paper_sweep_plans_where_no_video_is(prepared: Prepare, name: str) -> None:
    found = prepared(name)
    assert found.unseen == (DATA_OF[name],)
    assert {cell.verdict for cell in found.plan().cells} <= {"train", "waiting"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PAPER, "demo", "your_videos"])
def test_a_smoke_form_keeps_rows_tables_and_annotation_format_and_plans_two_steps_of_optimisation(
    prepared: Prepare, smoke_form: Smoke, name: str
) -> None:
    original = prepared(name) if name in PAPER else None
    path, store = smoke_form(name)
    small = prepare(path, store=store)
    assert small.unseen == ()
    assert {cell.verdict for cell in small.plan().cells} <= {"train", "waiting"}
    assert small.sweep.seeds == (0,)
    for step in small.steps.values():
        recipe = step.recipe
        assert recipe.model.name in SMALL
        assert (recipe.data.crop_size, recipe.optim.epochs, recipe.model.weights) == (64, 1, "none")
        assert len(small.manifest(step).train) // recipe.optim.batch_size == 2
    if original is not None:
        # What the tables compare stays apart: teachers that differ are different steps here too.
        asked, made = (
            {step.teacher_id for step in found.steps.values() if step.recipe.seed == 0} for found in (original, small)
        )
        assert len(made) == len(asked)
        assert small.sweep.rows == original.sweep.rows
        plain = {key: replace(table, expect={}) for key, table in original.sweep.tables.items()}
        assert small.sweep.tables == plain  # numbers that mean nothing are not held against anything
        data = DATA_OF[name]
        assert small.sweep.cells[0].recipe.data.annotations == FORMATS.get(data, data)
        clips = [clip for step in small.steps.values() for clip in small.manifest(step).val]
        assert any(len(clip.labels) == 2 for clip in clips) == (data in MULTI_LABEL)


def test_a_teacher_as_a_row_is_the_teacher_of_the_others(prepared: Prepare) -> None:
    for name, rows in (("table2_ssv2", {"TSM 224"}), ("table3", {"SlowOnly 224"})):
        steps = prepared(name).steps
        teachers = {step.teacher_id for step in steps.values() if step.teacher_id}
        named = {row for step_id in teachers for row, _ in steps[step_id].cells}
        assert named == rows, name


def test_resnet_rows_of_the_first_experiment_cost_what_their_enlarged_frames_do(prepared: Prepare) -> None:
    """GMACs of 16 frames of 224 pixels, as published for that resolution, whatever the frames were before."""
    recipes = {cell.row: cell.recipe for cell in prepared("exp1").sweep.cells}
    for row in ("224", "56 enlarged"):
        spec = recipes[row].model
        with torch.device("meta"):
            model = build_model(replace(spec, weights="none"), num_classes=200)
        cost = complexity(model, resolution=spec.input_size, num_frames=recipes[row].data.num_frames)
        assert cost.gmacs == pytest.approx(65.9, rel=0.01)


@pytest.mark.slow
def test_the_smoke_forms_that_run_have_every_format_network_and_way_of_distilling(smoke_form: Smoke) -> None:
    kinds: dict[str, set[tuple[str, str]]] = {"planned": set(), "run": set()}
    for name in PAPER:
        for cell in load(smoke_form(name)[0]).cells:
            recipe = cell.recipe
            found = {("format", recipe.data.annotations), ("network", recipe.model.name), ("level", recipe.kd.level)}
            kinds["planned"] |= found
            if name in RUN:
                kinds["run"] |= found
    assert kinds["run"] == kinds["planned"]


def run_smoke(names: Sequence[str], folder: Path) -> Path:
    """The folder of one run of sweeps' smoke forms, in one schedule."""
    paths = [str(SWEEPS / f"{name}.yaml") for name in names]
    done = typed("run", *paths, "--smoke", "--store", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MLflow does not have everything" not in done.stdout
    (scratch,) = folder.glob("smoke/*")
    assert not (folder / "runs").exists(), "a smoke test wrote into the real store"
    return scratch


def check_tables(scratch: Path, name: str, prepared: Prepare) -> None:
    folder = scratch / f"store/tables/{name}_smoke"
    spec = prepared(name).sweep.tables
    assert {path.stem for path in folder.glob("*.md")} >= set(spec)
    for key in spec:
        content = (folder / f"{key}.md").read_text()
        assert "missing" not in content, content
        assert "failed" not in content, content


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_smoke(RUN, tmp_path_factory.mktemp("smoke"))


@pytest.mark.ray
@pytest.mark.parametrize("name", RUN)
def test_a_paper_sweeps_smoke_form_runs_to_its_tables(smoke: Path, prepared: Prepare, name: str) -> None:
    check_tables(smoke, name, prepared)


@pytest.mark.ray
def test_the_smoke_form_of_the_draws_runs_to_its_tables(prepared: Prepare, tmp_path: Path) -> None:
    check_tables(run_smoke(["hpo"], tmp_path), "hpo", prepared)


@pytest.mark.ray
def test_sweeps_of_one_run_have_each_step_once_and_the_table_that_they_share(smoke: Path) -> None:
    store = Store(smoke / "store")
    steps = {name: prepare(smoke / f"{name}_smoke.yaml", store=store).steps for name in RUN}
    asked = {step_id for found in steps.values() for step_id in found}
    assert sum(map(len, steps.values())) > len(asked), "nothing is shared, so nothing is shown"
    assert set(store.step_ids()) == asked
    joined = next(folder for folder in store.tables("").iterdir() if "+" in folder.name)
    content = (joined / "table1.md").read_text()
    for data in ("activitynet", "fcvid", "mini_kinetics"):
        assert f"smoke_{data}" in content
    assert "missing" not in content


@pytest.mark.parametrize("name", ["table1_activitynet", "table1_fcvid", "table1_minikinetics", "table4", "table3"])
def test_a_sweeps_rows_are_the_networks_whose_cost_is_published_beside_them(prepared: Prepare, name: str) -> None:
    """Resolution, frames and views of each row are what test_published's costs come from."""
    sweep = prepared(name).sweep
    recipes = {cell.row: cell.recipe for cell in sweep.cells}
    (spec,) = sweep.tables.values()
    table, seen = load_published().table(str(spec.published)), set[str]()
    for row, networks in table.networks.items():
        for column, network in networks.items():
            if row not in recipes or not column.startswith(COLUMNS_OF.get(name, "")):
                continue
            recipe = recipes[row]
            protocol = recipe.test_protocol
            seen.add(row)
            ours = recipe.model.name, recipe.model.input_size, protocol.num_frames, protocol.num_forwards
            assert ours == (network.model, network.resolution, network.frames, network.views), (row, column)
    assert seen == (set(table.networks) & set(recipes))
    assert seen
