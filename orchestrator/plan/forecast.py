"""The forecast of a plan: device-hours and makespan with ranges, and a lower bound on the makespan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.plan.cost import Costs
from orchestrator.plan.job import Job
from orchestrator.plan.order import works_of
from orchestrator.plan.simulate import simulate
from reskd.errors import BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Estimated for all jobs of a plan."""

    device: str
    num_devices: float
    device_hours: float
    """GPU-hours; on a cpu, core-hours."""
    device_hours_range: tuple[float, float]
    makespan_s: float
    makespan_range_s: tuple[float, float]
    lower_bound_s: float
    """Start of the workers + max(all work / devices, longest chain of jobs)."""
    utilisation: float
    is_guess: bool
    """Whether the device is a guess: no device is named and none was found."""
    num_corrected: int
    """Number of finished jobs that corrected the estimate."""
    notes: tuple[str, ...]
    """Assumptions of the estimate."""
    too_large: tuple[str, ...]
    """A text for each job that needs more memory than a device has."""

    @property
    def unit(self) -> str:
        return "core-hours" if self.device == "cpu" else "GPU-hours"

    def refuse_too_large(self, *, where: str) -> None:
        """BadInput when one member, with one group at a time, needs more memory than a device has."""
        if self.too_large:
            raise BadInput(
                f"{where}: {self.too_large[0]} on {self.device}; lower optim.group_size, model.resolution or "
                "data.num_frames, or choose a device with more memory"
            )

    def refuse_above(self, budget: float | None, *, where: str) -> None:
        """BadInput when the jobs are expected to take more GPU-hours (of a cpu core-hours) than ``budget``."""
        if budget is not None and self.device_hours > budget:
            low, high = self.device_hours_range
            raise BadInput(
                f"{where}: about {self.device_hours:.3g} {self.unit} ({low:.3g} to {high:.3g}) on {self.device}, above "
                f"the budget of {budget:g}; raise --budget-gpu-hours (resources.budget_gpu_hours), or ask for fewer "
                "rows, seeds or epochs"
            )


def forecast(jobs: Sequence[Job], *, costs: Costs, num_devices: float) -> Forecast:
    """Forecast jobs, given in the order in which they start. Jobs that are too large for a device are included."""
    schedule = simulate(works_of(jobs, num_devices=num_devices), num_devices=num_devices)
    hours = sum(job.estimate.device_seconds for job in jobs if job.estimate) / 3600
    low, high = costs.spread
    start_s = costs.profile.start_s if jobs else 0.0
    limit = costs.profile.memory_bytes
    return Forecast(
        device=costs.device,
        num_devices=num_devices,
        device_hours=hours,
        device_hours_range=(hours * low, hours * high),
        makespan_s=start_s + schedule.makespan,
        makespan_range_s=(start_s + schedule.makespan * low, start_s + schedule.makespan * high),
        lower_bound_s=start_s + schedule.lower_bound,
        utilisation=schedule.utilisation,
        is_guess=costs.is_guess,
        num_corrected=costs.num_corrected,
        notes=costs.notes,
        too_large=tuple(
            f"{job.id} needs about {job.estimate.memory_bytes / 1e9:.3g} of {limit / 1e9:.3g} GB of memory"
            for job in jobs
            if job.estimate and limit is not None and job.estimate.memory_bytes > limit
        ),
    )
