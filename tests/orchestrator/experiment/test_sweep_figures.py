"""Learning curves, class gains and published peers, from stores written by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.sweep_figures import with_figures, write_sweep_figures
from orchestrator.spec.sweep import load
from orchestrator.store.step_record import records_from_store
from orchestrator.tables.build import build_table
from orchestrator.tables.class_gain import MAX_CLASSES, ClassGain, draw_gains, read_gains, shown_classes
from orchestrator.tables.cost_plot import PEER_COLOUR, draw
from orchestrator.tables.learning_curves import Curve, draw_curves, read_curves
from orchestrator.tables.published import load_published, published_peers
from orchestrator.tables.table import Plot, PlotPoint
from orchestrator.tables.write_files import write_report
from reskd.errors import BadInput
from reskd.tensor_bytes import serialise
from tests.support.stored_sweep import PROTOCOL, SWEEP, StoredSweep

CLASSES = ["run", "jump", "sit"]


def judge(stored: StoredSweep, step_id: str, *, predicted: list[int], labels: list[list[int]]) -> None:
    """Finish a step whose logits and targets are these."""
    step = stored.steps[step_id]
    stored.store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe={})
    stored.finish(step_id, 0.5)
    targets = np.zeros((len(labels), 3), dtype=bool)
    for clip, of in enumerate(labels):
        targets[clip, of] = True
    arrays = {"logits": 4.0 * np.eye(3)[predicted], "targets": targets, "indices": np.arange(len(labels))}
    stored.store.write_evaluation(step_id, PROTOCOL, {"metrics": {}, "num_clips": 4, "num_skipped": 0}, arrays)
    content = {"step_id": step_id, "classes": CLASSES, "model": {}, "model_spec": {}}
    stored.store.blobs.write(f"runs/{step_id}/weights.pt", serialise(content))


def judged_sweep(folder: Path, text: str = SWEEP) -> StoredSweep:
    stored = StoredSweep(folder, seeds=(0, 1), text=text)
    labels = [[0], [0], [1], [2]]
    for seed, (before, after) in enumerate((([0, 1, 0, 2], [0, 0, 1, 0]), ([1, 1, 1, 2], [0, 1, 1, 2]))):
        judge(stored, stored.id_of("baseline", seed), predicted=before, labels=labels)
        judge(stored, stored.id_of("pixel-level MSE", seed), predicted=after, labels=labels)
    return stored


def test_class_gains_are_accuracy_differences_seed_by_seed_as_counted_by_hand(tmp_path: Path):
    stored = judged_sweep(tmp_path)
    gains = read_gains(stored.store, stored.steps, stored.sweep.rows, over="baseline")
    assert [gain.row for gain in gains] == ["pixel-level MSE"]  # the third row is not trained
    # run: 1 of 2 to 2 of 2, and 0 of 2 to 1 of 2. jump: 0 to 1, and 1 to 1. sit: 1 to 0, and 1 to 1.
    assert gains[0].gains == {"run": (50.0, 50.0), "jump": (100.0, 0.0), "sit": (-100.0, 0.0)}
    assert shown_classes(gains) == ["run", "jump", "sit"]
    axes = draw_gains(gains).axes[0]
    assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in axes.patches] == [
        (50, 3),
        (50, 2),
        (-50, 1),
    ]


def test_clips_of_several_classes_are_compared_by_average_precision(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    labels = [[0, 1], [1], [2], [2]]
    judge(stored, stored.id_of("baseline", 0), predicted=[0, 2, 2, 1], labels=labels)
    judge(stored, stored.id_of("clip-level KL", 0), predicted=[0, 1, 2, 2], labels=labels)
    (gain,) = read_gains(stored.store, stored.steps, stored.sweep.rows, over="baseline")
    assert gain.measure == "average precision"
    # sit before: two clips score high, one of them right, then the two others: 1/2 * 1/2 + 1/2 * 2/4 = 1/2. After: 1.
    assert gain.gains["sit"] == pytest.approx((50.0,))


def test_of_very_many_classes_both_ends_are_shown():
    names = [f"class {number:03}" for number in range(200)]
    gain = ClassGain(row="a", over="b", measure="accuracy", gains={name: (float(n),) for n, name in enumerate(names)})
    shown = shown_classes([gain])
    assert shown == names[::-1][: MAX_CLASSES // 2] + names[::-1][-MAX_CLASSES // 2 :]
    figure = draw_gains([gain])
    assert f"{200 - MAX_CLASSES} classes between" in figure.get_supxlabel().replace("\n", " ")
    figure.draw_without_rendering()
    extent = figure._supxlabel.get_window_extent()
    assert 0 <= extent.x0 < extent.x1 <= figure.bbox.width


def test_curves_have_the_value_of_each_seed_at_each_validated_epoch(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0, 1))
    for seed, values in ((0, (0.2, 0.4, 0.9)), (1, (0.4, 0.8))):  # seed 1 was stopped early, or is not so far yet
        step_id = stored.id_of("baseline", seed)
        stored.start(step_id)
        for epoch, value in enumerate(values, start=1):
            stored.store.save(step_id, epoch, {}, {"train/loss": 1.0, "val/top1": value})
    (curve,) = read_curves(stored.store, stored.steps, stored.sweep.rows, metric="top1")
    assert curve == Curve(row="baseline", by_epoch=((1, (20.0, 40.0)), (2, (40.0, 80.0))))
    assert curve.means == [30.0, 60.0]
    figure = draw_curves([curve], metric="top1")
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[1, 30], [2, 60]]


def test_names_of_curves_stand_in_the_order_of_their_ends():
    curves = [Curve(row=f"row {end}", by_epoch=((1, (50.0,)), (2, (float(end),)))) for end in (10, 90, 40, 70, 60, 20)]
    legend = draw_curves(curves, metric="mAP").legends[0]
    ends = [int(text.get_text().split()[1]) for text in legend.get_texts()]
    assert ends == [90, 70, 60, 40, 20, 10]


def test_peers_are_those_published_for_the_same_data_set_and_metric():
    published = load_published()
    peers, source = published_peers(published, measured="test/top1", data_name="mini_kinetics")
    assert ("FrameExit", 19.7, 72.8) in peers
    assert "ListenToLook" not in {name for name, *_ in peers}  # was not measured there
    assert source == "Table 1"
    assert published_peers(published, measured="test/mAP", data_name="mini_kinetics") == ((), "")
    assert published_peers(published, measured="test/top1", data_name="demo") == ((), "")


def test_peers_are_grey_points_in_no_line_and_their_names_cover_nothing():
    peers, source = published_peers(load_published(), measured="test/mAP", data_name="activitynet")
    points = [
        PlotPoint(row=f"{gmacs} G", series="s", gmacs=gmacs, accuracies=(75.0 + gmacs / 10,)) for gmacs in (9.0, 30.0)
    ]
    axes = draw(Plot(heading="mAP (%)", points=tuple(points), peers=peers, peers_from=source)).axes[0]
    grey = [line for line in axes.lines if line.get_color() == PEER_COLOUR and len(line.get_xdata())]
    assert [line.get_linestyle() for line in grey] == ["None"]
    assert sorted(grey[0].get_xydata().tolist()) == sorted([gmacs, accuracy] for _, gmacs, accuracy in peers)
    assert "published" in grey[0].get_label()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(peers) + 2
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


ALL = SWEEP.replace("plot: accuracy_vs_gmacs", "plot: [accuracy_vs_gmacs, learning_curves, class_gain]")


def test_the_report_holds_every_figure_that_plot_lists(tmp_path: Path):
    stored = judged_sweep(tmp_path, ALL)
    prepared = Prepared(stored.sweep, stored.store, stored.steps, {})
    key, spec = next(iter(stored.sweep.tables.items()))
    records = records_from_store(stored.store, stored.steps)
    table = build_table(key, spec, sweep=stored.sweep, steps=stored.steps, records=records, published=load_published())
    written = write_report(with_figures([table], prepared), tmp_path / "report")
    pictures = {path.name for path in written if path.suffix == ".png"}
    assert pictures == {"accuracy_vs_gmacs.png", "table5_learning_curves.png", "table5_class_gain.png"}
    text = (tmp_path / "report" / "report.md").read_text()
    assert all(f"]({name})" in text for name in pictures)
    assert all((tmp_path / "report" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    for kind in ("learning_curves", "class_gain", "accuracy_vs_gmacs"):
        (path,) = write_sweep_figures(prepared, kind, tmp_path / "alone")
        assert path.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_refused(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    prepared = Prepared(stored.sweep, stored.store, stored.steps, {})
    with pytest.raises(BadInput, match="nothing to draw yet"):
        write_sweep_figures(prepared, "learning_curves", tmp_path)
    path = tmp_path / "bad.yaml"
    path.write_text(ALL.replace("SEEDS", "[0]").replace("delta_to: baseline,", ""))
    with pytest.raises(BadInput, match=r"'tables.table5.plot: class_gain' needs 'tables.table5.delta_to'"):
        load(path)
