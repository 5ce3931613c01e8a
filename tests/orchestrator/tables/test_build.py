"""Entries and tables, from a store with known numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.estimates import Estimate, number_text, paired_difference
from orchestrator.store.lease import Leases
from orchestrator.tables.build import check_tables, records_from_store
from orchestrator.tables.published import load_published
from reskd.errors import BadInput
from tests.support.stored_sweep import SWEEP, StoredSweep
from tests.support.stored_tables import finish_all, table_of


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> StoredSweep:
    stored = StoredSweep(tmp_path_factory.mktemp("full"))
    finish_all(stored)
    return stored


def test_the_interval_of_three_values_is_the_one_worked_out_by_hand():
    estimate = Estimate(((0, 1.0), (1, 2.0), (2, 3.0)))
    # Student's t with two degrees of freedom leaves 2.5 % above 4.3027; sd 1, so 4.3027 / sqrt(3).
    assert estimate.mean == 2.0
    assert estimate.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_of_two_values_the_mean_and_both_are_shown():
    estimate = Estimate(((0, 94.3), (1, 98.7)))
    assert estimate.half_width is None
    assert estimate.text(unit="%") == "96.5 (94.3, 98.7)"
    assert estimate.text(unit="%", average=False) == "94.3, 98.7"


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=8), st.floats(-1e3, 1e3))
def test_shifting_every_value_moves_the_mean_and_leaves_the_interval(values: list[float], shift: float):
    before = Estimate(tuple(enumerate(values)))
    after = Estimate(tuple((seed, value + shift) for seed, value in enumerate(values)))
    assert after.mean == pytest.approx(before.mean + shift, abs=1e-6)
    assert after.half_width == pytest.approx(before.half_width, abs=1e-6)


def test_a_difference_is_taken_seed_by_seed_over_the_seeds_that_both_have():
    difference = paired_difference({0: 10.0, 1: 30.0, 3: 1.0}, {0: 7.0, 1: 29.0, 2: 5.0})
    assert difference.by_seed == ((0, 3.0), (1, 1.0))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (94.26, "%", "94.3"),
        (17.43, "G", "17.4"),
        (1.0763, "G", "1.08"),
        (0.0625, "G", "0.0625"),
        (262.8, "clips/s", "263"),
        (78.71, "clips/s", "78.7"),
    ],
)
def test_numbers_have_the_decimals_that_carry_something(value: float, unit: str, text: str):
    assert number_text(value, unit=unit) == text


def test_an_entry_holds_percent_its_interval_its_runs_and_its_protocol(full: StoredSweep):
    entry = table_of(full).entries["pixel-level MSE", "test/top1"]
    assert entry.estimate.values == pytest.approx((94.0, 99.0, 98.0))
    sd = math.sqrt((3**2 + 2**2 + 1**2) / 2)  # around the mean of 97
    assert entry.estimate.half_width == pytest.approx(4.302653 * sd / math.sqrt(3), rel=1e-6)
    assert entry.text == "97.0 ± 6.6"
    assert entry.step_ids == tuple(full.id_of("pixel-level MSE", seed) for seed in (0, 1, 2))
    assert entry.protocols == ("val-f4-v1x1",)
    assert entry.state == "complete"


def test_differences_to_a_row_are_paired_and_the_row_itself_is_the_reference(full: StoredSweep):
    table = table_of(full)
    delta = table.entries["clip-level KL", "test/top1"].delta
    assert delta is not None
    assert delta.values == pytest.approx((1.0, 3.0, 5.0))
    assert delta.text(unit="%", signed=True) == "+3.0 ± 5.0"  # 4.3027 * 2 / sqrt(3)
    column = table.headings.index("vs baseline (points)")
    assert table.cells("baseline")[column] == "reference"
    assert table.headings.count("vs baseline (points)") == 1  # a cost has none


def test_the_reference_of_differences_need_not_be_a_row_of_the_table(tmp_path: Path):
    text = SWEEP.replace("rows: row,", "rows: [pixel-level MSE],").replace(", plot: accuracy_vs_gmacs", "")
    stored = StoredSweep(tmp_path, text=text)
    finish_all(stored)
    table = table_of(stored)
    assert table.rows == ("pixel-level MSE",)
    delta = table.entries["pixel-level MSE", "test/top1"].delta
    assert delta is not None
    assert delta.values == pytest.approx((14.0, 17.0, 20.0))


def test_published_figures_of_another_task_have_a_column_of_their_own_that_says_so(full: StoredSweep):
    table = table_of(full)
    heading = "ActivityNet mAP, published"
    assert table.headings.count(heading) == 1
    assert table.cells("pixel-level MSE")[table.headings.index(heading)] == "78.5"
    assert [sentence for sentence in table.head if "not comparable" in sentence] == [
        '"ActivityNet mAP, published": of another data set or metric; not comparable with what is measured here.'
    ]


def test_published_figures_of_the_same_data_set_are_headed_published(tmp_path: Path):
    text = SWEEP.replace("name: demo", "name: activitynet").replace("test/top1", "test/mAP")
    stored = StoredSweep(tmp_path, text=text)
    table = table_of(stored)
    assert table.headings[:4] == ["row", "mAP (%)", "vs baseline (points)", "published"]
    assert table.cells("baseline")[3] == "71.8"


def test_the_head_says_what_the_numbers_rest_on(full: StoredSweep):
    head = " ".join(table_of(full).head)
    assert "3 seeds (0, 1, 2)." in head
    assert "covers the choice of seeds, not the choice of clips" in head
    assert "demo: 299 clips evaluated, 1 skipped as damaged; protocol val-f4-v1x1." in head
    assert "clips/s: the network alone, without decoding, on Testing CPU." in head
    assert "epochs" not in head
    assert "teacher" not in head


def test_the_head_counts_the_clips_whose_videos_are_missing(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,), num_missing=7)
    finish_all(stored)
    head = " ".join(table_of(stored).head)
    assert "299 clips evaluated, 1 skipped as damaged, 7 left out because their videos are missing; protocol" in head


def test_the_head_says_that_frames_were_packed(tmp_path: Path):
    words = "packed as lossy JPEG: up to 80 frames a video, quality 90, short side at most 256"
    stored = StoredSweep(tmp_path, seeds=(0,), packed=words)
    finish_all(stored)
    head = " ".join(table_of(stored).head)
    assert f"demo: frames were {words}, so this is another data set than the original videos." in head


def test_the_head_names_a_fixed_teacher_seed_and_rows_with_other_epochs(tmp_path: Path):
    text = SWEEP.replace("optim.epochs: 3}", "optim.epochs: 3, seed: 7}").replace(
        "kd.level: clip}", "kd.level: clip, optim.epochs: 5}"
    )
    head = " ".join(table_of(StoredSweep(tmp_path, text=text)).head)
    assert "Every seed has the same teachers, of seed 7" in head
    assert "different numbers of epochs: 2 (baseline, pixel-level MSE); 5 (clip-level KL)." in head


def test_with_two_seeds_there_is_no_interval_anywhere(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0, 1))
    finish_all(stored)
    table = table_of(stored)
    assert table.cells("pixel-level MSE")[1:3] == ["96.5 (94.0, 99.0)", "+15.5 (+14.0, +17.0)"]
    assert "±" not in " ".join(table.cells("pixel-level MSE"))


def test_what_is_missing_failed_running_or_interrupted_is_said_in_words(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    stored.finish(stored.id_of("baseline", 0), 0.8)
    stored.start(stored.id_of("baseline", 1))
    stored.fail(stored.id_of("baseline", 1))
    running = stored.id_of("baseline", 2)
    stored.start(running)
    for seed in (0, 1, 2):
        stored.start(stored.id_of("clip-level KL", seed))
    teacher_id = stored.teacher_of("pixel-level MSE", 1)
    stored.start(teacher_id)
    stored.fail(teacher_id)
    leases = Leases()
    assert leases.take(stored.store.lease_path(running))
    table = table_of(stored)
    leases.release()
    assert table.cells("baseline")[1] == "80.0 (1 of 3: seed 1 failed, seed 2 running)"
    assert table.cells("clip-level KL")[1] == "interrupted (0 of 3)"
    assert table.cells("pixel-level MSE")[1] == "(0 of 3: seed 0 missing, seed 1 teacher failed, seed 2 missing)"
    assert table.entries["baseline", "test/top1"].n == 1
    assert table.entries["pixel-level MSE", "test/top1"].delta.n == 0


def test_a_run_of_the_row_under_another_step_id_is_stale(full: StoredSweep, tmp_path: Path):
    records = records_from_store(full.store, full.steps)
    changed = StoredSweep(tmp_path, text=SWEEP.replace("kd.level: clip}", "kd.level: clip, kd.temperature: 3.0}"))
    table = table_of(changed, records)
    assert table.cells("clip-level KL")[1] == "stale (0 of 3)"
    assert table.cells("baseline")[1] == "80.0 ± 5.0"  # the same steps as before
    assert any(sentence.startswith("stale: a run of this row and seed exists") for sentence in table.head)


def test_a_metric_that_a_finished_step_has_not_is_not_measured(tmp_path: Path):
    stored = StoredSweep(tmp_path, text=SWEEP.replace("[test/top1,", "[test/top1, test/agreement,"))
    finish_all(stored)
    assert table_of(stored).entries["baseline", "test/agreement"].text == "not measured"


def test_another_protocol_is_a_column_of_its_own(tmp_path: Path):
    stored = StoredSweep(tmp_path, text=SWEEP.replace("[test/top1,", "[test/top1, test/val-f4-v4x1/top1,"))
    for seed in (0, 1, 2):
        stored.finish(stored.id_of("baseline", seed), 0.8, evaluations={"val-f4-v4x1": 0.85})
    table = table_of(stored)
    entry = table.entries["baseline", "test/val-f4-v4x1/top1"]
    assert entry.text == "85.0 ± 0.0"
    assert entry.protocols == ("val-f4-v4x1",)
    assert "top-1 (%), val-f4-v4x1" in table.headings
    assert (
        "val-f4-v4x1: 4 frames, 4 temporal views x 1 crop, their softmax averaged; "
        "demo: 299 clips, 1 skipped as damaged." in table.head
    )
    assert table.entries["clip-level KL", "test/val-f4-v4x1/top1"].text == "missing (0 of 3)"


def test_the_papers_figure_stands_beside_a_named_protocol_where_that_is_alone(tmp_path: Path):
    named, both = (
        table_of(StoredSweep(tmp_path / str(number), text=SWEEP.replace("test/top1,", columns)))
        for number, columns in enumerate(["test/val-f4-v4x1/top1,", "test/top1, test/val-f4-v4x1/top1,"])
    )
    assert named.columns[0].published is not None
    assert (
        "val-f4-v4x1: 4 frames, 4 temporal views x 1 crop, their softmax averaged; no step was evaluated by it yet."
        in (named.head)
    )
    assert [column.published is not None for column in both.columns[:2]] == [True, False]


def test_speeds_of_two_devices_are_not_averaged(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    for seed in (0, 1, 2):
        stored.finish(stored.id_of("baseline", seed), 0.8, device=f"device {min(seed, 1)}")
        stored.store.write_throughput(
            stored.id_of("baseline", seed), {"device": f"device {min(seed, 1)}", "clips_per_s": 100.0 + seed}
        )
    table = table_of(stored)
    assert table.entries["baseline", "clips/s"].text == "100, 101, 102"
    assert any("device 0 (baseline); device 1 (baseline)" in sentence for sentence in table.head)


def test_the_head_says_what_a_cost_is_where_clips_stop_early(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    used = {stored.id_of("baseline", seed): 2.0 + seed for seed in (0, 1, 2)}
    for step_id in used:
        stored.finish(step_id, 0.8)
    records = records_from_store(stored.store, stored.steps)
    assert not any("Early exit" in sentence for sentence in table_of(stored, records).head)
    for step_id, frames in used.items():
        records[step_id] = replace(records[step_id], metrics={**records[step_id].metrics, "test/frames_used": frames})
    (sentence,) = (sentence for sentence in table_of(stored, records).head if "Early exit" in sentence)
    assert "GMACs and GFLOPs are the mean over the exits that the evaluated clips took" in sentence
    assert "(frames used: baseline 3)" in sentence


def test_the_newest_of_several_speeds_counts(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    step_id = stored.id_of("baseline", 0)
    stored.finish(step_id, 0.8, device="a new device")
    stored.store.write_throughput(step_id, {"device": "an old device", "clips_per_s": 7.0})
    record = records_from_store(stored.store, stored.steps)[step_id]
    assert (record.device, record.metrics["clips/s"]) == ("an old device", 7.0)


def test_a_step_that_two_rows_share_answers_both(tmp_path: Path):
    text = SWEEP.replace("    - {row: clip", "    - {row: the same, kd.level: none}\n    - {row: clip")
    stored = StoredSweep(tmp_path, text=text)
    stored.finish(stored.id_of("baseline", 0), 0.8)
    table = table_of(stored)
    assert table.entries["the same", "test/top1"].step_ids == table.entries["baseline", "test/top1"].step_ids


def test_the_plot_has_one_point_for_rows_of_the_same_steps_under_the_tables_own_name_first(tmp_path: Path):
    text = SWEEP.replace("    - {row: clip", "    - {row: the same, kd.level: none}\n    - {row: clip")
    text = text.replace("rows: row, columns", "rows: [the same, clip-level KL], columns").replace(
        "delta_to: baseline,", ""
    )
    stored = StoredSweep(tmp_path, seeds=(0, 1), text=text)
    finish_all(stored)
    plot = table_of(stored).plot
    assert plot is not None
    assert [(point.row, point.in_table) for point in plot.points] == [
        ("the same = baseline", True),
        ("clip-level KL", True),
        ("pixel-level MSE", False),
    ]
    assert plot.points[0].accuracies == pytest.approx((80.0, 82.0))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("published: table5", "published: table9", "'tables.table5.published' names 'table9'; choose one of table1"),
        ("test/top1", "test/top2", "'tables.table5.columns' has 'test/top2'; the metrics of test/ are top1"),
        ("test/top1", "test/val-f4/top1", "has 'test/val-f4/top1': 'val-f4' is not a protocol's name; write it as"),
        ("test/top1", "test/a/b/top1", "has 'test/a/b/top1'; write test/<metric> or test/<protocol>/<metric>"),
        (
            "published: table5",
            "published: table5, published_rows: {baseline: plain}",
            "'tables.table5.published_rows' names 'plain'; choose one of baseline",
        ),
    ],
)
def test_a_table_that_could_never_be_filled_is_refused_beforehand(tmp_path: Path, old: str, new: str, message: str):
    with pytest.raises(BadInput) as caught:
        check_tables(StoredSweep(tmp_path, text=SWEEP.replace(old, new)).sweep, load_published())
    assert message in str(caught.value)


def test_a_difference_between_two_protocols_is_none_and_the_table_says_why(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    finish_all(stored)
    records = records_from_store(stored.store, stored.steps)
    other = stored.id_of("pixel-level MSE", 1)
    records[other] = replace(records[other], protocol="val-f4-v10x3")
    table = table_of(stored, records)
    delta = table.entries["pixel-level MSE", "test/top1"].delta
    assert delta is not None
    assert delta.by_seed == ((0, pytest.approx(14.0)), (2, pytest.approx(20.0)))
    (sentence,) = [text for text in table.head if "no difference" in text]
    judged = "it was tested by val-f4-v10x3 and baseline by val-f4-v1x1; `reskd eval`"
    assert sentence.startswith(f"pixel-level MSE, seed 1: no difference, {judged}")
    assert table.entries["clip-level KL", "test/top1"].delta.n == 3
