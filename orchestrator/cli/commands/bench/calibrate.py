"""`reskd bench calibrate`: measures this machine and writes a device profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import StoreFolder
from reskd.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.plan.device_profiles import DeviceProfile


def calibrate(
    name: Annotated[
        str | None, typer.Option("--name", help="The profile's name. Default: the name of the shipped profile.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cuda, cpu, or auto (a GPU if there is one).")] = "auto",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Sweep file or folder with train.csv. Its clips' decoding time is measured."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Seconds per measurement; there are about 15 to 35.")] = 2.0,
    store: StoreFolder = None,
) -> None:
    """Measure this machine and write a device profile, which estimates of `plan` and rooflines use from then on."""
    import torch

    from orchestrator.cli.commands.data.shared import data_specs
    from orchestrator.plan.calibration import calibrated, decode_cost, measure_here, source_of, write_profile
    from orchestrator.plan.cost_inputs import DEFAULT_GPU
    from orchestrator.plan.device_profiles import load_profile, profile_name_of, shipped_profiles
    from reskd.runtime.device import chosen_device, device_name

    torch.set_num_threads(1)  # a profile of a cpu is of one core
    opened, chosen = open_store(store), chosen_device(device)
    here = device_name(chosen)
    found = profile_name_of(here, folder=opened.devices)
    if found is None and name is None:
        raise BadInput(f"--name is missing: {here} has no shipped profile whose name it could take")
    # Start from the shipped profile if there is one, not from an earlier measurement.
    base = shipped_profiles().get(found or DEFAULT_GPU) or load_profile(str(found), folder=opened.devices)
    decode = decode_cost(data_specs(data, data=None)[0]) if data else {}
    with console.status("measuring") as status:
        peaks, passes = measure_here(
            chosen, seconds=seconds, on_progress=lambda what: status.update(f"measuring {what}")
        )
    source = source_of(here, is_gpu=chosen.type == "cuda")
    profile = calibrated(base, peaks, passes, decode_core_ms=decode, source=source)
    if found is None:
        memory = float(torch.cuda.get_device_properties(chosen).total_memory)
        profile = replace(profile, matches=(here,), memory_bytes=memory)
    path = opened.devices / f"{name or found}.yaml"
    write_profile(profile, path)
    console.print(source, markup=False, soft_wrap=True)
    _show(profile, base)
    console.print(
        f"{path}; `reskd plan --device {path.stem}` and the rooflines of `python -m reskd.throughput` use it",
        markup=False,
        soft_wrap=True,
    )


def _show(profile: DeviceProfile, base: DeviceProfile) -> None:
    table = Table("", "measured", "before", box=None)
    for row in ("flops", "bytes_per_s", "launch_s", "efficiency", "decode_core_ms"):
        values, before = getattr(profile, row), getattr(base, row)
        if not isinstance(values, dict):
            values, before = {"": values}, {"": before}
        for key, value in values.items():
            is_same = value == before[key]
            table.add_row(f"{row} {key}", "-" if is_same else f"{value:.3g}", f"{before[key]:.3g}")
    console.print(table)
