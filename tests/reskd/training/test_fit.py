"""Training on real files, one worker: what it leaves, and what bad input does to it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reskd.checkpoint import FolderSink, load_weights
from reskd.cost.gmacs import complexity
from reskd.data.dataset import VideoDataset
from reskd.data.loader import val_groups
from reskd.data.manifest import build_manifest
from reskd.data.transforms import model_input, normalise
from reskd.errors import BadInput, TooManyDamaged
from reskd.files import Json
from reskd.models.backbones.mini import tsn_mini
from reskd.models.catalogue import MODELS, Network, build_model
from reskd.models.video_model import VideoModel
from reskd.recipe import DataSpec, EvalSpec, ModelSpec, OptimSpec, Recipe
from reskd.runtime.workers import Workers
from reskd.training.fit import EpochReport, MemberSpec, fit_cohort

STEP = "0123456789abcdef"


@pytest.fixture
def data(demo_data: DataSpec, demo_root: Path, tmp_path: Path) -> DataSpec:
    """A copy of the demo's clips that a test may damage."""
    shutil.copytree(demo_root, tmp_path / "videos")
    return replace(demo_data, root=str(tmp_path / "videos"))


def recipe(data: DataSpec, **optim: object) -> Recipe:
    return Recipe(
        data=data,
        model=ModelSpec(name="tsn_mini10", resolution=16, dropout=0.2),
        optim=OptimSpec(**{"lr": 0.05, "epochs": 1, "batch_size": 12, "group_size": 4, **optim}),  # type: ignore[arg-type]
    )


def train(recipe: Recipe, folder: Path) -> tuple[FolderSink, list[EpochReport]]:
    sink, reports = FolderSink(folder / "runs"), list[EpochReport]()
    fit_cohort(
        [MemberSpec(STEP, recipe)],
        manifest=build_manifest(recipe.data),
        root=Path(str(recipe.data.root)),
        sink=sink,
        on_epoch_end=reports.append,
    )
    return sink, reports


@pytest.fixture(scope="module")
def plain(demo_data: DataSpec, tmp_path_factory: pytest.TempPathFactory) -> FolderSink:
    """The recipe trained on the undamaged demo, for tests that only read what it leaves."""
    torch.set_num_threads(1)
    return train(recipe(demo_data), tmp_path_factory.mktemp("plain"))[0]


def state_hash(sink: FolderSink) -> str:
    done = sink.done(STEP)
    assert done is not None
    return str(done["state_hash"])


def cut(data: DataSpec, split: str) -> str:
    """Cut one clip of a split to 60 %; its path."""
    clip = getattr(build_manifest(data), split)[3]
    path = Path(str(data.root), clip.path)
    path.write_bytes(path.read_bytes()[: clip.size * 6 // 10])
    return str(clip.path)


def test_the_stored_weights_give_the_stored_logits_again(demo_data: DataSpec, plain: FolderSink) -> None:
    data, sink = demo_data, plain
    content = load_weights(sink.weights(STEP))
    model = build_model(ModelSpec(**content["model_spec"]), num_classes=len(content["classes"]))
    model.load_state_dict(content["model"])
    model.eval()
    clips = build_manifest(data).val
    dataset = VideoDataset(clips, root=Path(str(data.root)), spec=data, num_classes=6, split="val", data_seed=0)
    stored = sink.logits(STEP, "val-f4-v1x1")
    group = next(iter(val_groups(dataset, batch_size=7, rank=0, world_size=1, loader_workers=0)))
    with torch.no_grad():
        frames = model_input(normalise(group.clips, dtype=torch.float32), resolution=16, antialias=False)
        logits = model(frames).clip_logits.numpy()
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5)
    top1 = (stored["logits"].argmax(1) == stored["targets"].argmax(1)).mean()
    done = sink.done(STEP)
    assert done is not None
    assert done["metrics"]["test/top1"] == pytest.approx(top1)
    assert sink.evaluations(STEP)["val-f4-v1x1"]["metrics"]["top1"] == pytest.approx(top1)


def test_the_same_recipe_twice_gives_the_same_bits_and_another_seed_others(
    data: DataSpec, plain: FolderSink, tmp_path: Path
) -> None:
    asked = recipe(data)
    again, seed_of_model, seed_of_data = (
        state_hash(train(one, tmp_path / name)[0])
        for name, one in (
            ("again", asked),
            ("model", replace(asked, model_seed=1)),
            ("data", replace(asked, data_seed=1)),
        )
    )
    assert again == state_hash(plain)
    assert len({again, seed_of_model, seed_of_data}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "adamw", "lr": 1e-3, "clip_norm": 0.1},
        pytest.param({"schedule": "onecycle", "epochs": 2}, marks=pytest.mark.slow),
        pytest.param({"clip_norm": 0.1, "warmup_epochs": 0.5}, marks=pytest.mark.slow),
        pytest.param({"name": "adamw", "lr": 1e-3}, marks=pytest.mark.slow),
    ],
)
def test_the_loss_is_finite_and_logged_for_every_optimiser_and_schedule(
    data: DataSpec, tmp_path: Path, changes: dict[str, object]
) -> None:
    asked = recipe(data, **changes)
    sink, reports = train(asked, tmp_path)
    assert [line["epoch"] for line in sink.metrics(STEP)] == list(range(1, asked.optim.epochs + 1))
    assert all(np.isfinite(report.metrics[STEP]["train/loss"]) for report in reports)


