"""Training against a plain loop written out here: the cohort's tests only compare the trainer with itself."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from reskd.checkpoint import FolderSink, load_weights
from reskd.data.dataset import VideoDataset
from reskd.data.loader import train_groups
from reskd.data.manifest import Manifest
from reskd.data.sampling import seed_of
from reskd.data.transforms import normalise
from reskd.models.catalogue import build_model
from reskd.models.video_model import ClipOutput, VideoModel
from reskd.recipe import Checkpoint, DataSpec, KDSpec, ModelSpec, OptimSpec, Recipe
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec
from reskd.training.schedule import learning_rate

STEP = "0123456789abcdef"
TEACHER = ModelSpec(name="tsn_mini10", resolution=32, antialias=True)
BATCH, GROUP = 4, 2
PIXEL = KDSpec(level="pixel", weight=20.0, align_corners=True)
FRAME = KDSpec(level="frame", weight=3.0, temperature=4.0)
CLIP = KDSpec(level="clip", weight=0.5, temperature=3.0, teacher_mode="batch")
BEFORE_DROPOUT = replace(CLIP, through_dropout=False, teacher_mode="eval")
OFFICIAL = replace(CLIP, teacher_mode="official_train")
PIXEL_KL = KDSpec(level="pixel_kl", weight=5.0)
SGD = OptimSpec(lr=0.05, schedule="onecycle", nesterov=True, weight_decay=1e-2, clip_norm=0.5)
ADAMW = OptimSpec(name="adamw", lr=1e-3, weight_decay=0.3, warmup_epochs=0.75, running_stats="first")
TWO_RATES = replace(ADAMW, backbone_lr=0.1, decay="weights")
TSM_GROUPS = replace(SGD, decay="weights", bias_lr=2.0, last_batch="keep")
STEPS = OptimSpec(lr=0.05, schedule="step", milestones=(1,), gamma=0.3, warmup_epochs=0.5)


def distance(kd: KDSpec, student: ClipOutput, teacher: ClipOutput, heads: list[torch.nn.Linear]) -> torch.Tensor:
    if kd.level == "pixel_kl":
        size = teacher.features.shape[-2:]
        enlarged = F.interpolate(student.features, size=size, mode="bilinear")
        ours, theirs = (
            head(map_.movedim(1, 3)) for head, map_ in zip(heads, (enlarged, teacher.features), strict=True)
        )
        p, q = (theirs / kd.temperature).softmax(-1), (ours / kd.temperature).softmax(-1)
        return kd.temperature**2 * (p * (p / q).log()).sum(-1).mean()
    if kd.level == "pixel":
        size = teacher.features.shape[-2:]
        map_ = F.interpolate(student.features, size=size, mode="bilinear", align_corners=kd.align_corners)
        return (map_ - teacher.features).square().mean()
    ours, theirs = (
        (student.clip_logits, teacher.clip_logits)
        if kd.level == "clip" and kd.through_dropout
        else (heads[0](student.features.mean((2, 3)).unflatten(0, (-1, 4)).mean(1)), teacher.clip_logits)
        if kd.level == "clip"
        else (student.frame_logits, teacher.frame_logits)
    )
    p, q = (theirs / kd.temperature).softmax(-1), (ours / kd.temperature).softmax(-1)
    return kd.temperature**2 * (p * (p / q).log()).sum(-1).mean()


def view(clips: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    size = (spec.resolution, spec.resolution)
    frames = normalise(clips, dtype=torch.float64)
    resized = F.interpolate(frames.flatten(0, 1), size=size, mode="bilinear", antialias=spec.antialias)
    return resized.unflatten(0, clips.shape[:2])


def decay_of(weight: torch.Tensor, optim: OptimSpec) -> float:
    is_norm_or_bias = weight.ndim == 1
    return 0.0 if optim.decay == "weights" and is_norm_or_bias else optim.weight_decay


def written_out(recipe: Recipe, dataset: VideoDataset, teacher: VideoModel) -> dict[str, torch.Tensor]:
    kd, optim = recipe.kd, recipe.optim
    torch.manual_seed(seed_of("init", recipe.model_seed))
    model = build_model(recipe.model, num_classes=6).double().train()
    weights = list(model.parameters())
    each = [{"params": [weight], "weight_decay": decay_of(weight, optim)} for weight in weights]
    if optim.name == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(each, lr=1, momentum=optim.momentum, nesterov=optim.nesterov)
    else:
        optimizer = torch.optim.AdamW(each, lr=1)
    head = {id(weight) for weight in model.classifier.parameters()}
    bias = model.classifier.bias  # the only one of a layer; the others are batch norm's
    keep_last = optim.last_batch == "keep"
    step = 0
    for epoch in range(1, optim.epochs + 1):
        for groups in train_groups(
            dataset,
            epoch=epoch,
            batch_size=BATCH,
            group_size=GROUP,
            rank=0,
            world_size=1,
            loader_workers=0,
            keep_last=keep_last,
        ):
            old = {name: value.clone() for name, value in model.named_buffers()}
            after = []
            optimizer.zero_grad()
            for number, group in enumerate(groups):
                model.load_state_dict(old, strict=False)
                torch.manual_seed(seed_of("teacher", recipe.data_seed, step, number))
                with torch.no_grad():
                    taught = teacher(view(group.clips, TEACHER))
                torch.manual_seed(seed_of("student", recipe.model_seed, step, number))
                output = model(view(group.clips, recipe.model))
                loss = F.cross_entropy(output.clip_logits, group.labels) + kd.effective_weight * distance(
                    kd, output, taught, [model.classifier, teacher.classifier]
                )
                (loss / len(groups)).backward()
                after.append({name: value.clone() for name, value in model.named_buffers()})
            counted = after if optim.running_stats == "mean" else after[:1]
            new = {k: torch.stack([a[k].double() for a in counted]).mean(0).to(v.dtype) for k, v in old.items()}
            model.load_state_dict(new, strict=False)
            if optim.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(weights, optim.clip_norm)
            for settings in optimizer.param_groups:
                is_head = all(id(weight) in head for weight in settings["params"])
                settings["lr"] = learning_rate(optim, step, steps_per_epoch=3 if keep_last else 2) * (
                    optim.bias_lr if settings["params"][0] is bias else 1 if is_head else optim.backbone_lr
                )
            optimizer.step()
            step += 1
    return model.state_dict()


@pytest.mark.parametrize(
    ("kd", "optim"),
    [
        pytest.param(PIXEL, SGD, id="pixel"),
        pytest.param(FRAME, ADAMW, id="frame, adamw", marks=pytest.mark.slow),
        pytest.param(FRAME, TWO_RATES, id="frame, adamw with two rates"),
        pytest.param(CLIP, SGD, id="clip, teacher in batch mode"),
        pytest.param(OFFICIAL, SGD, id="clip, teacher in train mode", marks=pytest.mark.slow),
        pytest.param(PIXEL_KL, STEPS, id="pixel_kl, steps"),
        pytest.param(
            BEFORE_DROPOUT, TSM_GROUPS, id="clip before dropout, the official teacher's groups and last batch"
        ),
    ],
)
def test_a_training_ends_where_a_plain_loop_does(
    demo_data: DataSpec, demo_manifest: Manifest, tmp_path: Path, kd: KDSpec, optim: OptimSpec
) -> None:
    data = replace(demo_data, short_side=40, crop_size=40)
    manifest = replace(demo_manifest, train=demo_manifest.train[: 2 * BATCH + 1])
    torch.manual_seed(5)
    teacher = build_model(TEACHER, num_classes=6).eval()
    with torch.no_grad():
        teacher.classifier.weight.mul_(300)  # so that it has opinions
    path = tmp_path / "teacher.pt"
    torch.save({"model": teacher.state_dict(), "model_spec": asdict(TEACHER), "classes": list(manifest.classes)}, path)
    teacher = teacher.double()
    if kd.teacher_mode == "official_train":
        teacher.train()
    if kd.teacher_mode == "batch":
        for module in teacher.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train()
    recipe = Recipe(
        data=data,
        model=ModelSpec(name="tsn_mini10", resolution=24, dropout=0.5, antialias=kd.level != "clip"),
        kd=kd,
        optim=replace(optim, epochs=2, batch_size=BATCH, group_size=GROUP),
        teacher=Checkpoint(checkpoint=str(path)),
        precision="fp64",
        data_seed=3,
        model_seed=4,
    )
    root, sink = Path(str(demo_data.root)), FolderSink(tmp_path / "runs")
    fit_cohort([MemberSpec(STEP, recipe)], manifest=manifest, root=root, sink=sink, teacher_weights=path)
    dataset = VideoDataset(manifest.train, root=root, spec=data, num_classes=6, split="train", data_seed=3)
    ours, expected = load_weights(sink.weights(STEP))["model"], written_out(recipe, dataset, teacher)
    for name, value in expected.items():
        torch.testing.assert_close(
            ours[name], value, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )
