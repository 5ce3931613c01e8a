"""Compares our all-reduce (one vector per member) with torch's DistributedDataParallel: seconds of a training step.

    python -m benchmarks.all_reduce [--workers 2] [--members 1 4] [--model tsn_resnet18] [--rounds 10]

Workers are processes of this machine joined by gloo, one thread each. The same members without a teacher, the same
clips of noise in the views that they see, one group of them a worker and step. Ours is `Cohort.step`; the other runs
the same networks, layout and fused optimiser, each network inside DistributedDataParallel, which starts to add up
gradients while the backward still runs; ours adds up batch-norm statistics and losses too, and notices a member that
failed. A round is one step of each; the fastest of --rounds counts, after one of warm-up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from benchmarks.cohort import NUM_CLASSES, STEPS_PER_EPOCH, noise
from reskd.data.model_inputs import ModelInputs
from reskd.models.catalogue import build_model
from reskd.models.memory_format import in_fast_memory_format
from reskd.recipe import DataSpec, ModelSpec, OptimSpec, Recipe
from reskd.runtime.workers import joined
from reskd.training.cohort import Cohort
from reskd.training.member import Member
from reskd.training.optimizer import build_optimizer

Step = Callable[[], None]


def recipe_of(options: argparse.Namespace) -> Recipe:
    pixels = options.crop
    return Recipe(
        data=DataSpec(num_frames=options.frames, crop_size=pixels, short_side=pixels),
        # A rate at which noise teaches nothing: weights stay finite for any number of steps.
        optim=OptimSpec(lr=1e-9, batch_size=options.clips * options.workers, group_size=options.clips),
        model=ModelSpec(name=options.model, resolution=pixels),
    )


def our_step(num_members: int, options: argparse.Namespace) -> Step:
    workers, (group,), recipe = joined(), noise(options), recipe_of(options)
    members = [
        Member(f"{number}", recipe, num_classes=NUM_CLASSES, steps_per_epoch=STEPS_PER_EPOCH, device=workers.device)
        for number in range(num_members)
    ]
    cohort, steps = Cohort(members, teacher=None, workers=workers), iter(range(STEPS_PER_EPOCH))

    def step() -> None:
        cohort.step(next(steps), [group])

    return step


def ddp_step(num_members: int, options: argparse.Namespace) -> Step:
    workers, (group,), recipe = joined(), noise(options), recipe_of(options)
    torch.manual_seed(0)
    models = [
        DistributedDataParallel(in_fast_memory_format(build_model(recipe.model, num_classes=NUM_CLASSES)).train())
        for _ in range(num_members)
    ]
    optimizers = [build_optimizer(recipe.optim, model.module) for model in models]

    def step() -> None:
        inputs = ModelInputs(group.clips, device=workers.device, dtype=torch.float32)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs.of(recipe.model)).clip_logits, group.labels).backward()
            optimizer.step()

    return step


def work(rank: int, address: str, options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=options.workers)
    for num_members in options.members:
        steps = ddp_step(num_members, options), our_step(num_members, options)
        taken: tuple[list[float], list[float]] = [], []
        for number in range(options.rounds + 1):
            for step, seconds in zip(steps, taken, strict=True):
                dist.barrier()
                started = time.perf_counter()
                step()
                if number:
                    seconds.append(time.perf_counter() - started)
        if rank == 0:
            theirs, ours = map(min, taken)
            print(f"| {num_members} | {1000 * theirs:.0f} | {1000 * ours:.0f} | {theirs / ours:.2f} |", flush=True)
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--model", default="tsn_resnet18")
    parser.add_argument("--resolution", dest="crop", type=int, default=112, help="pixels of clips and networks")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--clips", type=int, default=2, help="of a worker's one group")
    parser.add_argument("--rounds", type=int, default=10)
    parser.set_defaults(groups=1)
    options = parser.parse_args()
    print(
        f"{options.model} at {options.crop} px, {options.workers} workers with {options.clips} clips of "
        f"{options.frames} frames each, fastest of {options.rounds}, torch {torch.__version__}"
    )
    print("| members | DistributedDataParallel (ms) | ours (ms) | times less |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        address = f"file://{Path(folder, 'rendezvous')}"
        mp.spawn(work, args=(address, options), nprocs=options.workers)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