def test_bf16_computes_otherwise_and_keeps_its_weights_in_fp32(
    data: DataSpec, plain: FolderSink, tmp_path: Path
) -> None:
    sink, _ = train(replace(recipe(data), precision="bf16"), tmp_path / "bf16")
    assert state_hash(sink) != state_hash(plain)
    weights = load_weights(sink.weights(STEP))["model"]
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}


def test_a_training_that_diverges_is_recorded_as_failed_with_its_reason(data: DataSpec, tmp_path: Path) -> None:
    sink, _ = train(recipe(data, lr=1e30, epochs=3), tmp_path)
    failure = sink.failure(STEP)
    assert failure is not None
    assert "lower optim.lr" in failure["reason"]
    assert not sink.is_finished(STEP)


def test_a_damaged_training_clip_is_replaced_counted_and_named(data: DataSpec, tmp_path: Path) -> None:
    path = cut(data, "train")
    sink, _ = train(recipe(replace(data, max_damaged=0.05)), tmp_path)
    done = sink.done(STEP)
    assert done is not None
    assert [(clip["split"], clip["path"]) for clip in done["damaged"]] == [("train", path)]


def test_a_damaged_validation_clip_is_left_out_and_n_says_so(data: DataSpec, tmp_path: Path) -> None:
    path = cut(data, "val")
    sink, _ = train(recipe(replace(data, max_damaged=0.2)), tmp_path)
    record = sink.evaluations(STEP)["val-f4-v1x1"]
    assert (record["num_clips"], record["num_skipped"], record["skipped"]) == (6, 1, [path])


def test_missing_validation_clips_are_left_out_and_the_record_counts_them(data: DataSpec, tmp_path: Path) -> None:
    missing = build_manifest(data).val[0].path
    (Path(str(data.root)) / missing).unlink()
    sink, _ = train(recipe(replace(data, allow_missing=1)), tmp_path)
    record = sink.evaluations(STEP)["val-f4-v1x1"]
    assert (record["num_clips"], record["num_skipped"], record["num_missing"]) == (6, 0, 1)


def test_too_many_damaged_clips_stop_the_run_with_their_list(data: DataSpec, tmp_path: Path) -> None:
    path = cut(data, "train")
    with pytest.raises(TooManyDamaged, match=rf"1 of 36 train clips .* data.max_damaged = 0.01(.|\n)*{path}"):
        train(recipe(data), tmp_path)


def test_a_file_that_vanishes_stops_the_run_and_a_later_one_goes_on(data: DataSpec, tmp_path: Path) -> None:
    asked = recipe(data, epochs=2)
    manifest, sink = build_manifest(data), FolderSink(tmp_path / "runs")
    path = Path(str(data.root), manifest.train[0].path)

    def take_away(report: EpochReport) -> None:
        path.rename(path.with_suffix(".away"))

    arguments = {"manifest": manifest, "root": Path(str(data.root)), "sink": sink}
    with pytest.raises(OSError, match=path.name):
        fit_cohort([MemberSpec(STEP, asked)], **arguments, on_epoch_end=take_away)  # type: ignore[arg-type]
    assert sink.epochs(STEP) == (1,)
    path.with_suffix(".away").rename(path)
    fit_cohort([MemberSpec(STEP, asked)], **arguments)  # type: ignore[arg-type]
    undisturbed = train(asked, tmp_path / "other")[0]
    assert (sink.done(STEP) or {})["state_hash"] == (undisturbed.done(STEP) or {})["state_hash"]


