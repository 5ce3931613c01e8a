"""Full steps of the official Swin recipe, written out: the very file of the named recipe, with small sizes.

AdamW with two rates, KL at each cell, and a teacher in train mode that draws its drop-path. The loop takes nothing from
reskd but networks, clips and seeds: resize, losses, optimiser and schedule are written out as formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from orchestrator.spec.expand import check_keys, expand, flatten
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
from tests.support.by_hand import bilinear, kl

STEP, SEED = "0123456789abcdef", 3
EPOCHS, STEPS_PER_EPOCH, BATCH, GROUP = 3, 3, 4, 2  # the last step of an epoch has one clip that is left over
NUM_CLIPS = 2 * BATCH + 1
POSITIONS = "relative_position_bias_table"
MEAN_AND_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Rule = Callable[[int, str, Tensor, Tensor], None]
"""Changes one parameter in place: step, name, value, gradient."""


@dataclass(frozen=True)
class Case:
    """The networks, and what the loop must do otherwise than the recipe says."""

    student: str
    teacher: str
    changes: dict[str, object]
    align_corners: bool = False
    weights_only: bool = False


CASES = {
    "as it is": Case("swin3d_mini", "swin3d_mini", {}),
    "decay on weights, align_corners, batch norm": Case(
        "tsn_mini10",
        "tsn_mini18",
        {"optim.decay": "weights", "kd.align_corners": True, "teacher.model.drop_path": None},
        align_corners=True,
        weights_only=True,
    ),
}


def small(case: Case, data: DataSpec) -> Recipe:
    """The recipe's own file with small frames, networks and batches, on the demo's videos; nothing else changed."""
    sizes = {
        "recipe": "swin_k400",
        **{f"data.{name}": getattr(data, name) for name in ("name", "root", "annotations", "train", "val")},
        **{f"data.{name}": getattr(data, name) for name in ("num_frames", "short_side", "crop_size")},
        "model.name": case.student,
        "model.resolution": 24,
        "model.weights": "none",
        "optim.epochs": EPOCHS,
        "optim.batch_size": BATCH,
        "optim.group_size": GROUP,
        "precision": "fp64",
        "optim.warmup_epochs": 0.75,
        "teacher.model.name": case.teacher,
        "teacher.model.resolution": 48,
        "teacher.optim.epochs": 1,
        **case.changes,
    }
    (cell,) = expand(check_keys(flatten(sizes)), [("official", {})], seeds=[SEED])
    return cell.recipe


def adamw(*, weights_only: bool) -> Rule:
    """1e-3 at the classifier and a tenth of it in the backbone; the cosine under 2.25 steps of warm-up from a tenth.

    Tables of position biases have the classifier's rate and no decay.
    """
    means: dict[str, tuple[Tensor, Tensor]] = {}

    def update(step: int, name: str, value: Tensor, gradient: Tensor) -> None:
        rate = 1e-3 * (1 + math.cos(math.pi * (step // STEPS_PER_EPOCH) / EPOCHS)) / 2
        rate *= 0.1 + 0.9 * step / 2.25 if step < 2.25 else 1
        rate *= 0.1 if name.startswith("backbone.") and POSITIONS not in name else 1
        first, second = means.get(name, (torch.zeros_like(value), torch.zeros_like(value)))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        means[name] = first, second
        if (value.ndim > 1 or not weights_only) and POSITIONS not in name:
            value *= 1 - rate * 0.02
        value -= rate * (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)

    return update


def seen(clips: Tensor, resolution: int) -> Tensor:
    mean, std = torch.tensor(MEAN_AND_STD, dtype=torch.float64)[:, :, None, None]
    return bilinear((clips.double() / 255 - mean) / std, (resolution, resolution), align_corners=False)


def distance(case: Case, student: VideoModel, teacher: VideoModel, ours: Tensor, theirs: Tensor) -> Tensor:
    """With its weight; maps are (N, C, h, w) and (N, D, H, W)."""
    large = bilinear(ours, (theirs.shape[-2], theirs.shape[-1]), align_corners=case.align_corners)
    at_cells = [
        torch.einsum("nchw,kc->nhwk", maps, net.classifier.weight) + net.classifier.bias
        for maps, net in ((large, student), (theirs, teacher))
    ]
    return 0.5 * 2.0**2 * kl(at_cells[0], at_cells[1], 2.0).mean()


def written_out(case: Case, dataset: VideoDataset, teacher: VideoModel) -> VideoModel:
    torch.manual_seed(seed_of("init", SEED))
    student = build_model(ModelSpec(name=case.student, resolution=24), num_classes=6).double().train()
    parameters = dict(student.named_parameters())
    update, step = adamw(weights_only=case.weights_only), 0
    for epoch in range(1, EPOCHS + 1):
        sizes = {"batch_size": BATCH, "group_size": GROUP, "keep_last": True}
        for groups in train_groups(dataset, epoch=epoch, **sizes, rank=0, world_size=1, loader_workers=0):
            old = {name: buffer.clone() for name, buffer in student.named_buffers()}
            kept: list[dict[str, Tensor]] = []
            student.zero_grad()
            for number, group in enumerate(groups):
                untouched = {name: buffer.clone() for name, buffer in teacher.named_buffers()}
                torch.manual_seed(seed_of("teacher", SEED, step, number))
                with torch.no_grad():
                    taught = teacher(seen(group.clips, 48)).features
                teacher.load_state_dict(untouched, strict=False)
                student.load_state_dict(old, strict=False)
                torch.manual_seed(seed_of("student", SEED, step, number))
                output = student(seen(group.clips, 24))
                chosen = output.clip_logits[torch.arange(len(group.labels)), group.labels]
                entropy = (output.clip_logits.exp().sum(-1).log() - chosen).mean()
                loss = entropy + distance(case, student, teacher, output.features, taught)
                (loss / len(groups)).backward()
                kept.append({name: buffer.clone() for name, buffer in student.named_buffers()})
            student.load_state_dict(kept[0], strict=False)  # its counters; statistics are the mean over the groups
            floats = [name for name, buffer in old.items() if buffer.is_floating_point()]
            student.load_state_dict({name: (kept[0][name] + kept[1][name]) / 2 for name in floats}, strict=False)
            with torch.no_grad():
                for name, value in parameters.items():
                    update(step, name, value, value.grad)
            step += 1
    assert step == EPOCHS * STEPS_PER_EPOCH
    return student


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=() if name == "as it is" else pytest.mark.slow) for name, case in CASES.items()],
)
def test_nine_steps_of_the_official_swin_recipe_end_where_the_loop_written_out_does(
    demo_data: DataSpec, demo_manifest: Manifest, tmp_path: Path, case: Case
) -> None:
    recipe = small(case, demo_data)
    manifest = replace(demo_manifest, train=demo_manifest.train[:NUM_CLIPS])
    assert isinstance(recipe.teacher, Recipe)
    spec = recipe.teacher.model
    torch.manual_seed(5)
    teacher = build_model(replace(spec, weights="none"), num_classes=6)
    nn.init.normal_(teacher.classifier.weight, std=1.0)  # so that it has opinions
    path = tmp_path / "teacher.pt"
    content = {"model": teacher.state_dict(), "model_spec": asdict(spec), "classes": list(manifest.classes)}
    torch.save(content, path)
    root, sink = Path(str(recipe.data.root)), FolderSink(tmp_path / "runs")
    fit_cohort([MemberSpec(STEP, recipe)], manifest=manifest, root=root, sink=sink, teacher_weights=path)

    dataset = VideoDataset(manifest.train, root=root, spec=recipe.data, num_classes=6, split="train", data_seed=SEED)
    expected = written_out(case, dataset, teacher.double().train())
    ours = load_weights(sink.weights(STEP))["model"]
    assert ours.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(
            ours[name], value, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )
