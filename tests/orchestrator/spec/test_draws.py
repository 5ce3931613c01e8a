"""Rows drawn at random: Ray Tune's own samples, the same ones each time, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from ray import tune

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.spec.draws import draw
from orchestrator.spec.json_schema import sweep_schema
from orchestrator.spec.sweep import load
from orchestrator.spec.yaml_text import read_yaml
from orchestrator.store.store import Store
from reskd.errors import BadInput

SPACE = {
    "optim.lr": {"loguniform": [0.003, 0.3]},
    "kd.weight": {"uniform": [1, 100]},
    "optim.epochs": {"randint": [2, 9]},
}
HPO = Path(__file__).parents[3] / "sweeps" / "hpo.yaml"


def test_draws_are_ray_tunes_samples_in_the_order_of_the_keys_to_three_digits() -> None:
    name, points = draw({"num": 4, "seed": 11, "space": SPACE})
    rng = np.random.RandomState(11)
    domains = [tune.loguniform(0.003, 0.3), tune.uniform(1, 100), tune.randint(2, 9)]
    assert name == "draw"
    for point in points:
        lr, weight, epochs = (domain.sample(random_state=rng) for domain in domains)
        assert point == {
            "optim.lr": float(f"{lr:.3g}"),
            "kd.weight": float(f"{weight:.3g}"),
            "optim.epochs": int(epochs),
        }
        assert 0.003 <= float(str(point["optim.lr"])) <= 0.3


def test_more_draws_keep_the_first_ones_and_another_seed_draws_others() -> None:
    few, many, other = (draw({"num": num, "seed": seed, "space": SPACE})[1] for num, seed in ((3, 0), (7, 0), (3, 1)))
    assert many[:3] == few
    assert len({str(point) for point in many}) == 7
    assert other != few


def test_a_choice_is_one_of_its_values_as_it_stands() -> None:
    _, points = draw({"num": 20, "space": {"kd.level": {"choice": ["clip", "pixel"]}}})
    assert {point["kd.level"] for point in points} == {"clip", "pixel"}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"num": 0, "space": SPACE}, "'rows.draws.num' must be from 1"),
        ({"num": 2, "space": {}}, "'rows.draws.space' is empty"),
        ({"num": 2, "space": {"optim.lr": {"loguniforn": [1, 2]}}}, "did you mean 'loguniform'"),
        ({"num": 2, "space": {"optim.lr": {"loguniform": [0, 1]}}}, "positive and rising bounds"),
        ({"num": 2, "space": {"optim.lr": {"uniform": [2, 1]}}}, "rising bounds"),
        ({"num": 2, "space": {"optim.lr": {"uniform": [1]}}}, "must be 2 numbers"),
        ({"num": 2, "space": {"optim.lr": {"uniform": 1}}}, "must be a list"),
        ({"num": 2, "space": {"optim.lr": 3}}, "must be one distribution"),
        ({"num": 2, "space": {"optim.epochs": {"randint": [1.5, 3]}}}, "must be 2 whole numbers"),
        ({"num": 2, "space": {"optim.lr": {"quniform": [0.1, 0.25, 0.1]}}}, "rows.draws.space.optim.lr.quniform"),
        ({"num": 2, "space": SPACE, "sed": 3}, "sed"),
        ([], "rows.draws"),
    ],
)
def test_what_cannot_be_drawn_names_the_key_and_the_way_out(part: Any, says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        draw(part)


def test_draws_of_a_sweep_are_steps_of_their_own_under_one_teacher(tmp_path: Path) -> None:
    prepared = prepare(HPO, store=Store(tmp_path))
    students = [step for step in prepared.steps.values() if step.cells]
    assert len(students) == 6
    assert len({step.teacher_id for step in students}) == 1
    assert len({(step.recipe.optim.lr, step.recipe.kd.weight) for step in students}) == 6
    (teacher, cohort) = prepared.plan().jobs
    assert len(cohort.members) == 6
    assert cohort.depends_on == (teacher.id,)


def test_a_drawn_value_that_no_recipe_takes_is_refused_with_its_row(tmp_path: Path) -> None:
    tree = read_yaml(HPO)
    tree["rows"]["draws"]["space"] = {"optim.momentum": {"uniform": [2, 3]}}
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(BadInput, match=r"row 'draw 0: optim.momentum=2.*optim.momentum"):
        load(path)


def test_the_schema_takes_draws_and_refuses_an_unknown_distribution() -> None:
    schema, tree = jsonschema.Draft202012Validator(sweep_schema()), read_yaml(HPO)
    schema.validate(tree)
    tree["rows"]["draws"]["space"]["optim.lr"] = {"loguniforn": [1, 2]}
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(tree)
