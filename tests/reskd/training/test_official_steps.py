"""The named recipe's training against plain PyTorch: a replica for each GPU of the official code, averaged by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.spec.sweep import load
from reskd.checkpoint import FolderSink, load_weights
from reskd.data.dataset import VideoDataset
from reskd.data.loader import train_groups
from reskd.data.manifest import Manifest
from reskd.data.sampling import seed_of
from reskd.models.catalogue import build_model
from reskd.models.video_model import VideoModel
from reskd.recipe import DataSpec, ModelSpec, Recipe
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec

STEP, SEED, NUM_CLASSES = "0123456789abcdef", 3, 6
# Nine steps of two groups: the rate changes with the epoch, not with the step; each third step has one clip left over.
NUM_EPOCHS, BATCH, GROUP = 3, 4, 2
EQUAL = ModelSpec(name="tsn_mini18", resolution=40)
WIDER = ModelSpec(name="tsn_mobilenet_v2", resolution=40)  # 1280 channels against the student's 128
MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)


def small_official(folder: Path, data: DataSpec, teacher: Path, *, level: str, corners: bool) -> Recipe:
    """tsn_activitynet on small videos and networks, for few epochs; all else is as the named recipe says."""
    path = folder / "official.yaml"
    path.write_text(f"""
question: Does a step do what the official code's does?
base:
  recipe: tsn_activitynet
  data: {{root: "{data.root}", annotations: csv, num_frames: 4, short_side: 64, crop_size: 64}}
  model: {{name: tsn_mini10, resolution: 24, weights: none}}
  kd: {{level: {level}, align_corners: {str(corners).lower()}}}
  optim: {{epochs: {NUM_EPOCHS}, batch_size: {BATCH}, group_size: {GROUP}}}
  teacher.checkpoint: {teacher}
  precision: fp64
rows: {{chain: [{{row: ResKD}}]}}
seeds: [{SEED}]
""")
    (cell,) = load(path).cells
    return cell.recipe


def saved_teacher(path: Path, spec: ModelSpec, classes: tuple[str, ...]) -> VideoModel:
    torch.manual_seed(5)
    teacher = build_model(spec, num_classes=NUM_CLASSES)
    torch.save({"model": teacher.state_dict(), "model_spec": asdict(spec), "classes": list(classes)}, path)
    return teacher.double().train()  # as the official code has it, dropout too


def seen(clips: Tensor, resolution: int) -> Tensor:
    frames = (clips.double() / 255 - MEAN) / STD
    resized = F.interpolate(frames.flatten(0, 1), size=resolution, mode="bilinear")
    return resized.unflatten(0, clips.shape[:2])


def distillation(student: VideoModel, ours: Tensor, teacher: VideoModel, theirs: Tensor, recipe: Recipe) -> Tensor:
    """100 x MSE; or 200 x the KL at T = 2, averaged over 400 classes as the official code does for Swin."""
    size = theirs.shape[-2:]
    ours = F.interpolate(ours, size=size, mode="bilinear", align_corners=recipe.kd.align_corners)
    if recipe.kd.level == "pixel":
        return 100 * (ours - theirs).square().mean()
    p, q = (
        (model.classifier(map_.movedim(1, -1)) / 2).softmax(-1) for model, map_ in ((teacher, theirs), (student, ours))
    )
    return 200 / 400 * 2**2 * (p * (p.log() - q.log())).sum(-1).mean()


def plain(recipe: Recipe, dataset: VideoDataset, teacher: VideoModel, at: int) -> tuple[dict[str, Tensor], list[float]]:
    """Weights at the end and the gradient's norm at each step, before it is clipped."""
    torch.manual_seed(seed_of("init", SEED))
    model = build_model(recipe.model, num_classes=NUM_CLASSES).double().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    norms: list[float] = []
    for epoch in range(NUM_EPOCHS):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * epoch / NUM_EPOCHS)) / 2
        loader = {"batch_size": BATCH, "group_size": GROUP, "rank": 0, "world_size": 1, "loader_workers": 0}
        loader["keep_last"] = True
        for groups in train_groups(dataset, epoch=epoch + 1, **loader):
            replicas = [copy.deepcopy(model) for _ in groups]
            for number, (replica, group) in enumerate(zip(replicas, groups, strict=True)):
                replica.zero_grad()
                torch.manual_seed(seed_of("teacher", SEED, len(norms), number))
                with torch.no_grad():
                    taught = teacher(seen(group.clips, at)).features
                torch.manual_seed(seed_of("student", SEED, len(norms), number))
                output = replica(seen(group.clips, 24))
                term = distillation(replica, output.features, teacher, taught, recipe)
                (F.cross_entropy(output.clip_logits, group.labels) + term).backward()
            for name, parameter in model.named_parameters():
                parameter.grad = torch.stack(
                    [dict(replica.named_parameters())[name].grad for replica in replicas]
                ).mean(0)
            for name, buffer in model.named_buffers():
                buffer.copy_(dict(replicas[0].named_buffers())[name])  # rank 0's, which the official code saves
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 20)))
            optimizer.step()
    return model.state_dict(), norms


@pytest.mark.parametrize(
    ("level", "corners", "spec"),
    [
        pytest.param("pixel", False, EQUAL, id="pixel"),
        pytest.param("pixel", True, EQUAL, id="pixel, align_corners", marks=pytest.mark.slow),
        pytest.param("pixel_kl", False, EQUAL, id="pixel_kl, equal widths", marks=pytest.mark.slow),
        pytest.param("pixel_kl", True, WIDER, id="pixel_kl, another width, align_corners", marks=pytest.mark.slow),
    ],
)
def test_nine_steps_of_the_official_recipe_end_where_plain_pytorch_does(
    demo_data: DataSpec, demo_manifest: Manifest, tmp_path: Path, level: str, corners: bool, spec: ModelSpec
) -> None:
    path = tmp_path / "teacher.pt"
    manifest = replace(demo_manifest, train=demo_manifest.train[: 2 * BATCH + 1])
    teacher = saved_teacher(path, spec, manifest.classes)
    recipe = small_official(tmp_path, demo_data, path, level=level, corners=corners)
    root, sink = Path(str(demo_data.root)), FolderSink(tmp_path / "runs")
    fit_cohort([MemberSpec(STEP, recipe)], manifest=manifest, root=root, sink=sink, teacher_weights=path)
    dataset = VideoDataset(
        manifest.train, root=root, spec=recipe.data, num_classes=NUM_CLASSES, split="train", data_seed=SEED
    )
    expected, norms = plain(recipe, dataset, teacher, spec.resolution)
    assert len(norms) == 9
    assert level != "pixel" or max(norms) > 20, f"clipping at 20 was not tried: {norms}"
    ours = load_weights(sink.weights(STEP))["model"]
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            ours[name], value, rtol=1e-8, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )
