"""`seeds: auto`: the rule against a simulation, what a sweep and a store make of it, and how a table labels it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from orchestrator.experiment.bound_sweep import Prepared, prepare
from orchestrator.spec.sweep import load
from orchestrator.stats.estimates import CONFIDENCE
from orchestrator.stats.sequential import AutoSeeds, look_at
from orchestrator.store.store import Store
from orchestrator.tables.build import Table, build_table, records_from_store
from orchestrator.tables.published import load_published
from reskd.errors import BadInput
from tests.support.command_line import call
from tests.support.stored_sweep import SWEEP, StoredSweep
from tests.support.typed_runs import Place

PAIR = ("pixel-level MSE", "baseline")
RULE = "{auto: {compare: [pixel-level MSE, baseline], column: test/top1, start: 3, limit: 5}}"


def auto(start: int = 3, limit: int = 10) -> AutoSeeds:
    return AutoSeeds(compare=PAIR, column="test/top1", start=start, limit=limit)


def found_at_some_look(differences: np.ndarray, *, start: int, confidence: float) -> np.ndarray:
    """(sweeps, seeds) -> which sweeps' t-intervals exclude zero at any of the looks from `start` seeds on."""
    found = np.zeros(len(differences), dtype=bool)
    for n in range(start, differences.shape[1] + 1):
        seen = differences[:, :n]
        half_width = stats.t.ppf((1 + confidence) / 2, n - 1) * seen.std(axis=1, ddof=1) / np.sqrt(n)
        found |= np.abs(seen.mean(axis=1)) > half_width
    return found


@pytest.mark.parametrize(("limit", "plain_rate"), [(5, 0.10), (10, 0.17), (12, 0.19)])
def test_looking_again_and_again_errs_in_10_to_19_percent_and_the_corrected_rule_in_at_most_5(
    limit: int, plain_rate: float
) -> None:
    equal_rows = np.random.default_rng(5).normal(size=(40_000, limit))
    plain = found_at_some_look(equal_rows, start=3, confidence=CONFIDENCE).mean()
    corrected = found_at_some_look(equal_rows, start=3, confidence=auto(limit=limit).confidence).mean()
    # Three standard errors of a share of 40000 are at most .006.
    assert plain == pytest.approx(plain_rate, abs=0.012)
    assert 0.015 < corrected <= 0.05


@pytest.mark.parametrize("effect", [0.0, 1.5])
def test_the_rule_decides_as_the_simulation_does(effect: float) -> None:
    differences = np.random.default_rng(6).normal(effect, 1, size=(300, 8))
    rule = auto(limit=8)
    looks = [look_at(dict(enumerate(row.tolist())), rule) for row in differences]
    expected = found_at_some_look(differences, start=3, confidence=rule.confidence)
    assert [look.state == "different" for look in looks] == expected.tolist()
    assert {look.num_seeds for look in looks if look.state == "undecided"} <= {8}
    assert {look.num_looks for look in looks if look.state == "undecided"} <= {6}
    assert (expected.mean() > 0.5) == (effect > 0)


def test_the_level_of_a_look_is_its_share_of_5_percent() -> None:
    assert auto(start=3, limit=10).confidence == pytest.approx(1 - 0.05 / 8)
    assert auto(start=5, limit=5).confidence == pytest.approx(0.95)


def test_a_look_waits_for_its_seeds_and_no_seed_out_of_turn_counts() -> None:
    assert look_at({}, auto()).state == "waiting"
    assert look_at({0: 1.0, 2: 1.0}, auto()).num_seeds == 3
    contains_zero = {0: 1.0, 1: -1.0, 2: 0.5}
    look = look_at({**contains_zero, 4: 100.0}, auto())
    assert (look.state, look.num_seeds, look.num_looks) == ("waiting", 4, 1)
    clear = {0: 5.0, 1: 5.1, 2: 4.9}
    decided = look_at({**clear, 3: -100.0}, auto())
    assert (decided.state, decided.num_seeds, decided.num_looks) == ("different", 3, 1)


