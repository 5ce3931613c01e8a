"""`reskd data pack`: stores selected frames of a data set as JPEG, which are fast to read."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from orchestrator.cli.commands.data.shared import data_specs
from orchestrator.cli.console import console
from reskd.data.pack_record import PackSettings
from reskd.errors import BadInput
from reskd.recipe import DataSpec, Resample

if TYPE_CHECKING:
    from reskd.data.pack import PackAll, PackReport

FRAMES_PER_FRAME = 5
"""Default number of kept frames per frame of a clip. It is odd, so that the pack holds the test frames of the
original."""


def pack(
    source: Annotated[Path, typer.Argument(help="A sweep file, or a folder with train.csv and val.csv.")],
    target: Annotated[
        Path, typer.Argument(help="Folder for the packed data set: a new one, or one that this command has begun.")
    ],
    frames: Annotated[
        int | None,
        typer.Option(
            help="Evenly spaced frames to keep per video; 0: all. Default: 5 x data.num_frames; for dense clips: all."
        ),
    ] = None,
    short_side: Annotated[int, typer.Option(help="Pixels of the shorter side. Smaller videos are not enlarged.")] = 256,
    quality: Annotated[int, typer.Option(help="JPEG quality, 1 to 100.")] = 90,
    data: Annotated[str | None, typer.Option("--data", help="data.name, if the sweep has several data sets.")] = None,
    resample: Annotated[
        str | None,
        typer.Option(help="How frames are made smaller, antialias or opencv. Default: as the sweep's data.resample."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of decoding processes on this machine.")] = os.cpu_count() or 1,
    address: Annotated[
        str | None,
        typer.Option("--address", help="Ray cluster that shares the work. All machines must see both folders."),
    ] = None,
    store: Annotated[str | None, typer.Option("--store", help="The store in which digests are cached.")] = None,
) -> None:
    """Store some frames of every video as JPEG.

    The result is a new, lossy data set that is about ten times as fast to read.
    """
    from orchestrator.store.open import store_at
    from reskd.data.pack import pack as write_pack

    if address is not None:  # a task of the cluster has another working folder
        source, target = source.absolute(), target.absolute()
    specs = data_specs(source, data=data)
    spec = specs[0]
    settings = PackSettings(
        num_frames=_num_frames(specs) if frames is None else frames,
        short_side=short_side,
        quality=quality,
        resample=_resample(specs, resample),
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        _shared_out(address, target) as pack_all,
        Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress,
    ):
        task = progress.add_task(f"packing {spec.name}", total=None)
        report = write_pack(
            spec,
            target,
            settings,
            workers=max(1, workers),
            pack_all=pack_all,
            cache=store_at(store).hash_cache if store or not source.is_dir() else None,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    _show(report, target=target, settings=settings)


def _shared_out(address: str | None, target: Path) -> AbstractContextManager[PackAll | None]:
    if address is None:
        return nullcontext()
    from orchestrator.run.pack_on_ray import ray_packing

    return ray_packing(address, target)


def _num_frames(specs: list[DataSpec]) -> int:
    """The number of frames that is enough for every spec; 0 (all frames) if one of them takes dense clips."""
    if any(spec.sampling == "dense" for spec in specs):
        return 0
    return FRAMES_PER_FRAME * max(spec.num_frames for spec in specs)


def _resample(specs: list[DataSpec], asked: str | None) -> Resample:
    """The resampler that was asked for, else that of all specs."""
    found = {spec.resample for spec in specs} if asked is None else {cast(Resample, asked)}
    if len(found) > 1:
        raise BadInput(f"rows differ in data.resample ({', '.join(sorted(found))}); choose one with --resample")
    return found.pop()


def _show(report: PackReport, *, target: Path, settings: PackSettings) -> None:
    from reskd.data.pack import DAMAGED

    kept = f", {report.num_kept} were there" if report.num_kept else ""
    console.print(f"{target}: {report.num_packed} videos packed{kept}; {settings.words}", markup=False)
    mebibytes = (f"{size / 2**20:,.1f} MiB" for size in (report.num_source_bytes, report.num_bytes))
    console.print(f"  originals {next(mebibytes)}, packed {next(mebibytes)}", markup=False)
    if report.damaged:
        console.print(f"  {len(report.damaged)} damaged videos left out, see {target / DAMAGED}:", markup=False)
        for path, reason in report.damaged[:10]:
            console.print(f"    {path}: {reason}", markup=False)
    block = f"data: {{root: {target}, annotations: csv, train: train.csv, val: val.csv, classes: classes.txt}}"
    console.print(f"in a sweep: {block}", markup=False, soft_wrap=True)
