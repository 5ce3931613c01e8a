"""Compares a cohort of K members with K jobs of one member: seconds of training for the same steps and clips.

    python benchmarks/cohort.py                    # all rows, some minutes on two cores
    python benchmarks/cohort.py --device cuda --precision bf16 --frames 16 --clips 8 --groups 8 --rounds 10

Rows: K = 2, 4, 6, 8 students of one size at levels clip, frame and pixel in turn; the six resolutions of the paper's
Table 4 at pixel level; the four levels of its Table 5. Every row is measured with the teacher's batch norm in each of
--modes, since `batch` costs the teacher more. A step is all of `Cohort.step`: views, teacher, students, optimisers.

Each round is one step of the cohort and one of each of its members alone, so that other work on the machine meets
both; after one step of warm-up every job's fastest step of --rounds counts. Wall seconds, and CPU seconds of the
process (on CUDA the wall seconds of a device that nobody else uses are device seconds). Weights are random and clips
are noise, which costs the same. Not in it: decoding and what a job costs before its first step; a cohort pays both
once, K jobs pay them K times, so the gain here is a lower bound. The fewer frames a step has, the more the optimisers
weigh, which nobody shares.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from reskd.data.dataset import Group
from reskd.data.sampling import seed_of
from reskd.data.transforms import model_input, normalise
from reskd.distill.teacher import Teacher
from reskd.models.catalogue import build_model
from reskd.recipe import DataSpec, KDLevel, KDSpec, ModelSpec, OptimSpec, Recipe
from reskd.runtime.precision import dtype_of
from reskd.runtime.workers import Workers
from reskd.training.cohort import Cohort, StepReport
from reskd.training.member import Member

NUM_CLASSES = 200  # ActivityNet's
TABLE_4 = (224, 144, 112, 96, 72, 56)
TABLE_5: tuple[KDLevel, ...] = ("none", "clip", "frame", "pixel")
SIZES: tuple[KDLevel, ...] = ("clip", "frame", "pixel")
STEPS_PER_EPOCH = 10**6  # no member ends


@dataclass(frozen=True)
class Cost:
    """Seconds of a step."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


@dataclass(frozen=True)
class Row:
    name: str
    members: tuple[Recipe, ...]


def base(options: argparse.Namespace, mode: str) -> Recipe:
    data = DataSpec(num_frames=options.frames, crop_size=options.crop, short_side=options.crop)
    # A rate at which noise teaches nothing: weights stay finite for any number of steps.
    optim = OptimSpec(lr=1e-9, batch_size=options.clips * options.groups, group_size=options.clips)
    teacher = Recipe(
        data=data,
        optim=optim,
        precision=options.precision,
        model=ModelSpec(name=options.teacher, resolution=options.crop),
    )
    return replace(
        teacher,
        model=ModelSpec(name=options.student, resolution=options.resolution),
        kd=KDSpec(level="pixel", teacher_mode=mode),  # type: ignore[arg-type]
        teacher=teacher,
    )


