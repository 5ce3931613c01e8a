"""Checks that members of a cohort get the same bits as alone, and the same bits in a second run, on a chosen device.

    python -m benchmarks.identity                    # minutes on two cores; the options of benchmarks/cohort.py
    python -m benchmarks.identity --device cuda --precision bf16 --frames 16 --clips 8 --groups 8 --rounds 20
    python -m benchmarks.identity --device cuda ... --any-order    # kernels of cuDNN's choice: what they change

The rows are those of benchmarks/cohort.py; --rounds is the number of steps. It compares each member's hash of weights
and buffers after these steps: in the cohort, in the same cohort again, and alone. The exit code is 1 if two differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from benchmarks.cohort import (
    base,
    check_all_took,
    cohort_of,
    device_words,
    members_of,
    new_teacher,
    noise,
    options_of,
    rows,
)
from reskd.checkpoint import state_hash
from reskd.data.dataset import Group
from reskd.distill.teacher import Teacher
from reskd.recipe import Recipe
from reskd.runtime.determinism import deterministic
from reskd.runtime.precision import tf32

NONE = "none"
RATE = 1e-3
"""At which a step changes every weight; the benchmark of speed has one at which none changes."""


def hashes_of(
    recipes: Sequence[Recipe], groups: Sequence[Group], *, teacher: Teacher, num_steps: int, device: torch.device
) -> list[str]:
    """The hash of each member's weights and buffers after these steps. Raises RuntimeError if a member left."""
    members = members_of(recipes, device=device)
    cohort = cohort_of(members, teacher=teacher, device=device)
    for step in range(num_steps):
        check_all_took(cohort.step(step, groups), cohort)
    return [state_hash(member.model.state_dict()) for member in members]


def differing(one: Sequence[str], other: Sequence[str]) -> str:
    """`none`, or how many of how many."""
    number = sum(first != second for first, second in zip(one, other, strict=True))
    return f"{number} of {len(one)}" if number else NONE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__)
    parser.add_argument("--any-order", action="store_true", help="neither deterministic kernels nor a fixed choice")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(f"{options.rounds} steps, {options.precision}, {device_words(options)}, torch {torch.__version__}\n")
    print("| members | teacher | differ again | differ alone |")
    print("|---|---|---|---|")
    worst = 0
    with deterministic(device, on=not options.any_order):
        for name, mode, again, alone in found(options):
            print(f"| {name} | {mode} | {again} | {alone} |", flush=True)
            worst = max(worst, int(again != NONE or alone != NONE))
    return worst


def found(options: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    """(row, teacher's mode, how many differ in the same cohort again, how many alone)."""
    device, groups = torch.device(options.device), noise(options)
    for mode in options.modes:
        taught_by = base(options, mode).teacher
        assert isinstance(taught_by, Recipe)
        teacher = new_teacher(taught_by, groups, mode=mode, device=device)
        run = partial(hashes_of, groups=groups, teacher=teacher, num_steps=options.rounds, device=device)
        for row in rows(options, mode):
            recipes = [replace(recipe, optim=replace(recipe.optim, lr=RATE)) for recipe in row.members]
            with tf32(allowed=options.precision == "tf32"):
                together, again = run(recipes), run(recipes)
                alone = [run([recipe])[0] for recipe in recipes]
            yield row.name, mode, differing(together, again), differing(together, alone)


if __name__ == "__main__":
    raise SystemExit(main())
