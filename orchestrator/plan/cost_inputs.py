"""Chooses the inputs of `Costs` for a sweep: the device, the numbers of clips, and the correction by finished jobs."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import cast, get_args

from orchestrator.plan.cost import UNCERTAINTY, ClipCounts, Costs
from orchestrator.plan.device_profiles import ClipKind, load_profile, profile_name_of
from orchestrator.spec.steps import Step
from orchestrator.spec.strict import naming
from orchestrator.spec.sweep import Resources
from reskd.data.decode.dispatch import PACKED_SUFFIX
from reskd.data.manifest import Manifest
from reskd.errors import BadInput
from reskd.files import Json
from reskd.recipe import DataSpec

PUBLISHED_CLIPS = {
    "activitynet": ClipCounts(10_024, 4_926),
    "fcvid": ClipCounts(45_611, 45_612),
    "mini_kinetics": ClipCounts(121_215, 9_867),
    "kinetics": ClipCounts(240_000, 20_000),
    "ssv2": ClipCounts(168_913, 24_777),
    "ssv1": ClipCounts(86_017, 11_522),
}
"""Number of clips by annotation format, from the data sets' papers. Used if there are neither videos nor a manifest."""
UNKNOWN_CLIPS = ClipCounts(10_000, 1_000)
PUBLISHED_KINDS: dict[str, ClipKind] = {"activitynet": "long", "fcvid": "long", "ssv1": "packed"}
"""Kind of the clips by annotation format, as the data sets are given out; short if it is not here."""
TINY_BYTES, LONG_BYTES = 100_000, 5_000_000
"""Median sizes: below the first a video counts as tiny, above the second as long. A clip of the demo has 0.01 MB, one
of Kinetics (10 s) about 1 MB, one of 2 minutes at 720p more than 15."""
DEFAULT_GPU = "h100"
MIN_FOR_SPREAD = 3
LEAST_SPREAD = 0.1
"""Smallest relative range around an estimate that finished jobs have corrected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Assumptions from the command line. None: use this machine's value or the sweep's."""

    device: str | None = None
    devices: float | None = None
    clips: ClipKind | None = None


def asked_of(*, device: str | None, devices: float | None, clips: str | None) -> Asked:
    """The assumptions from the command line. Raises BadInput for an unknown kind of clips."""
    kinds = get_args(ClipKind)
    if clips is not None and clips not in kinds:
        raise BadInput(f"--clips: {clips!r} is not one of {', '.join(kinds)}")
    return Asked(device=device, devices=devices, clips=cast("ClipKind | None", clips))


def costs_of(
    resources: Resources,
    steps: Mapping[str, Step],
    manifests: Mapping[str, Manifest],
    *,
    folder: Path | None = None,
    records: Mapping[str, Json] | None = None,
    asked: Asked | None = None,
) -> Costs:
    """Estimates for the device from the command line, else from the sweep, else of this machine.

    ``folder`` holds profiles that take precedence over the shipped ones. ``records`` are the DONE records of the
    sweep's finished steps, by step id.
    """
    asked = asked or Asked()
    named = asked.device or resources.device or _device_here(resources, folder)
    name, notes = named or DEFAULT_GPU, []
    if named is None:
        notes.append(f"no GPU with a profile is here, so {DEFAULT_GPU} is assumed (--device, resources.device)")
    counts: dict[str, ClipCounts] = {sha: ClipCounts(len(m.train), len(m.val)) for sha, m in manifests.items()}
    for step in steps.values():
        sha = step.payload["manifest_sha256"]
        if sha not in counts:
            counts[sha], note = _assumed(step.recipe.data)
            notes.append(note)
    with naming("--device" if asked.device else "resources.device"):
        profile = load_profile(name, folder=folder)
    notes.append(f"profile {name}: {profile.source}")
    kinds: dict[str, ClipKind] = {}
    for step in steps.values():
        data = step.recipe.data
        if data.name not in kinds:
            kinds[data.name] = asked.clips or clip_kind(data, manifests.get(step.payload["manifest_sha256"]))
            decode = profile.decode_core_ms[kinds[data.name]]
            *names, last = get_args(ClipKind)
            others = ", ".join(names)
            told = f"{kinds[data.name]}, {decode:g} core-ms for 16 frames (--clips {others} or {last})"
            notes.append(f"clips of {data.name}: {told}")
    costs = Costs(
        device=name,
        profile=profile,
        clips=lambda step: counts[step.payload["manifest_sha256"]],
        clip_kinds=kinds,
        is_guess=named is None,
        notes=tuple(notes),
    )
    return corrected(costs, records or {}, steps, resources=resources)


