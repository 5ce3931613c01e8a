"""Plans which steps to train and in which order: unfinished steps become jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.plan.cohort_reasons import MAX_COMPARED, why_apart, why_together
from orchestrator.plan.cohort_split import split_cohorts
from orchestrator.plan.cohorts import Cohort, candidate_of, common_epochs, form_cohorts
from orchestrator.plan.cost import Costs, JobEstimate
from orchestrator.plan.cost_inputs import costs_of
from orchestrator.plan.forecast import Forecast, forecast
from orchestrator.plan.job import Job, cohort_job_id
from orchestrator.plan.order import in_order
from orchestrator.spec.steps import Step, StepStatus
from orchestrator.spec.sweep import Resources, Sweep
from reskd.recipe import CLASS_ORDER
from reskd.runtime.execution import Execution

Verdict = Literal[
    "done", "damaged", "pruned", "failed", "blocked", "held", "resume", "train", "import", "waiting", "unneeded"
]
"""import: a model that was trained elsewhere is read from its file and tested. pruned: stopped early, also with
--retry-failed. blocked: its teacher failed. held: another run trains it. waiting: its job's teacher must be trained
first. unneeded: a teacher without a row whose students need no training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPlan:
    id: str
    verdict: Verdict
    reason: str
    job: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CellPlan:
    row: str
    seed: int
    step_id: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Jobs in the order of their start, parents before children, and a verdict for every step and cell."""

    sweep: str
    jobs: tuple[Job, ...]
    steps: dict[str, StepPlan]
    cells: tuple[CellPlan, ...]
    forecast: Forecast

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many steps have each verdict."""
        verdicts = [step.verdict for step in self.steps.values()]
        return {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        plan = asdict(self)
        return {**plan, "steps": list(plan["steps"].values()), "counts": self.counts}


def make_plan(
    sweep: Sweep,
    steps: Mapping[str, Step],
    status: Mapping[str, StepStatus],
    *,
    costs: Costs | None = None,
    num_devices: float = 1.0,
    retry_failed: bool = False,
) -> Plan:
    """Compare the steps of the sweep with the store. A step without an entry in ``status`` is absent from the store.

    ``costs`` are estimates for one of ``num_devices`` devices; by default for this machine. They decide the order of
    the jobs, and whether a cohort is split for a shorter makespan. They never change a step.

    Failed steps stay failed unless ``retry_failed``. Raises BadInput if a step can only resume with more workers than
    the sweep's resources allow.
    """
    costs = costs or costs_of(sweep.resources, steps, {})
    has = {step_id: status.get(step_id, StepStatus()) for step_id in steps}
    may_stop = set(sweep.early_stopping.rows) if sweep.early_stopping else set()
    verdicts = _settled(steps, has, retry_failed=retry_failed, may_stop=may_stop)
    # Sorted by id, so that the order of rows in the file never changes a job.
    open_steps = [steps[step_id] for step_id in sorted(steps.keys() - verdicts.keys())]
    execution = _execution(sweep, steps, costs)
    todo = [candidate_of(step, has, workers=sweep.resources.workers, execution=execution) for step in open_steps]
    limit = sweep.cohort.max_members if sweep.cohort.enabled else 1
    cohorts = form_cohorts(todo, limit=limit)
    if sweep.cohort.split:
        cohorts = _split(cohorts, sweep.resources, costs, num_devices)
    job_of = {member.step.id: cohort_job_id(cohort) for cohort in cohorts for member in cohort}
    jobs = in_order(
        [_job(cohort, job_of, sweep.resources, costs) for cohort in cohorts],
        seeds={step.id: min(seed for _, seed in step.cells) for step in open_steps if step.cells},
        num_devices=num_devices,
    )
    jobs = _with_reasons(jobs, cohorts, limit=limit)
    verdicts |= {member: _verdict(steps[member], job, has) for job in jobs for member in job.members}
    step_of = {cell: step.id for step in steps.values() for cell in step.cells}
    cells = []
    for cell in sweep.cells:
        found = verdicts[step_of[cell.row, cell.seed]]
        cells.append(
            CellPlan(row=cell.row, seed=cell.seed, step_id=found.id, verdict=found.verdict, reason=found.reason)
        )
    return Plan(
        sweep=sweep.name,
        jobs=jobs,
        steps={step_id: verdicts[step_id] for step_id in steps},
        cells=tuple(cells),
        forecast=forecast(jobs, costs=costs, num_devices=num_devices),
    )


def _execution(sweep: Sweep, steps: Mapping[str, Step], costs: Costs) -> Execution:
    """The execution settings of steps that start with this plan."""
    resources, groups = sweep.resources, sweep.resources.groups_per_pass
    if groups == "auto":
        # Computed for the whole sweep and full cohorts, so that a step computes the same in any cohort.
        members = sweep.cohort.max_members
        groups = costs.groups_per_pass(list(steps.values()), beside=members, workers=resources.workers)
    return Execution(groups_per_pass=groups, compile=resources.compile, deterministic=resources.deterministic)


def _split(cohorts: Sequence[Cohort], resources: Resources, costs: Costs, num_devices: float) -> list[Cohort]:
    def seconds(cohort: Cohort) -> float:
        return _estimate(cohort, resources, costs).seconds

    return split_cohorts(
        cohorts,
        seconds=seconds,
        devices=lambda cohort: costs.devices_of(cohort[0].workers, resources),
        fits=lambda cohort: costs.fits([member.step for member in cohort]),
        num_devices=num_devices,
    )


def _estimate(cohort: Cohort, resources: Resources, costs: Costs) -> JobEstimate:
    steps = [member.step for member in cohort]
    epoch = max(common_epochs(cohort))
    return costs.job(steps, workers=cohort[0].workers, resources=resources, resume_from=epoch)


def _with_reasons(jobs: Sequence[Job], cohorts: Sequence[Cohort], *, limit: int) -> tuple[Job, ...]:
    """Each job with the reason why its members are together, and apart from those of neighbouring jobs."""
    by_id = {cohort_job_id(cohort): cohort for cohort in cohorts}
    ordered = [by_id[job.id] for job in jobs]
    found = []
    for index, job in enumerate(jobs):
        beside = [
            *ordered[max(0, index - MAX_COMPARED // 2) : index],
            *ordered[index + 1 : index + MAX_COMPARED // 2 + 1],
        ]
        together, apart = why_together(ordered[index]), why_apart(ordered[index], beside, limit=limit)
        found.append(replace(job, why=f"{together}; apart from others: {apart}" if apart else together))
    return tuple(found)


def _settled(
    steps: Mapping[str, Step], has: Mapping[str, StepStatus], *, retry_failed: bool, may_stop: Collection[str]
) -> dict[str, StepPlan]:
    """The steps that no job of this plan trains. ``may_stop``: rows that this sweep may stop early.

    A step that another sweep stopped early counts as failed here unless its rows may stop, so that no table has a
    silent gap.
    """
    open_states = ("absent", "failed") if retry_failed else ("absent",)
    wanted = {step.teacher_id for step in steps.values() if has[step.id].state in open_states}
    settled: dict[str, StepPlan] = {}

    def settle(step: Step, verdict: Verdict, reason: str) -> None:
        settled[step.id] = StepPlan(id=step.id, verdict=verdict, reason=reason)

    for step in steps.values():  # teachers come before their students
        state, teacher = has[step.id].state, settled.get(step.teacher_id or "")
        if state == "done":
            settle(step, "done", f"in the store{_other_test(step, has[step.id])}")
        elif state == "damaged":
            settle(step, "damaged", has[step.id].reason or "a file of it is damaged")
        elif state == "pruned":
            reason = has[step.id].reason or "stopped early"
            if step.cells and all(row in may_stop for row, _ in step.cells):
                settle(step, "pruned", reason)
            else:
                settle(
                    step,
                    "failed",
                    f"another sweep {reason}; `reskd rm {step.id}`, then this sweep trains all its epochs",
                )
        elif state == "held":
            settle(step, "held", f"being trained by {has[step.id].holder or 'another run'}")
        elif not step.cells and step.id not in wanted:
            settle(step, "unneeded", "in no row, and no student waits for it")
        elif state not in open_states:
            settle(step, "failed", has[step.id].reason or "failed for an unknown reason")
        elif teacher is not None and teacher.verdict in ("failed", "blocked", "pruned", "damaged"):
            became = "is damaged" if teacher.verdict == "damaged" else "failed"
            settle(step, "blocked", f"its teacher {teacher.id} {became}: {teacher.reason}")
    return settled


def _other_test(step: Step, status: StepStatus) -> str:
    """A hint for a finished row whose sweep now asks for another final test; empty if the tests agree.

    Tables still show the recorded test.
    """
    asked = step.recipe.test_protocol
    if not step.cells or status.protocol in (None, asked.name):
        return ""
    more = " --twice" if asked.twice else ""
    for option, value in (("--short-side", asked.short_side), ("--crop-size", asked.crop_size)):
        more += "" if value is None else f" {option} {value}"
    return (
        f", tested by {status.protocol}, but the sweep now asks for {asked.name}: run "
        f"`reskd eval {step.id} --views {asked.num_views}x{asked.num_crops}{more}` and add a "
        f"column test/{asked.name}/..."
    )


def _job(cohort: Cohort, job_of: Mapping[str, str], resources: Resources, costs: Costs) -> Job:
    steps = [member.step for member in cohort]
    student = next((step for step in steps if step.recipe.has_teacher), None)
    teacher_id = student.teacher_id if student else None
    resume_from = max(common_epochs(cohort))
    workers = cohort[0].workers
    who = f"step {steps[0].id}, started with {workers} workers and resumed with as many," if resume_from else "a job"
    resources.refuse_too_large(workers, who=who)
    estimate = _estimate(cohort, resources, costs)
    return Job(
        id=cohort_job_id(cohort),
        members=tuple(sorted(step.id for step in steps)),
        teacher_id=teacher_id,
        teacher_checkpoint=student.teacher_checkpoint if student else None,
        depends_on=(job_of[teacher_id],) if teacher_id is not None and teacher_id in job_of else (),
        resume_from=resume_from,
        workers=workers,
        cpus=workers * resources.cpus_per_worker,
        gpus=workers * resources.gpus_per_worker,
        cost=estimate.seconds,
        execution=cohort[0].execution,
        estimate=estimate,
    )


def _verdict(step: Step, job: Job, has: Mapping[str, StepStatus]) -> StepPlan:
    """What happens to a step that has a job, and why."""
    status = has[step.id]
    teacher = has[job.teacher_id] if job.teacher_id else None
    verdict: Verdict = "resume" if job.resume_from else "train"
    reasons = []
    if job.resume_from:
        reasons.append(f"resumes after epoch {job.resume_from} of {step.recipe.num_epochs}")
    if status.state == "failed":
        reasons.append(f"tried again; it failed before: {status.reason or 'no reason recorded'}")
    if teacher is not None and teacher.state != "done":
        verdict = "waiting"
        whose = "teacher" if step.teacher_id else "the teacher of its job,"
        trained_by = f", being trained by {teacher.holder or 'another run'}" if teacher.state == "held" else ""
        reasons.append(f"for {whose} {job.teacher_id}{trained_by}")
    if step.recipe.is_imported:
        verdict = "import"
        reasons.append(
            f"trained elsewhere, to be read from {Path(step.recipe.checkpoint or '').name} and tested; {CLASS_ORDER}"
        )
    return StepPlan(id=step.id, verdict=verdict, reason="; ".join(reasons) or "not trained yet", job=job.id)
