"""What a sweep cost: the time of its jobs on their devices, and what was estimated for the same jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.plan.cost import Costs
from orchestrator.plan.forecast import Forecast
from orchestrator.report.timeline import Bar
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Resources

CostsFor = Callable[[str], Costs | None]
"""A device's name as it reports itself -> the estimates for it, uncorrected; None if no profile describes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCost:
    """Seconds from a job's first training step to its end, measured and estimated, and the devices that it held."""

    measured_s: float
    estimated_s: float | None
    num_devices: float
    unit: str
    """core-hours or GPU-hours: what a device's time is counted in."""

    @property
    def device_hours(self) -> float:
        return self.measured_s * self.num_devices / 3600

    @property
    def ratio(self) -> float | None:
        """Measured by estimated."""
        return self.measured_s / self.estimated_s if self.estimated_s else None


@dataclass(frozen=True, kw_only=True, slots=True)
class CostLine:
    """The finished jobs whose time is counted in one unit."""

    unit: str
    num_jobs: int
    measured_hours: float
    estimated_hours: float | None
    """For the jobs that have an estimate, if these are all."""


def job_costs(
    bars: Sequence[Bar], *, steps: Mapping[str, Step], resources: Resources, costs_for: CostsFor
) -> dict[int, JobCost]:
    """Bar number -> its cost, for the jobs of which every member is done with its time on record."""
    found = {}
    for bar in bars:
        seconds = [member.device_s for member in bar.members if member.state == "done" and member.device_s is not None]
        if bar.members and len(seconds) == len(bar.members):
            found[bar.number] = _cost(bar, sum(seconds), steps=steps, resources=resources, costs_for=costs_for)
    return found


def _cost(
    bar: Bar, worker_s: float, *, steps: Mapping[str, Step], resources: Resources, costs_for: CostsFor
) -> JobCost:
    first = bar.members[0]
    costs = costs_for(first.device or "")
    measured_s = worker_s / first.workers
    if costs is None:
        return JobCost(measured_s=measured_s, estimated_s=None, num_devices=first.workers, unit="device-hours")
    estimate = costs.job([steps[step_id] for step_id in bar.step_ids], workers=first.workers, resources=resources)
    return JobCost(
        measured_s=measured_s,
        estimated_s=estimate.seconds - costs.factor * costs.profile.start_s,  # what is measured begins after the start
        num_devices=costs.devices_of(first.workers, resources),
        unit="core-hours" if costs.profile.kind == "cpu" else "GPU-hours",
    )


def cost_lines(costs: Mapping[int, JobCost]) -> tuple[CostLine, ...]:
    lines = []
    for unit in dict.fromkeys(cost.unit for cost in costs.values()):
        jobs = [cost for cost in costs.values() if cost.unit == unit]
        estimates = [cost.estimated_s * cost.num_devices / 3600 for cost in jobs if cost.estimated_s is not None]
        lines.append(
            CostLine(
                unit=unit,
                num_jobs=len(jobs),
                measured_hours=sum(cost.device_hours for cost in jobs),
                estimated_hours=sum(estimates) if len(estimates) == len(jobs) else None,
            )
        )
    return tuple(lines)


def forecast_words(forecast: Forecast) -> str:
    """What all steps of the sweep were estimated to take before the first of them was trained."""
    low, high = forecast.device_hours_range
    return (
        f"{forecast.device_hours:.3g} {forecast.unit} ({low:.3g} to {high:.3g}), on {forecast.num_devices:g} x "
        f"{forecast.device}"
    )