def test_equal_rows_go_to_the_limit_and_stay_undecided() -> None:
    look = look_at(dict.fromkeys(range(10), 0.0), auto())
    assert (look.state, look.num_seeds, look.num_looks) == ("undecided", 10, 8)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("auto", "'seeds.auto' must say what to compare"),
        ("{auto: {column: test/top1}}", "'seeds.auto.compare' is missing"),
        ("{auto: {compare: [baseline], column: test/top1}}", "'seeds.auto.compare' must name two different rows"),
        (
            "{auto: {compare: [baseline, basline], column: test/top1}}",
            "names 'basline', which is not a row; did you mean",
        ),
        ("{auto: {compare: [baseline, clip-level KL], column: GMACs}}", "'seeds.auto.column' must be test/<metric>"),
        (
            RULE.replace("start: 3", "start: 2"),
            "'seeds.auto.start' must be at least 3, the fewest with an interval, got 2",
        ),
        (RULE.replace("limit: 5", "limit: 2"), "'seeds.auto.limit' must be from 'seeds.auto.start' = 3 to 100, got 2"),
        (RULE.replace("limit: 5", "limits: 5"), "did you mean 'seeds.auto.limit'?"),
        (RULE.replace("{auto", "{atuo"), "'seeds.auto' is missing"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_its_field(tmp_path: Path, rule: str, message: str) -> None:
    path = tmp_path / "levels.yaml"
    path.write_text(SWEEP.replace("SEEDS", rule))
    with pytest.raises(BadInput) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_rows_that_are_tested_otherwise_are_no_comparison_unless_the_column_names_a_protocol(tmp_path: Path) -> None:
    path = tmp_path / "levels.yaml"
    text = SWEEP.replace("SEEDS", RULE).replace("kd.level: none}", "kd.level: none, eval.views: 10x3}")
    path.write_text(text)
    with pytest.raises(BadInput, match=r"tested by val-f4-v1x1 and 'baseline' by val-f4-v10x3; give both the same"):
        load(path)
    path.write_text(text.replace("column: test/top1,", "column: test/val-f4-v10x3/top1,"))
    assert load(path).auto is not None


def test_one_value_of_the_rule_can_be_set_and_a_list_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "levels.yaml"
    path.write_text(SWEEP.replace("SEEDS", RULE))
    longer = load(path, changes=["seeds.auto.limit=7"])
    assert longer.auto is not None
    assert (longer.auto.limit, longer.seeds, longer.name) == (7, (0, 1, 2), "levels+seeds.auto.limit=7")
    assert load(path, changes=["seeds=[4]"]).auto is None
    path.write_text(SWEEP.replace("SEEDS", "[0]"))
    with pytest.raises(BadInput, match=r"--set seeds\.auto\.limit: not a field of 'seeds\.auto'"):
        load(path, changes=["seeds.auto.limit=7"])


def test_a_metric_that_no_run_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"levels\.yaml: 'seeds\.auto\.column' has 'test/top2'"):
        StoredSweep(tmp_path, text=SWEEP.replace("SEEDS", RULE.replace("test/top1", "test/top2")))


def growing(folder: Path) -> StoredSweep:
    """A sweep with the rule, its steps those of every seed up to the limit, with the ids that `prepare` gives them."""
    stored = StoredSweep(folder, text=SWEEP.replace("SEEDS", RULE))
    stored.steps = prepare(stored.sweep.path, store=stored.store).possible
    return stored


def finish(stored: StoredSweep, seed: int, *, baseline: float, pixel: float) -> Prepared:
    stored.finish(stored.id_of("baseline", seed), baseline)
    stored.finish(stored.id_of("pixel-level MSE", seed), pixel)
    return prepare(stored.sweep.path, store=stored.store)


def test_the_store_alone_decides_how_many_seeds_the_compared_rows_have(tmp_path: Path) -> None:
    stored = growing(tmp_path)
    for seed, gain in enumerate((0.1, -0.1, 0.05)):
        prepared = finish(stored, seed, baseline=0.5, pixel=0.5 + gain)
    assert {row: len(prepared.sweep.seeds_of(row)) for row in prepared.sweep.rows} == {
        "baseline": 4,
        "clip-level KL": 3,
        "pixel-level MSE": 4,
    }
    assert prepared.look is not None
    assert (prepared.look.state, prepared.look.num_looks) == ("waiting", 1)
    wanted = {(cell.row, cell.seed) for cell in prepared.plan().cells if cell.verdict in ("train", "waiting")}
    assert {cell for cell in wanted if cell[1] == 3} == {("baseline", 3), ("pixel-level MSE", 3)}
    teachers = [step.recipe.model_seed for step in prepared.steps.values() if not step.cells]
    assert sorted(teachers) == [0, 1, 2, 3]
    finish(stored, 3, baseline=0.5, pixel=0.5)
    prepared = finish(stored, 4, baseline=0.5, pixel=0.5)
    assert prepared.look is not None
    assert (prepared.look.state, prepared.look.num_seeds, prepared.look.num_looks) == ("undecided", 5, 3)