def clip_kind(data: DataSpec, manifest: Manifest | None) -> ClipKind:
    """What the clips of a data set are, as far as their decoding goes.

    From the files, if there is a manifest: packed ones and folders of frames (names without an ending) are JPEG, small
    and large files are tiny and long videos. Without a manifest, by the annotation format.
    """
    if manifest is None:
        return PUBLISHED_KINDS.get(data.annotations, "short")
    clips = manifest.train
    num_jpeg = sum(PurePosixPath(clip.path).suffix in ("", PACKED_SUFFIX) for clip in clips)
    if 2 * num_jpeg > len(clips):
        return "packed"
    size = statistics.median(clip.size for clip in clips)
    return "long" if size > LONG_BYTES else "tiny" if size < TINY_BYTES else "short"


def _device_here(resources: Resources, folder: Path | None) -> str | None:
    """The profile of this machine's training device; None if there is no GPU with a profile."""
    if not resources.gpus_per_worker:
        return "cpu"
    import torch

    return profile_name_of(torch.cuda.get_device_name(), folder=folder) if torch.cuda.is_available() else None


def num_devices(resources: Resources, costs: Costs, *, asked: Asked | None = None) -> float:
    """Number of devices that may work at the same time: as asked for, else as the sweep says, else as found here."""
    if asked is not None and asked.devices is not None:
        return asked.devices
    if costs.profile.kind == "cpu":
        found = resources.max_cpus if resources.max_cpus is not None else float(os.cpu_count() or 1)
    elif resources.max_gpus is not None:
        found = resources.max_gpus
    else:
        import torch

        found = float(torch.cuda.device_count())
    return max(found, costs.devices_of(resources.workers, resources))


def _assumed(data: DataSpec) -> tuple[ClipCounts, str]:
    counts = PUBLISHED_CLIPS.get(data.annotations, UNKNOWN_CLIPS)
    return counts, f"{data.name}: no videos here; {counts.train} training and {counts.val} validation clips are assumed"


def corrected(costs: Costs, records: Mapping[str, Json], steps: Mapping[str, Step], *, resources: Resources) -> Costs:
    """The costs multiplied by the median of measured / estimated time of finished jobs; unchanged if there are none."""
    ratios = [job.measured_s / job.estimated_s for job in finished_jobs(costs, records, steps, resources=resources)]
    if not ratios:
        return costs
    factor = statistics.median(ratios)
    spread = UNCERTAINTY
    if len(ratios) >= MIN_FOR_SPREAD:
        low, high = min(ratios) / factor, max(ratios) / factor
        spread = (min(low, 1 - LEAST_SPREAD), max(high, 1 + LEAST_SPREAD))
    note = f"corrected by {factor:.2g} after {len(ratios)} finished job{'s' * (len(ratios) != 1)}"
    return replace(
        costs, factor=costs.factor * factor, spread=spread, num_corrected=len(ratios), notes=(*costs.notes, note)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedJob:
    """Steps that were trained together, with the measured and the estimated time of the job."""

    members: tuple[str, ...]
    measured_s: float
    estimated_s: float


def trained_together(records: Mapping[str, Json]) -> list[tuple[str, ...]]:
    """The steps of each job, from their DONE records. Members of a job have the same host, start time and workers."""
    jobs: dict[tuple[object, ...], list[str]] = {}
    for step_id, record in records.items():
        jobs.setdefault((record["host"], record["started_ms"], record["workers"]), []).append(step_id)
    return [tuple(members) for members in jobs.values()]


def finished_jobs(
    costs: Costs, records: Mapping[str, Json], steps: Mapping[str, Step], *, resources: Resources
) -> list[FinishedJob]:
    """Jobs on devices of the profile's kind for which all seconds are recorded.

    Device seconds of members are equal shares, so their sum is the job's. It does not include the time before the first
    training step.
    """
    timed = {
        step_id: record
        for step_id, record in records.items()
        if step_id in steps and "device_s" in record and costs.profile.is_of(str(record.get("device")))
    }
    found = []
    for members in trained_together(timed):
        workers = int(timed[members[0]]["workers"])
        measured = sum(float(records[step_id]["device_s"]) for step_id in members) / workers
        estimate = costs.job([steps[step_id] for step_id in members], workers=workers, resources=resources)
        estimated = estimate.seconds - costs.factor * costs.profile.next_job_s
        if measured > 0:
            found.append(FinishedJob(members=members, measured_s=measured, estimated_s=estimated))
    return found
