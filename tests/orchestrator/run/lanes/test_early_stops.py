"""Members stopped early: the rule, what leaves and what stays as it was, and a real run of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ray.tune.schedulers.async_hyperband import _Bracket

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.plan.plan import make_plan
from orchestrator.run.lanes.early_stops import JobRule, cutoff, job_rule, leavers
from orchestrator.spec.early_stopping import EarlyStopping
from orchestrator.spec.steps import StepStatus
from orchestrator.spec.sweep import load
from orchestrator.spec.yaml_text import read_yaml
from orchestrator.store.step_record import records_from_store
from orchestrator.store.store import Store
from reskd.checkpoint import FolderSink
from reskd.data.manifest import Manifest
from reskd.errors import BadInput
from reskd.files import Json
from reskd.recipe import DataSpec
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec
from tests.support.training import student_recipe
from tests.support.typed_runs import Place

HPO = Path(__file__).parents[4] / "sweeps" / "hpo.yaml"


def test_rungs_grow_by_the_factor_and_end_before_the_last_epoch() -> None:
    assert EarlyStopping(grace_epochs=1, reduction_factor=3).rungs(27) == (1, 3, 9)
    assert EarlyStopping(grace_epochs=3, reduction_factor=2).rungs(12) == (3, 6)
    assert EarlyStopping(grace_epochs=5).rungs(5) == ()


def test_the_cutoff_is_that_of_ray_tunes_scheduler_for_the_same_results() -> None:
    rng = np.random.default_rng(0)
    for factor in (2, 3, 4):
        bracket = _Bracket(1, 100, factor, 0)
        for num in (1, 2, 5, 9, 30):
            results = rng.random(num).tolist()
            assert cutoff(results, reduction_factor=factor) == bracket.cutoff(dict(enumerate(results)))


def rule() -> JobRule:
    ids = ("a", "b", "c", "d", "e", "f")
    groups, rungs = dict.fromkeys(ids, ids), dict.fromkeys(ids, (3, 6))
    return JobRule(metric="val/top1", reduction_factor=2, groups=groups, rungs=rungs)


def test_the_better_half_goes_on_and_ties_stay() -> None:
    at_three = {"a": 0.1, "b": 0.5, "c": 0.3, "d": 0.6, "e": 0.2, "f": 0.4}
    gone = leavers(rule(), 3, list("abcdef"), value=lambda step_id, epoch: at_three[step_id])
    assert set(gone) == {"a", "c", "e"}
    assert gone["c"]["cutoff"] == pytest.approx(0.35)  # between the third and the fourth of six
    assert (gone["c"]["value"], gone["c"]["epoch"], gone["c"]["num_results"]) == (0.3, 3, 6)
    assert not leavers(rule(), 3, list("abcdef"), value=lambda step_id, epoch: 0.5)
    assert not leavers(rule(), 4, list("abcdef"), value=lambda step_id, epoch: at_three[step_id]), "4 is no rung"


def test_a_later_cohort_is_held_against_the_earlier_ones_results() -> None:
    present = {"a": 0.1, "b": 0.5, "c": 0.3, "d": 0.6}
    gone = leavers(rule(), 3, ["a", "b"], value=lambda step_id, epoch: present.get(step_id))
    assert set(gone) == {"a"}
    alone = leavers(rule(), 3, ["a"], value=lambda step_id, epoch: 0.1 if step_id == "a" else None)
    assert not alone, "the first to come has nobody to lose to"


def test_teachers_and_rows_that_are_not_named_are_never_stopped(tmp_path: Path) -> None:
    prepared = prepare(HPO, store=Store(tmp_path))
    spec = prepared.sweep.early_stopping
    assert spec is not None
    teacher_job, students_job = prepared.plan().jobs
    assert job_rule(spec, teacher_job.members, prepared.steps) is None
    whole = job_rule(spec, students_job.members, prepared.steps)
    assert whole is not None
    assert set(whole.groups) == set(students_job.members)
    assert whole.groups[students_job.members[0]] == tuple(sorted(students_job.members))
    few = replace(spec, rows=spec.rows[:2])
    part = job_rule(few, students_job.members, prepared.steps)
    assert part is not None
    assert len(part.groups) == 2


@pytest.mark.parametrize(
    ("stop", "every", "says"),
    [
        ({"rows": ["drew 0"]}, 1, "'early_stopping.rows' names 'drew 0'"),
        ({"grace_epochs": 3}, 2, "after epoch 3, where it is not validated: eval.every is 2"),
        ({"reduction_factor": 1}, 1, "'early_stopping.reduction_factor' must be at least 2"),
        ({"rule": "hyperband"}, 1, "early_stopping.rule"),
        ({"metric": "test/top1"}, 1, "early_stopping.metric"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(tmp_path: Path, stop: dict, every: int, says: str) -> None:
    tree = read_yaml(HPO)
    tree["early_stopping"] = stop
    tree["base"]["eval"]["every"] = every
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(BadInput) as caught:
        load(path)
    assert says in str(caught.value)


def test_the_rule_can_be_changed_and_taken_away_for_one_run() -> None:
    stopped = load(HPO, changes=["early_stopping.grace_epochs=8"]).early_stopping
    assert stopped is not None
    assert stopped.grace_epochs == 8
    assert load(HPO, changes=["early_stopping=null"]).early_stopping is None


def test_a_rule_without_rows_to_stop_is_refused(tmp_path: Path) -> None:
    tree = read_yaml(HPO)
    tree["rows"] = {"chain": [{"row": "one"}]}
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(BadInput, match=r"names no row and there are no 'rows.draws'"):
        load(path)


def test_a_step_that_another_sweep_stopped_is_a_failure_where_it_is_wanted_whole(tmp_path: Path) -> None:
    prepared = prepare(HPO, store=Store(tmp_path / "store"))
    steps, sweep = prepared.steps, prepared.sweep
    stopped = StepStatus(state="pruned", reason="stopped early after epoch 3")
    status = {step_id: stopped if step.cells else StepStatus(state="done") for step_id, step in steps.items()}
    assert make_plan(sweep, steps, status).counts == {"done": 1, "pruned": 6}
    elsewhere = make_plan(replace(sweep, early_stopping=None), steps, status)
    assert elsewhere.counts == {"done": 1, "failed": 6}
    assert all("reskd rm" in step.reason for step in elsewhere.steps.values() if step.verdict == "failed")


def test_a_comparison_that_decides_on_seeds_is_not_of_rows_that_may_be_stopped(tmp_path: Path) -> None:
    tree = read_yaml(HPO)
    first, second, *_ = load(HPO).rows
    tree["seeds"] = {"auto": {"compare": [first, second], "column": "test/top1", "start": 3, "limit": 5}}
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))  # the order of the keys decides what is drawn
    with pytest.raises(BadInput, match=r"'seeds.auto.compare' names .* which 'early_stopping' may stop"):
        load(path)


def test_a_member_that_leaves_early_leaves_its_record_and_the_others_their_bits(
    demo_data: DataSpec, short_manifest: Manifest, tmp_path: Path
) -> None:
    recipe = student_recipe(demo_data, "none", epochs=3)
    recipe = replace(recipe, eval=replace(recipe.eval, every=1))
    recipes = {"0slow": replace(recipe, optim=replace(recipe.optim, lr=0.001)), "1fast": recipe}
    asked: list[tuple[int, tuple[str, ...]]] = []

    def train(folder: Path, names: Sequence[str], *, prunes: bool) -> FolderSink:
        sink = FolderSink(folder)

        def prune(epoch: int, step_ids: Sequence[str]) -> Mapping[str, Json]:
            asked.append((epoch, tuple(step_ids)))
            assert [line["epoch"] for line in sink.metrics(step_ids[0])] == list(range(1, epoch + 1))
            return {"0slow": {"reason": "stopped early", "epoch": epoch}} if epoch == 2 and "0slow" in step_ids else {}

        outcome = fit_cohort(
            [MemberSpec(name, recipes[name]) for name in names],
            manifest=short_manifest,
            root=Path(str(demo_data.root)),
            sink=sink,
            prune=prune if prunes else None,
        )
        assert (outcome.get("0slow") is not None) == ("0slow" in names)
        return sink

    both = train(tmp_path / "both", ["0slow", "1fast"], prunes=True)
    alone = train(tmp_path / "alone", ["1fast"], prunes=False)
    assert asked == [(1, ("0slow", "1fast")), (2, ("0slow", "1fast"))]
    assert both.pruned("0slow") == {"reason": "stopped early", "epoch": 2}
    assert not both.is_finished("0slow")
    assert both.epochs("0slow") == ()
    assert [line["epoch"] for line in both.metrics("0slow")] == [1, 2]
    ours, theirs = both.done("1fast"), alone.done("1fast")
    assert ours is not None
    assert theirs is not None
    assert ours["state_hash"] == theirs["state_hash"]


@pytest.mark.ray
def test_a_sweep_of_draws_stops_the_worse_ones_and_typed_again_trains_nothing(tmp_path: Path, demo_root: Path) -> None:
    tree = read_yaml(HPO)
    tree["base"]["data"]["root"] = str(demo_root)
    tree["base"]["optim"]["epochs"] = 4
    tree["base"]["teacher"]["optim.epochs"] = 1
    tree["rows"]["draws"]["num"] = 4
    tree["rows"]["draws"]["space"] = {"optim.lr": {"loguniform": [1e-5, 0.3]}}
    tree["early_stopping"] |= {"grace_epochs": 1, "metric": "val/mAP"}  # of seven clips top-1 is the same for all
    tree["resources"] = {"workers": 1, "max_cpus": 1}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    store = Store(tmp_path / "store")
    here = Place(path, store)

    first = here.call("run")
    assert first.returncode == 0, first.stdout + first.stderr
    prepared = prepare(path, store=store)
    counts = prepared.plan().counts
    assert f"{counts['done']} of {counts['done']} steps done, {counts['pruned']} stopped early" in first.stdout
    assert counts.get("pruned", 0) >= 1, first.stdout
    assert counts["done"] + counts["pruned"] == 5
    records = records_from_store(store, prepared.steps)
    for step_id, record in records.items():
        if record.state == "pruned":
            assert not store.is_finished(step_id)
            assert "test/top1" not in record.metrics
            epoch = (store.pruned(step_id) or {})["epoch"]
            assert [line["epoch"] for line in store.metrics(step_id)] == list(range(1, epoch + 1))
    table = (store.tables("tiny") / "draws.md").read_text()
    assert "pruned (0 of 1)" in table
    assert "stopped early after epoch" in table

    again = here.call("run", "--retry-failed")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 jobs to run" in again.stdout
    checked = here.call("tables", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
