"""Finished steps judged again: views and crops by hand, equal bits where nothing changes, and records left alone."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.reevaluate import reevaluate, stored_recipe, with_root
from orchestrator.store.lease import Leases
from orchestrator.store.lease_owner import Owner
from orchestrator.store.store import Store
from reskd.checkpoint import load_weights
from reskd.data.dataset import VideoDataset
from reskd.data.decode.dispatch import read_frames
from reskd.data.manifest import Clip
from reskd.data.sampling import segment_indices, view_indices
from reskd.data.transforms import model_input, normalise, view_crops
from reskd.errors import BadInput
from reskd.evaluation.clip_logits import average_views
from reskd.models.catalogue import build_model
from reskd.protocol import Protocol, parse_protocol, parse_views
from reskd.recipe import DataSpec, ModelSpec
from tests.support.video_files import frame_number, write_video

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(trained_sweep: Prepared) -> Prepared:
    """Read alone; what is judged again is in a copy of its store."""
    return trained_sweep


@pytest.fixture
def store(trained: Prepared, tmp_path: Path) -> Store:
    """A copy that a test may change."""
    shutil.copytree(trained.store.home, tmp_path / "store")
    return Store(tmp_path / "store")


def recipes_of(store: Store) -> dict:
    return {step_id: stored_recipe(store, step_id) for step_id in store.step_ids()}


def test_views_of_ten_frames_are_the_table_worked_by_hand():
    # Two segments of 5 frames; view 0 at a quarter of each (1.25, 6.25), view 1 at three quarters (3.75, 8.75).
    assert view_indices(10, num_frames=2, num_views=2) == [1, 6, 3, 8]
    assert view_indices(10, num_frames=2, num_views=1) == [2, 7]
    assert view_indices(3, num_frames=4, num_views=2) == [0, 1, 2, 0] * 2


@pytest.mark.parametrize(("num_total", "num_frames", "num_views"), [(300, 16, 10), (97, 4, 3), (40, 8, 5), (7, 7, 2)])
def test_all_views_together_are_one_view_of_as_many_frames(num_total: int, num_frames: int, num_views: int):
    together = segment_indices(num_total, num_frames=num_frames * num_views, rng=None)
    every = view_indices(num_total, num_frames=num_frames, num_views=num_views)
    if num_total >= num_frames * num_views:
        assert sorted(every) == together
    for start in range(0, len(every), num_frames):
        places = every[start : start + num_frames]
        assert [place * num_frames // num_total for place in places] == list(range(num_frames))  # one a segment


@pytest.mark.parametrize(
    ("height", "width", "corners"),
    [(8, 14, [(1, 0), (1, 4), (1, 8)]), (14, 8, [(0, 1), (4, 1), (8, 1)]), (8, 8, [(1, 0), (1, 1), (1, 2)])],
)
def test_three_crops_lie_along_the_long_side(height: int, width: int, corners: list[tuple[int, int]]):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = (16 * rows + columns).to(torch.uint8).expand(2, 3, height, width)
    spec = DataSpec(num_frames=2, short_side=8, crop_size=6)
    crops = view_crops(frames, spec=spec, num_crops=3)
    assert [divmod(int(crop[0, 0, 0, 0]), 16) for crop in crops] == corners
    assert torch.equal(crops[1], view_crops(frames, spec=spec, num_crops=1)[0])


def test_three_crops_of_a_square_frame_without_room_are_equal():
    frames = torch.randint(0, 256, (2, 3, 50, 50), dtype=torch.uint8)
    crops = view_crops(frames, spec=DataSpec(short_side=32, crop_size=32), num_crops=3)
    assert torch.equal(crops[0], crops[1])
    assert torch.equal(crops[0], crops[2])


def test_a_clips_views_come_view_by_view_and_crop_by_crop(tmp_path: Path):
    write_video(tmp_path / "a.mp4", num_frames=40, height=64, width=96)
    spec = DataSpec(root=str(tmp_path), num_frames=2, short_side=64, crop_size=64)
    clips = [Clip("a.mp4", 0, "", (0,))]
    several, one = (
        VideoDataset(clips, root=tmp_path, spec=spec, num_classes=2, split="val", data_seed=0).judged_by(
            Protocol(num_frames=spec.num_frames, num_views=v, num_crops=c)
        )
        for v, c in ((3, 3), (3, 1))
    )
    group = several.collate([several[(0, 0)]])
    assert group.clips.shape == (9, 2, 3, 64, 64)
    assert torch.equal(group.clips[[1, 4, 7]], one.collate([one[(0, 0)]]).clips)  # the middle crops
    # The whole width of a frame, put together from the outer crops, shows its number.
    for place, numbers in enumerate([[3, 23], [10, 30], [16, 36]]):
        left, right = group.clips[3 * place], group.clips[3 * place + 2]
        whole = torch.cat([left, right[..., 32:]], dim=-1)
        assert [frame_number(frame.permute(1, 2, 0).numpy()) for frame in whole] == numbers


def test_probabilities_are_averaged_not_logits():
    logits = torch.tensor([[math.log(0.9), math.log(0.1)], [math.log(0.3) + 50, math.log(0.7) + 50]])
    mean = average_views(logits, views_per_clip=2)
    torch.testing.assert_close(mean.softmax(-1), torch.tensor([[0.6, 0.4]]))
    huge = average_views(torch.tensor([[0.0, -500.0], [0.0, -700.0]]), views_per_clip=2)
    assert torch.isfinite(huge).all()
    assert average_views(logits, views_per_clip=1) is logits


def test_names_of_protocols_are_read_back_and_odd_ones_refused():
    protocol = Protocol("val", 32, 10, 3)
    assert protocol.name == "val-f32-v10x3"
    assert parse_protocol(protocol.name) == protocol
    for name, other in {
        "val-f8s8-v10x3": Protocol("val", 8, 10, 3, stride=8),
        "val-f32s1-v1x1": Protocol("val", 32, stride=1),
        "val-f8-v1x3-twice": Protocol("val", 8, 1, 3, twice=True),
        "val-f8s2-v4x3-twice": Protocol("val", 8, 4, 3, stride=2, twice=True),
    }.items():
        assert other.name == name
        assert parse_protocol(name) == other
    assert parse_views("10x3") == (10, 3)
    for odd in ("10", "x3", "0x1", "3x2", "10x3x1", "-1x3", "a"):
        with pytest.raises(BadInput, match="temporal views x crops"):
            parse_views(odd)
    for odd in ("val-f32-v10x2", "test-f1-v1x1", "val-f32", "f32-v1x1", "val-f8s0-v1x1", "val-f8-v1x1twice"):
        with pytest.raises(BadInput):
            parse_protocol(odd)


def test_one_centre_view_gives_the_records_of_training_bit_for_bit(store: Store, trained: Prepared):
    before = {step_id: (store.evaluations(step_id), store.logits(step_id, "val-f4-v1x1")) for step_id in trained.steps}
    for step_id in trained.steps:
        shutil.rmtree(store.folder(step_id) / "eval")
    outcome = reevaluate(store, recipes_of(store), views=(1, 1), num_frames=None, device=CPU)
    assert sorted(outcome.judged) == sorted(trained.steps)
    for step_id, (records, arrays) in before.items():
        again = store.logits(step_id, "val-f4-v1x1")
        assert {name: array.tobytes() for name, array in again.items()} == {k: v.tobytes() for k, v in arrays.items()}
        record = store.evaluations(step_id)["val-f4-v1x1"]
        assert {key: record[key] for key in records["val-f4-v1x1"]} == records["val-f4-v1x1"]
    assert any("agreement" in records["val-f4-v1x1"]["metrics"] for records, _ in before.values())


def test_more_views_are_a_record_beside_the_old_one_equal_to_a_plain_loop(store: Store, trained: Prepared):
    step_id = next(step.id for step in trained.steps.values() if step.teacher_id)
    recipe = stored_recipe(store, step_id)
    folder = store.folder(step_id)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outcome = reevaluate(store, {step_id: recipe}, views=(2, 3), num_frames=3, device=CPU)
    assert outcome.judged == [step_id]
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in folder.rglob("*") if path.is_file() and path not in before} <= {
        *("val-f3-v2x3.json", "val-f3-v2x3.npz", "lease.json", "lease.lock")
    }
    content = load_weights(store.weights(step_id))
    model = build_model(ModelSpec(**content["model_spec"]), num_classes=len(content["classes"])).eval()
    model.load_state_dict(content["model"])
    arrays = store.logits(step_id, "val-f3-v2x3")
    data = replace(recipe.data, num_frames=3)
    for row, index in zip(arrays["logits"], arrays["indices"], strict=True):
        probabilities = []
        clip = trained.manifest(trained.steps[step_id]).val[int(index)]
        for which in range(2):
            frames = read_frames(
                Path(str(data.root), clip.path),
                lambda n, which=which: [math.floor((i + (which + 0.5) / 2) * n / 3) for i in range(3)],
            )
            for crop in view_crops(torch.from_numpy(frames).permute(0, 3, 1, 2), spec=data, num_crops=3):
                pixels = model_input(normalise(crop[None], dtype=torch.float32), resolution=24, antialias=False)
                with torch.no_grad():
                    probabilities.append(model(pixels).clip_logits.softmax(-1)[0].numpy())
        expected = np.mean(probabilities, axis=0)
        np.testing.assert_allclose(np.exp(row), expected, rtol=1e-4, atol=1e-6)
    record = store.evaluations(step_id)["val-f3-v2x3"]
    assert record["protocol"] == {"split": "val", "num_frames": 3, "views": 2, "crops": 3}
    assert record["num_clips"] == 7
    best = arrays["logits"].argmax(1)
    assert record["metrics"]["top1"] == np.mean([arrays["targets"][i, c] for i, c in enumerate(best)])


def test_a_record_that_is_there_is_left_alone_and_a_lease_of_another_is_kept(store: Store, trained: Prepared):
    step_id = next(iter(trained.steps))
    recipes = {step_id: stored_recipe(store, step_id)}
    other = Leases(Owner.this_process())
    assert other.take(store.lease_path(step_id))
    held = reevaluate(store, recipes, views=(2, 1), num_frames=None, device=CPU)
    other.release()
    assert (held.judged, list(held.held)) == ([], [step_id])
    assert "val-f4-v2x1" not in store.evaluations(step_id)
    assert reevaluate(store, recipes, views=(2, 1), num_frames=None, device=CPU).judged == [step_id]
    path = store.folder(step_id) / "eval" / "val-f4-v2x1.json"
    was = path.stat().st_mtime_ns
    gone = with_root(recipes.items(), Path("/nowhere"))  # nothing to do needs no videos
    assert reevaluate(store, gone, views=(2, 1), num_frames=None, device=CPU).present == [step_id]
    assert path.stat().st_mtime_ns == was


def test_other_videos_than_the_steps_are_refused(store: Store, trained: Prepared, demo_root: Path, tmp_path: Path):
    step_id = next(iter(trained.steps))
    recipe = stored_recipe(store, step_id)
    shutil.copytree(demo_root, tmp_path / "videos")
    moved = with_root([(step_id, recipe)], tmp_path / "videos")
    assert reevaluate(store, moved, views=(1, 3), num_frames=None, device=CPU).judged == [step_id]
    names = (tmp_path / "videos" / "val.csv").read_text().splitlines(keepends=True)
    (tmp_path / "videos" / "val.csv").write_text("".join(names[:-1]))
    with pytest.raises(BadInput, match="its videos or labels differ"):
        reevaluate(store, moved, views=(2, 3), num_frames=None, device=CPU)
    nowhere = with_root([(step_id, recipe)], tmp_path / "none")
    with pytest.raises(BadInput, match="not here"):
        reevaluate(store, nowhere, views=(2, 3), num_frames=None, device=CPU)


def test_a_network_with_an_exit_a_frame_is_left_out_where_it_cannot_look_at_so_many(
    store: Store, trained: Prepared
) -> None:
    recipes = recipes_of(store)
    unfit, *others = recipes
    early = replace(recipes[unfit].model, name="frameexit_mini10")
    recipes[unfit] = replace(recipes[unfit], model=early)
    outcome = reevaluate(store, recipes, views=(1, 1), num_frames=5, device=CPU)
    assert outcome.unfit == {unfit: "has an exit for each of 4 frames, and no more"}
    assert sorted(outcome.judged) == sorted(others)
    with pytest.raises(BadInput, match=r"--frames 5: step \w+, frameexit_mini10, has an exit for each of 4 frames"):
        reevaluate(store, {unfit: recipes[unfit]}, views=(1, 1), num_frames=5, device=CPU)