def test_a_damaged_newest_checkpoint_costs_one_epoch_and_no_bit(data: DataSpec, tmp_path: Path) -> None:
    asked = recipe(data, epochs=3)
    manifest, sink = build_manifest(data), FolderSink(tmp_path / "runs")

    def interrupt(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    arguments = {"manifest": manifest, "root": Path(str(data.root)), "sink": sink}
    with pytest.raises(KeyboardInterrupt):
        fit_cohort([MemberSpec(STEP, asked)], **arguments, on_epoch_end=interrupt)  # type: ignore[arg-type]
    newest = sink.folder(STEP) / "checkpoints" / "epoch_0002.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    reports: list[EpochReport] = []
    fit_cohort([MemberSpec(STEP, asked)], **arguments, on_epoch_end=reports.append)  # type: ignore[arg-type]
    assert [report.epoch for report in reports] == [2, 3]
    undisturbed = train(asked, tmp_path / "other")[0]
    assert (sink.done(STEP) or {})["state_hash"] == (undisturbed.done(STEP) or {})["state_hash"]


def test_what_cannot_fit_is_refused_before_training(data: DataSpec, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="36"):
        train(recipe(data, batch_size=40), tmp_path)
    with pytest.raises(BadInput, match="2 workers cannot share 3 groups"):
        fit_cohort(
            [MemberSpec(STEP, recipe(data))],
            manifest=build_manifest(data),
            root=Path(str(data.root)),
            sink=FolderSink(tmp_path),
            workers=Workers(rank=0, world_size=2),
        )
    with pytest.raises(BadInput, match="tsn_mini10"):
        train(replace(recipe(data), model=ModelSpec(name="tsn_mini11", resolution=16)), tmp_path)


def test_validation_runs_when_due_and_at_the_end(data: DataSpec, tmp_path: Path) -> None:
    sink, _ = train(replace(recipe(data, epochs=3), eval=EvalSpec(every=2)), tmp_path)
    assert ["val/top1" in line["metrics"] for line in sink.metrics(STEP)] == [False, True, True]


class Crashing(FolderSink):
    """Killed between the last checkpoint and DONE."""

    def finish(self, step_id: str, weights: Json, record: Json) -> None:
        raise KeyboardInterrupt


def fit(specs: dict[str, Recipe], sink: FolderSink, reports: list[EpochReport] | None = None) -> None:
    data = next(iter(specs.values())).data
    fit_cohort(
        [MemberSpec(step_id, asked) for step_id, asked in specs.items()],
        manifest=build_manifest(data),
        root=Path(str(data.root)),
        sink=sink,
        on_epoch_end=None if reports is None else reports.append,
    )


def test_a_crash_between_the_last_checkpoint_and_done_leaves_only_the_judging_to_do(
    data: DataSpec, tmp_path: Path
) -> None:
    path = cut(data, "train")
    asked = recipe(replace(data, max_damaged=0.05), epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fit({STEP: asked}, Crashing(tmp_path / "runs"))
    sink, reports = FolderSink(tmp_path / "runs"), list[EpochReport]()
    torch.set_num_threads(2)  # not those of the start, which a resume uses again
    fit({STEP: asked}, sink, reports)
    done = sink.done(STEP) or {}
    assert reports == []
    assert [clip["path"] for clip in done["damaged"]] == [path]
    assert done["threads"] == 1
    assert done["wall_s"] > 0


def test_damaged_validation_clips_are_counted_and_limited_too(data: DataSpec, tmp_path: Path) -> None:
    path = cut(data, "val")
    sink, _ = train(recipe(replace(data, max_damaged=0.2)), tmp_path / "some")
    assert [(clip["split"], clip["path"]) for clip in (sink.done(STEP) or {})["damaged"]] == [("val", path)]
    assert sink.metrics(STEP)[-1]["metrics"]["data/damaged_clips"] == 1
    with pytest.raises(TooManyDamaged, match="1 of 7 val clips"):
        train(recipe(data), tmp_path / "many")


def nan_in_eval(**options: Any) -> VideoModel:
    model = tsn_mini(num_blocks=1, **options)
    model.backbone.register_forward_hook(lambda module, _, out: out if module.training else out * float("nan"))
    return model


def test_a_member_whose_validation_is_nan_leaves_and_the_others_finish(
    data: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "nan_in_eval", Network(nan_in_eval))
    good, sink = recipe(data), FolderSink(tmp_path)
    fit({"bad": replace(good, model=ModelSpec(name="nan_in_eval", resolution=16)), "good": good}, sink)
    assert sink.is_finished("good")
    assert not sink.is_finished("bad")
    assert "validation logits are not finite" in (sink.failure("bad") or {})["reason"]


def test_costs_are_those_of_the_models_own_resolution_and_frames(plain: FolderSink) -> None:
    model = MODELS["tsn_mini10"].build(num_classes=6, dropout=0.0)
    expected = complexity(model, resolution=16, num_frames=4).gmacs
    assert (plain.done(STEP) or {})["complexity"]["gmacs"] == expected
    speed = plain.newest_throughput(STEP)
    assert (speed["resolution"], speed["num_frames"]) == (16, 4)


def test_the_logged_loss_is_a_mean_that_starts_near_that_of_chance(plain: FolderSink) -> None:
    assert plain.metrics(STEP)[0]["metrics"]["train/task_loss"] == pytest.approx(np.log(6), abs=0.6)
