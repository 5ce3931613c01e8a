"""Seconds and peak memory of planning a sweep of 10 to 10,000 cells: cells to steps, cohorts, costs, cuts and schedule.

    python benchmarks/planner.py [--cells 10 100 1000 10000] [--devices 64]

The sweep is ResNet-152 at 224 pixels teaching ResNet-50 at six resolutions, as many weights and seeds as make up the
cells, on profile h200. Each number of cells is planned in a process of its own, so networks are traced anew in each.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

RESOLUTIONS = (224, 144, 112, 96, 72, 56)
NUM_WEIGHTS = 16


def plan(num_cells: int, *, devices: int) -> None:
    from orchestrator.plan.cost_inputs import Asked, costs_of
    from orchestrator.plan.plan import make_plan
    from orchestrator.spec.steps import build_steps
    from orchestrator.spec.sweep import Cell, CohortSpec, Resources, Sweep
    from reskd.recipe import DataSpec, KDSpec, ModelSpec, Recipe

    data = DataSpec(name="activitynet", annotations="activitynet")
    teacher = Recipe(data=data, model=ModelSpec(name="tsn_resnet152"), precision="bf16")
    cells = []
    for number in range(num_cells):
        seed, index = divmod(number, len(RESOLUTIONS) * NUM_WEIGHTS)
        weight, resolution = divmod(index, len(RESOLUTIONS))
        recipe = replace(
            teacher,
            model=ModelSpec(resolution=RESOLUTIONS[resolution]),
            kd=KDSpec(level="pixel", weight=1.0 + weight),
            teacher=replace(teacher, data_seed=seed, model_seed=seed),
            data_seed=seed,
            model_seed=seed,
        )
        cells.append(Cell(row=f"{RESOLUTIONS[resolution]} {weight}", seed=seed, recipe=recipe))
    sweep = Sweep(
        name="planner",
        path=Path("planner.yaml"),
        question="?",
        cells=tuple(cells),
        seeds=(0,),
        resources=Resources(gpus_per_worker=1, cpus_per_worker=8, loader_workers=7),
        cohort=CohortSpec(),
        tables={},
        teacher_seed=None,
    )
    before_mib = _peak_mib()
    started, worked = time.perf_counter(), time.process_time()
    steps = build_steps(sweep, manifest_of=lambda spec: spec.name)
    built_s = time.perf_counter() - started
    costs = costs_of(sweep.resources, steps, {}, asked=Asked(device="h200"))
    found = make_plan(sweep, steps, {}, costs=costs, num_devices=devices)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - worked
    print(
        f"{num_cells:6d} cells, {len(steps)} steps, {len(found.jobs)} jobs: {seconds:.2f} s, {cpu_s:.2f} s of CPU "
        f"({built_s:.2f} s to steps), peak {_peak_mib():.0f} MiB ({before_mib:.0f} with torch imported)",
        flush=True,
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--devices", type=int, default=64)
    arguments = parser.parse_args()
    if len(arguments.cells) == 1:
        plan(arguments.cells[0], devices=arguments.devices)
        return
    for num_cells in arguments.cells:
        command = [sys.executable, __file__, "--cells", str(num_cells), "--devices", str(arguments.devices)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
