"""The test that ends a training: by the recipe's own views and sampling, at its cost, and again after a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reskd.checkpoint import FolderSink, load_weights
from reskd.cost.gmacs import complexity
from reskd.data.decode.dispatch import read_frames
from reskd.data.manifest import Manifest
from reskd.data.sampling import eval_indices
from reskd.data.transforms import normalise
from reskd.errors import BadInput
from reskd.evaluation.reevaluate import Finished, judge_again
from reskd.files import Json, read_json
from reskd.models.catalogue import build_model
from reskd.protocol import Protocol
from reskd.recipe import Checkpoint, DataSpec, EvalSpec, KDSpec, ModelSpec, OptimSpec, Recipe
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec
from tests.support.pool import Pool
from tests.support.training import Fit, fit

ONE, MANY, LARGE = "a" * 16, "b" * 16, "c" * 16
PROTOCOL = Protocol(num_frames=2, num_views=2, num_crops=3, stride=2, twice=True)


def recipe(data: DataSpec, **evaluated: object) -> Recipe:
    dense = replace(
        data,
        num_frames=2,
        sampling="dense",
        frame_stride=2,
        crop="random_resized",
        short_side=40,
        crop_size=32,
    )
    return Recipe(
        data=dense,
        model=ModelSpec(name="tsn_mini10", resolution=16),
        optim=OptimSpec(lr=0.05, epochs=1, batch_size=16, group_size=8),
        eval=EvalSpec(**evaluated),  # type: ignore[arg-type]
    )


def train(recipes: dict[str, Recipe], manifest: Manifest, sink: FolderSink) -> None:
    root = Path(str(next(iter(recipes.values())).data.root))
    specs = [MemberSpec(step_id, each) for step_id, each in recipes.items()]
    assert set(fit_cohort(specs, manifest=manifest, root=root, sink=sink).values()) == {None}


@pytest.fixture(scope="module")
def recipes(demo_data: DataSpec) -> dict[str, Recipe]:
    """One training three times, in one cohort: judged by one view, by twelve, and on larger crops of larger frames."""
    return {
        ONE: recipe(demo_data),
        MANY: recipe(demo_data, views="2x3", twice=True),
        LARGE: recipe(demo_data, views="1x3", short_side=48, crop_size=48),
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, recipes: dict[str, Recipe], demo_manifest: Manifest) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("final")
    train(recipes, demo_manifest, FolderSink(folder))
    return folder


def done(folder: Path, step_id: str) -> Json:
    record = read_json(folder / step_id / "DONE.json")
    assert record is not None
    return record


def arrays(folder: Path, step_id: str, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / step_id / "eval" / f"{name}.npz") as stored:
        return dict(stored)


def test_the_record_is_that_of_an_evaluation_afterwards_bit_for_bit(
    trained: Path, recipes: dict[str, Recipe], demo_manifest: Manifest
) -> None:
    assert done(trained, MANY)["protocol"] == PROTOCOL.name == "val-f2s2-v2x3-twice"
    assert done(trained, ONE)["protocol"] == "val-f2s2-v1x1"
    assert done(trained, ONE)["state_hash"] == done(trained, MANY)["state_hash"]
    afterwards = judge_again(
        [Finished(step_id=ONE, recipe=recipes[ONE], weights=trained / ONE / "weights.pt")],
        protocol=PROTOCOL,
        manifest=demo_manifest,
        root=Path(str(recipes[ONE].data.root)),
        device=torch.device("cpu"),
    )[ONE]
    at_the_end = arrays(trained, MANY, PROTOCOL.name)
    assert {name: array.tobytes() for name, array in afterwards.arrays.items()} == {
        name: array.tobytes() for name, array in at_the_end.items()
    }
    assert done(trained, MANY)["metrics"] == {f"test/{name}": v for name, v in afterwards.record["metrics"].items()}
    assert not np.array_equal(at_the_end["logits"], arrays(trained, ONE, "val-f2s2-v1x1")["logits"])


def test_a_test_with_sizes_of_its_own_is_equal_to_a_plain_loop(
    trained: Path, recipes: dict[str, Recipe], demo_manifest: Manifest
) -> None:
    """Three crops of 48 pixels of a frame whose short side has 48; a network for 16 of a crop of 32 gets 24 of it."""
    name = "val-f2s2-v1x3-r48-c48"
    assert done(trained, LARGE)["protocol"] == name
    content = load_weights(trained / LARGE / "weights.pt")
    model = build_model(ModelSpec(**content["model_spec"]), num_classes=len(content["classes"])).eval()
    model.load_state_dict(content["model"])
    stored = arrays(trained, LARGE, name)
    for row, index in zip(stored["logits"], stored["indices"], strict=True):
        path = Path(str(recipes[LARGE].data.root), demo_manifest.val[int(index)].path)
        frames = read_frames(path, lambda total: eval_indices(total, num_frames=2, stride=2))
        pixels = F.interpolate(
            torch.from_numpy(frames).permute(0, 3, 1, 2), size=(48, 48), mode="bilinear", antialias=True
        )  # the demo's frames are square, so that all three crops are the whole frame
        seen = F.interpolate(normalise(pixels, dtype=torch.float32), size=(24, 24), mode="bilinear")
        with torch.no_grad():
            expected = model(seen[None]).clip_logits.log_softmax(-1)[0]
        torch.testing.assert_close(torch.from_numpy(row).log_softmax(-1), expected, rtol=1e-4, atol=1e-5)


def test_validation_on_the_way_takes_one_view_whatever_the_final_test(trained: Path) -> None:
    sink = FolderSink(trained)
    one, many = (
        {name: value for line in sink.metrics(step_id) for name, value in line["metrics"].items() if "val/" in name}
        for step_id in (ONE, MANY)
    )
    assert one == many
    assert one["val/top1"] == done(trained, ONE)["metrics"]["test/top1"]


def test_the_cost_of_a_video_counts_every_view_at_the_tests_own_size(trained: Path, demo_data: DataSpec) -> None:
    one, many, large = (done(trained, step_id)["complexity"] for step_id in (ONE, MANY, LARGE))
    assert many["gmacs"] == pytest.approx(2 * 2 * 3 * one["gmacs"])
    network = build_model(recipe(demo_data).model, num_classes=6)
    assert large["gmacs"] == complexity(network, resolution=24, num_frames=2, num_views=3).gmacs
    assert many["gflops"] == pytest.approx(12 * one["gflops"])
    assert many["num_params"] == one["num_params"]


def test_the_weights_know_how_frames_were_sampled(trained: Path) -> None:
    assert load_weights(trained / ONE / "weights.pt")["stride"] == 2


def test_two_workers_share_the_final_test_and_ask_the_teacher_for_the_same_views(
    trained: Path, recipes: dict[str, Recipe], demo_manifest: Manifest, tmp_path: Path, pool: Pool
) -> None:
    teacher = trained / ONE / "weights.pt"
    taught = replace(
        recipes[MANY],
        eval=EvalSpec(views="2x1"),
        kd=KDSpec(level="clip"),
        teacher=Checkpoint(checkpoint=str(teacher)),
        model_seed=5,
    )
    job = Fit({"c" * 16: taught, "d" * 16: replace(recipes[ONE], model_seed=6)}, demo_manifest, tmp_path, teacher)
    assert set(pool.run(fit, job)[0]) == set(job.recipes)
    assert done(tmp_path, "d" * 16)["protocol"] == "val-f2s2-v1x1"
    alone = judge_again(
        [Finished(step_id="c" * 16, recipe=taught, weights=tmp_path / ("c" * 16) / "weights.pt", teacher=teacher)],
        protocol=Protocol(num_frames=2, num_views=2, stride=2),
        manifest=demo_manifest,
        root=Path(str(taught.data.root)),
        device=torch.device("cpu"),
    )["c" * 16]
    assert done(tmp_path, "c" * 16)["metrics"] == {f"test/{name}": v for name, v in alone.record["metrics"].items()}
    assert "agreement" in alone.record["metrics"]
    np.testing.assert_allclose(
        arrays(tmp_path, "c" * 16, "val-f2s2-v2x1")["logits"], alone.arrays["logits"], rtol=1e-5, atol=1e-5
    )


class Crashing(FolderSink):
    """Killed when the final test is written."""

    def write_evaluation(self, step_id: str, name: str, record: Json, arrays: dict[str, np.ndarray]) -> None:
        raise KeyboardInterrupt


def test_a_crash_before_the_record_leaves_only_the_judging_to_do(
    trained: Path, recipes: dict[str, Recipe], demo_manifest: Manifest, tmp_path: Path
) -> None:
    only = {MANY: recipes[MANY]}
    with pytest.raises(KeyboardInterrupt):
        train(only, demo_manifest, Crashing(tmp_path))
    assert not (tmp_path / MANY / "DONE.json").exists()
    train(only, demo_manifest, FolderSink(tmp_path))
    for name, array in arrays(trained, MANY, PROTOCOL.name).items():
        assert arrays(tmp_path, MANY, PROTOCOL.name)[name].tobytes() == array.tobytes()


def test_a_recipes_protocol_carries_its_sampling_and_bad_views_are_refused() -> None:
    swin = Recipe(data=DataSpec(num_frames=32, sampling="dense", frame_stride=2), eval=EvalSpec(views="4x3"))
    assert swin.test_protocol.name == "val-f32s2-v4x3"
    assert swin.test_protocol.num_forwards == 12
    assert Recipe().test_protocol.name == "val-f16-v1x1"
    with pytest.raises(BadInput, match=r"eval\.views must be temporal views x crops, such as 10x3.*'10'"):
        EvalSpec(views="10")
    with pytest.raises(BadInput, match=r"data\.frame_stride must be 1 with data\.sampling segments.*got 8"):
        DataSpec(frame_stride=8)
    with pytest.raises(BadInput, match=r"data\.frame_stride must be at least 1, got 0"):
        DataSpec(sampling="dense", frame_stride=0)