def rows(options: argparse.Namespace, mode: str) -> Iterator[Row]:
    one = base(options, mode)

    def at(level: KDLevel, seed: int = 0) -> Recipe:
        if level == "none":
            return replace(one, kd=KDSpec(), teacher=None, model_seed=seed)
        return replace(one, kd=replace(one.kd, level=level), model_seed=seed)

    if "sizes" in options.rows:
        for size in options.sizes:
            members = tuple(at(SIZES[number % len(SIZES)], number // len(SIZES)) for number in range(size))
            yield Row(f"{size} at {options.resolution} px", members)
    if "table4" in options.rows:
        members = tuple(replace(one, model=replace(one.model, resolution=pixels)) for pixels in options.resolutions)
        yield Row(f"Table 4: {len(members)} resolutions", members)
    if "table5" in options.rows:
        yield Row(f"Table 5: {len(TABLE_5)} levels, one without a teacher", tuple(at(level) for level in TABLE_5))


def noise(options: argparse.Namespace) -> list[Group]:
    """The groups of one step."""
    torch.manual_seed(0)
    shape = (options.clips, options.frames, 3, options.crop, options.crop)
    labels = torch.arange(options.clips) % NUM_CLASSES
    targets = torch.nn.functional.one_hot(labels, NUM_CLASSES).bool()
    return [
        Group(torch.randint(0, 256, shape, dtype=torch.uint8), labels, targets, labels, ())
        for _ in range(options.groups)
    ]


def new_teacher(recipe: Recipe, groups: Sequence[Group], *, mode: str, device: torch.device) -> Teacher:
    """Random weights, with running statistics of the clips at hand: without them a deep network's maps overflow."""
    torch.manual_seed(seed_of("init", 0))
    model = build_model(recipe.model, num_classes=NUM_CLASSES, num_frames=recipe.data.num_frames)
    model = model.to(device, dtype_of(recipe)).train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0  # the statistics of the one batch that it is going to see
    clips = normalise(groups[0].clips.to(device), dtype=dtype_of(recipe))
    with torch.no_grad():
        model(model_input(clips, resolution=recipe.model.resolution, antialias=False))
    return Teacher(model, recipe.model, mode=mode)  # type: ignore[arg-type]


def members_of(recipes: Sequence[Recipe], *, device: torch.device) -> list[Member]:
    return [
        Member(f"{number}", recipe, num_classes=NUM_CLASSES, steps_per_epoch=STEPS_PER_EPOCH, device=device)
        for number, recipe in enumerate(recipes)
    ]


def cohort_of(members: Sequence[Member], *, teacher: Teacher, device: torch.device) -> Cohort:
    """With the teacher if a member learns from it."""
    taught = any(member.recipe.has_teacher for member in members)
    return Cohort(members, teacher=teacher if taught else None, workers=Workers(device=device))


def costs_of(
    recipes: Sequence[Recipe], groups: Sequence[Group], *, teacher: Teacher, rounds: int, device: torch.device
) -> tuple[Cost, Cost]:
    """The step of one job of all members, and those of one job each, added up; RuntimeError where a member left."""
    members = members_of(recipes, device=device)
    # The same members in every job: a step costs the same whichever of them took the one before.
    cohorts = [cohort_of(job, teacher=teacher, device=device) for job in (members, *([member] for member in members))]
    timed_step(cohorts[0], groups, step=0, device=device)
    steps = iter(range(1, STEPS_PER_EPOCH))
    taken = [[timed_step(cohort, groups, step=next(steps), device=device) for cohort in cohorts] for _ in range(rounds)]
    together, *alone = (
        Cost(min(cost.wall_s for cost in of_job), min(cost.cpu_s for cost in of_job))
        for of_job in zip(*taken, strict=True)
    )
    return together, sum(alone, Cost(0.0, 0.0))


def timed_step(cohort: Cohort, groups: Sequence[Group], *, step: int, device: torch.device) -> Cost:
    started, started_cpu = now(device), time.process_time()
    report = cohort.step(step, groups)
    cost = Cost(now(device) - started, time.process_time() - started_cpu)
    check_all_took(report, cohort)
    return cost


def check_all_took(report: StepReport, cohort: Cohort) -> None:
    """RuntimeError where a member left in the step."""
    if len(report.losses) < len(cohort.members):
        raise RuntimeError("; ".join(member.failure.reason for member in cohort.members if member.failure))


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def options_of(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=["sizes", "table4", "table5"], default=["sizes", "table4", "table5"]
    )
    parser.add_argument("--modes", nargs="+", choices=["eval", "batch", "official_train"], default=["eval", "batch"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 4, 6, 8], help="K of the rows 'sizes'")
    parser.add_argument("--resolutions", nargs="+", type=int, default=list(TABLE_4), help="of the row 'table4'")
    parser.add_argument("--resolution", type=int, default=112, help="of the students elsewhere")
    parser.add_argument("--crop", type=int, default=224, help="pixels of the clips, and what the teacher sees")
    parser.add_argument("--teacher", default="tsn_resnet152")
    parser.add_argument("--student", default="tsn_resnet50")
    parser.add_argument("--frames", type=int, default=4, help="of a clip")
    parser.add_argument("--clips", type=int, default=2, help="of a group")
    parser.add_argument("--groups", type=int, default=1, help="of a step")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest step of so many counts")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32")
    return parser


def device_words(options: argparse.Namespace) -> str:
    device = torch.device(options.device)
    return f"{options.threads} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)


def measured(options: argparse.Namespace) -> Iterator[tuple[str, str, Cost, Cost]]:
    """(row, teacher's mode, the step of one job of all, the steps of jobs of one added up), row by row."""
    device, groups = torch.device(options.device), noise(options)
    for mode in options.modes:
        taught_by = base(options, mode).teacher
        assert isinstance(taught_by, Recipe)
        teacher = new_teacher(taught_by, groups, mode=mode, device=device)
        for row in rows(options, mode):
            together, apart = costs_of(row.members, groups, teacher=teacher, rounds=options.rounds, device=device)
            yield row.name, mode, together, apart


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(__doc__).parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(
        f"{options.teacher} at {options.crop} px teaches {options.student}; {options.groups} x {options.clips} clips "
        f"of {options.frames} frames a step, fastest of {options.rounds}; {options.precision}, "
        f"{device_words(options)}, torch {torch.__version__}"
    )
    print("| members | teacher | jobs of one: wall s | cohort: wall s | wall, times less | CPU seconds, times less |")
    print("|---|---|---|---|---|---|")
    for name, mode, together, apart in measured(options):
        print(
            f"| {name} | {mode} | {apart.wall_s:.2f} | {together.wall_s:.2f} | "
            f"{apart.wall_s / together.wall_s:.2f} | {apart.cpu_s / together.cpu_s:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
