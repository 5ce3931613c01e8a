"""Compares a student's training step in reskd with an eager loop like the official code: seconds on the same clips.

    python -m benchmarks.worker                    # some minutes on two cores
    python -m benchmarks.worker --device cuda --precision bf16 --frames 16 --clips 8 --groups 8 --rounds 10

The loop is written below as the published code trains: float32, NCHW, one network that holds student and teacher inside
torch's DistributedDataParallel, frames normalised and made small for this student alone, its map resized by
F.interpolate, torch's own SGD. Ours is `Cohort.step` of one member in --precision. Both get uint8 clips of noise and
random weights. Rows: each of --alone without a teacher, and --student at pixel level with --teacher in each of --modes;
the loop's teacher is in train mode where ours has mode `batch`, and in eval mode where ours has.

A round is one step of each, so that other work on the machine meets both; the fastest step of --rounds counts, after
one of warm-up. Wall seconds, and CPU seconds of the process. Decoding, which the published code also does once a
student, is not in it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.cohort import NUM_CLASSES, STEPS_PER_EPOCH, Cost, base, new_teacher, noise, now
from reskd.data.dataset import Group
from reskd.distill.teacher import Teacher
from reskd.models.catalogue import build_model
from reskd.models.video_model import VideoModel
from reskd.normalisation import IMAGENET
from reskd.recipe import KDSpec, Recipe
from reskd.runtime.execution import Execution
from reskd.runtime.workers import Workers
from reskd.training.cohort import Cohort
from reskd.training.member import Member

Step = Callable[[], None]


class Recogniser(nn.Module):
    """Student and frozen teacher in one network, as the published code has them."""

    def __init__(self, student: VideoModel, teacher: VideoModel | None, *, resolution: int, weight: float) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.resolution, self.weight = resolution, weight

    def forward(self, clips: Tensor, labels: Tensor) -> Tensor:
        frames = clips.flatten(0, 1)
        small = F.interpolate(frames, size=self.resolution, mode="bilinear").unflatten(0, clips.shape[:2])
        output = self.student(small)
        loss = F.cross_entropy(output.clip_logits, labels)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            theirs = self.teacher(clips).features
        ours = F.interpolate(output.features, size=theirs.shape[-2:], mode="bilinear")
        return loss + self.weight * F.mse_loss(ours, theirs)


def official_step(recipe: Recipe, teacher: VideoModel | None, groups: Sequence[Group], device: torch.device) -> Step:
    torch.manual_seed(0)
    student = build_model(recipe.model, num_classes=NUM_CLASSES, num_frames=recipe.data.num_frames).to(device).train()
    recogniser = Recogniser(student, teacher, resolution=recipe.model.resolution, weight=recipe.kd.weight or 0.0)
    ddp = DistributedDataParallel(recogniser)
    parameters = [parameter for parameter in ddp.parameters() if parameter.requires_grad]
    optim = recipe.optim
    optimizer = torch.optim.SGD(parameters, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay)
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in IMAGENET)
    clips, labels = (torch.cat(parts) for parts in ([g.clips for g in groups], [g.labels for g in groups]))

    def step() -> None:
        frames = ((clips.float() - mean) / std).to(device)  # on the CPU, as its pipeline does
        optimizer.zero_grad()
        ddp(frames, labels.to(device)).backward()
        nn.utils.clip_grad_norm_(parameters, 40.0)
        optimizer.step()

    return step


def our_step(recipe: Recipe, teacher: Teacher | None, groups: Sequence[Group], options: argparse.Namespace) -> Step:
    device = torch.device(options.device)
    member = Member("0", recipe, num_classes=NUM_CLASSES, steps_per_epoch=STEPS_PER_EPOCH, device=device)
    cohort = Cohort([member], teacher=teacher, workers=Workers(device=device))
    cohort.take(Execution(groups_per_pass=options.groups_per_pass, compile=options.compile))
    number = iter(range(STEPS_PER_EPOCH))

    def step() -> None:
        if not cohort.step(next(number), groups).losses:
            raise RuntimeError(member.failure.reason if member.failure else "the step was skipped")

    return step


def timed(theirs: Step, ours: Step, options: argparse.Namespace) -> tuple[Cost, Cost]:
    """The fastest of --rounds steps of each, taken in turn after one of warm-up."""
    device = torch.device(options.device)
    taken: tuple[list[Cost], list[Cost]] = [], []
    for _ in range(options.rounds + 1):
        for step, costs in zip((theirs, ours), taken, strict=True):
            started, started_cpu = now(device), time.process_time()
            step()
            costs.append(Cost(now(device) - started, time.process_time() - started_cpu))
    official, own = (
        Cost(min(cost.wall_s for cost in costs[1:]), min(cost.cpu_s for cost in costs[1:])) for costs in taken
    )
    return official, own


def rows(options: argparse.Namespace, groups: Sequence[Group]) -> Iterator[tuple[str, Cost, Cost]]:
    """(student and teacher in words, the loop's step, ours), row by row, in a process group of one."""
    device = torch.device(options.device)
    taught = base(options, "eval")
    with alone_in_a_group(device):
        for name in options.alone:
            recipe = replace(taught, model=replace(taught.model, name=name), kd=KDSpec(), teacher=None)
            steps = official_step(recipe, None, groups, device), our_step(recipe, None, groups, options)
            yield name, *timed(*steps, options)
        for mode in options.modes:
            recipe = replace(taught, kd=replace(taught.kd, teacher_mode=mode))
            assert isinstance(recipe.teacher, Recipe)
            ours, other = (new_teacher(recipe.teacher, groups, mode=mode, device=device) for _ in range(2))
            theirs = other.model.to(memory_format=torch.contiguous_format).train(mode == "batch")
            steps = official_step(recipe, theirs, groups, device), our_step(recipe, ours, groups, options)
            yield f"{options.student}, {options.teacher} in mode {mode}", *timed(*steps, options)


@contextmanager
def alone_in_a_group(device: torch.device) -> Iterator[None]:
    """A process group of this process alone, which DistributedDataParallel needs."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        dist.destroy_process_group()


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", nargs="*", default=["tsn_resnet50", "tsn_resnet18", "tsn_mobilenet_v2"])
    parser.add_argument("--modes", nargs="*", choices=["eval", "batch"], default=["eval", "batch"])
    parser.add_argument("--student", default="tsn_resnet50", help="with a map as wide as the teacher's")
    parser.add_argument("--teacher", default="tsn_resnet152")
    parser.add_argument("--resolution", type=int, default=112, help="of the students")
    parser.add_argument("--crop", type=int, default=224, help="pixels of the clips, and what the teacher sees")
    parser.add_argument("--frames", type=int, default=4, help="of a clip")
    parser.add_argument("--clips", type=int, default=2, help="of a group")
    parser.add_argument("--groups", type=int, default=1, help="of a step; the loop takes them as one batch")
    parser.add_argument("--groups-per-pass", type=int, default=1, help="of ours")
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="of ours")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    print(
        f"{options.groups} x {options.clips} clips of {options.frames} frames a step, students at {options.resolution} "
        f"px, fastest of {options.rounds}; ours in {options.precision}; {options.device}, {options.threads} threads, "
        f"torch {torch.__version__}"
    )
    print("| student, teacher | official style: wall s | ours: wall s | wall, times less | CPU s, times less |")
    print("|---|---|---|---|---|")
    for name, theirs, ours in rows(options, noise(options)):
        print(
            f"| {name} | {theirs.wall_s:.3f} | {ours.wall_s:.3f} | {theirs.wall_s / ours.wall_s:.2f} "
            f"| {theirs.cpu_s / ours.cpu_s:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