def table_of(prepared: Prepared) -> Table:
    return build_table(
        "table5",
        prepared.sweep.tables["table5"],
        sweep=prepared.sweep,
        steps=prepared.steps,
        records=records_from_store(prepared.store, prepared.steps),
        published=load_published(),
        look=prepared.look,
    )


def test_a_table_labels_the_comparison_sequential_with_its_looks_and_the_corrected_interval(tmp_path: Path) -> None:
    stored = growing(tmp_path)
    gains = (0.10, -0.02, 0.12, 0.11)
    for seed, gain in enumerate(gains[:3]):
        stored.finish(stored.id_of("clip-level KL", seed), 0.6)
        finish(stored, seed, baseline=0.5, pixel=0.5 + gain)
    table = table_of(finish(stored, 3, baseline=0.5, pixel=0.5 + gains[3]))
    entry, plain = table.entries["pixel-level MSE", "test/top1"], table.entries["clip-level KL", "test/top1"]
    assert entry.delta is not None
    quantile = stats.t.ppf(1 - 0.05 / 3 / 2, 3)  # three looks at most, so each errs in 5 % / 3
    assert entry.delta.half_width == pytest.approx(quantile * np.std(np.multiply(gains, 100), ddof=1) / 2)
    assert entry.delta_text.startswith("+7.8 ± ")
    assert entry.delta_text.endswith("(sequential, 4 pairs)")
    assert plain.delta_text == "+10.0 ± 0.0"
    head = " ".join(table.head)
    assert "Looks taken: 2 of at most 3, each at 98.33 % (Bonferroni, 95 % over all of them)" in head
    assert "contains zero; waiting for 5 seeds" in head
    assert '"sequential": a difference between these two rows, its interval at 98.33 %.' in head


@pytest.mark.parametrize("command", ["plan", "status"])
def test_plan_and_status_say_where_the_comparison_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    stored = growing(tmp_path)
    for seed in range(3):
        finish(stored, seed, baseline=0.5, pixel=0.5)
    code, text = call(monkeypatch, capsys, command, stored.sweep.path, "--store", stored.store.home)
    assert code == 0
    said = " ".join(text.split())
    assert "Sequential: pixel-level MSE against baseline in test/top1 gets seeds, from 3 to 5" in said
    assert "Looks taken: 1 of at most 3" in said
    assert "waiting for 4 seeds" in said
    if command == "plan":
        _, text = call(monkeypatch, capsys, command, stored.sweep.path, "--store", stored.store.home, "--json")
        found = json.loads(text)["sequential"]
        assert (found["state"], found["num_seeds"], found["num_looks"], found["limit"]) == ("waiting", 4, 1, 5)


def test_a_list_of_seeds_knows_nothing_of_looks(tmp_path: Path) -> None:
    stored = StoredSweep(tmp_path)
    prepared = prepare(stored.sweep.path, store=stored.store)
    assert prepared.look is None
    assert prepared.grown() is prepared
    assert "equential" not in " ".join(table_of(prepared).head)


RUN = """
question: Does a distillation of weight zero change anything?
base:
  data: {name: demo, root: ROOT, num_frames: 2, short_side: 64, crop_size: 64, flip: false}
  model: {name: tsn_mini10, resolution: 24}
  optim: {lr: .01, epochs: 1, batch_size: 16, group_size: 8}
  teacher: {model.resolution: 16}
rows:
  chain:
    - {row: plain, kd.level: none}
    - {row: taught, kd.level: clip, kd.weight: 1e-30}
    - {row: other, kd.level: none, model.resolution: 16}
seeds: {auto: {compare: [taught, plain], column: test/top1, start: 3, limit: 4}}
resources: {workers: 1, max_cpus: 2}
tables:
  pair: {rows: row, columns: [test/top1], delta_to: plain}
"""


@pytest.mark.ray
def test_a_run_adds_seeds_to_the_two_rows_until_the_limit_and_typed_again_trains_nothing(
    tmp_path: Path, demo_root: Path
) -> None:
    sweep, store = tmp_path / "pair.yaml", Store(tmp_path / "store")
    sweep.write_text(RUN.replace("ROOT", str(demo_root)))
    here = Place(sweep, store)
    done = here.call("run")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "contains zero; waiting for 4 seeds" in said
    assert "Looks taken: 2 of at most 2" in said
    # Seeds 0 to 3 of both rows, 0 to 2 of the other, which is the teacher too, so its seed 3 is trained as a teacher.
    assert len([step_id for step_id in store.step_ids() if store.done(step_id)]) == 12
    table = (store.tables("pair") / "pair.md").read_text()
    assert "| taught |" in table
    assert "+0.0 ± 0.0 (sequential)" in table
    again = here.call("run")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 jobs to run" in again.stdout
