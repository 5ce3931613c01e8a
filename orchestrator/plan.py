"""What is to be trained and in which order: cells become steps, steps become jobs, the store says what is left."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.identity import canonical_json, file_sha256, is_weights_file, payload, short, step_id
from orchestrator.sweep import Sweep
from reskd.errors import BadInput
from reskd.recipe import DataSpec, Recipe

Verdict = Literal["done", "failed", "blocked", "held", "resume", "train", "waiting", "unneeded"]
"""blocked: its teacher failed; held: another run trains it; waiting: its job's teacher comes first;
unneeded: a teacher in no row, all of whose students are settled."""

GMACS = {
    "resnet152": 11.5,
    "resnet101": 7.8,
    "resnet50": 4.1,
    "resnet34": 3.7,
    "resnet18": 1.8,
    "mini18": 1.3,
    "mini10": 0.6,
}
"""GMACs of one frame at 224 pixels, roughly; only ratios matter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One model's training, wanted by any number of cells."""

    id: str
    """First 16 hex digits of full_id."""
    full_id: str
    recipe: Recipe
    payload: dict[str, Any]
    teacher_id: str | None = None
    """The step that trains its teacher."""
    teacher_checkpoint: str | None = None
    """Or the file that holds it."""
    cells: tuple[tuple[str, int], ...] = ()
    """(row, seed) of the cells that show it; none for a teacher that is in no row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepStatus:
    """What the store says of a step."""

    state: Literal["absent", "done", "failed", "held"] = "absent"
    epochs: tuple[int, ...] = ()
    """Epochs whose checkpoints are there."""
    workers: int | None = None
    """Workers at its first start; a resume needs as many."""
    holder: str | None = None
    reason: str | None = None
    """Why it failed."""


DONE = StepStatus(state="done")
"""What stands for a teacher that nobody waits for: none, or a checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Steps that train together. It may start once the step teacher_id is done, whoever trains that."""

    id: str
    members: tuple[str, ...]
    teacher_id: str | None
    teacher_checkpoint: str | None
    depends_on: tuple[str, ...]
    """Jobs of this plan that train the teacher."""
    resume_from: int
    """Newest epoch that all members hold; 0: from the start."""
    workers: int
    cpus: float
    gpus: float
    cost: float
    """Epochs x frames x GMACs over the members, from resume_from on; comparable within one sweep."""


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
    """Jobs in the order to start them, parents before children, and a verdict on every step and cell."""

    sweep: str
    jobs: tuple[Job, ...]
    steps: dict[str, StepPlan]
    cells: tuple[CellPlan, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many steps have each verdict."""
        verdicts = [step.verdict for step in self.steps.values()]
        return {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        plan = asdict(self)
        return {**plan, "steps": list(plan["steps"].values()), "counts": self.counts}


def build_steps(sweep: Sweep, *, manifest_of: Callable[[DataSpec], str]) -> dict[str, Step]:
    """The steps of a sweep by id, each teacher before its students; equal recipes are one step.

    ``manifest_of`` gives the sha256 of a data set's manifest; it is asked once for each data set.
    Raises BadInput for a weights file or a checkpoint that cannot be read.
    """
    builder = StepBuilder(manifest_of)
    for cell in sweep.cells:
        known = builder.add(cell.recipe)
        builder.steps[known.id] = replace(known, cells=(*known.cells, (cell.row, cell.seed)))
    return builder.steps


@dataclass
class StepBuilder:
    """Steps made so far, and the hashes they rest on."""

    manifest_of: Callable[[DataSpec], str]
    steps: dict[str, Step] = field(default_factory=dict)

    manifests: dict[tuple[str | None, ...], str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def add(self, recipe: Recipe) -> Step:
        """The recipe's step, made with its teacher's unless it is there already."""
        teacher_id = checkpoint = teacher = None
        source = recipe.teacher if recipe.has_teacher else None
        if isinstance(source, Recipe):
            teacher_step = self.add(source)
            teacher_id, teacher = teacher_step.id, teacher_step.full_id
        elif source is not None:
            checkpoint = source.checkpoint
            teacher = f"checkpoint:{self._hash(checkpoint)}"
        weights = recipe.model.weights
        content = payload(
            recipe,
            manifest_sha256=self._manifest(recipe.data),
            teacher=teacher,
            weights_sha256=self._hash(weights) if is_weights_file(weights) else None,
        )
        full_id = step_id(content)
        made = Step(
            id=short(full_id),
            full_id=full_id,
            recipe=recipe,
            payload=content,
            teacher_id=teacher_id,
            teacher_checkpoint=checkpoint,
        )
        known = self.steps.setdefault(made.id, made)
        if canonical_json(known.payload) != canonical_json(content):
            raise BadInput(
                f"step {made.id}: two different recipes have this id; raise RECIPE_VERSION in reskd/recipe.py"
            )
        return known

    def _manifest(self, data: DataSpec) -> str:
        # These fields alone say which clips there are, so a grid over frames or crops asks once.
        key = (data.name, data.root, data.train, data.val, data.classes)
        if key not in self.manifests:
            self.manifests[key] = self.manifest_of(data)
        return self.manifests[key]

    def _hash(self, path: str) -> str:
        if path not in self.hashes:
            self.hashes[path] = file_sha256(Path(path))
        return self.hashes[path]


def make_plan(
    sweep: Sweep, steps: Mapping[str, Step], status: Mapping[str, StepStatus], *, retry_failed: bool = False
) -> Plan:
    """Compare what the sweep wants with what the store has; steps missing in ``status`` are absent there.

    Failed steps stay failed unless ``retry_failed``. Raises BadInput when a step can only resume with more
    workers than the sweep's resources allow.
    """
    has = {step_id: status.get(step_id, StepStatus()) for step_id in steps}
    verdicts = _settled(steps, has, retry_failed=retry_failed)
    # By id, so that the order of a file's rows never changes a job.
    todo = [steps[step_id] for step_id in sorted(steps.keys() - verdicts.keys())]
    cohorts = _cohorts(todo, has, sweep)
    job_of = {step.id: _job_id(cohort) for cohort in cohorts for step in cohort}
    jobs = _ordered([_job(cohort, job_of, has, sweep) for cohort in cohorts])
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
    )


def relative_cost(recipe: Recipe) -> float:
    """Work of a whole training, per clip of the data: epochs x frames x GMACs; an unknown model counts as ResNet-50."""
    gmacs = next((gmacs for name, gmacs in GMACS.items() if name in recipe.model.name), GMACS["resnet50"])
    return recipe.optim.epochs * recipe.data.num_frames * gmacs * (recipe.model.resolution / 224) ** 2


def _settled(steps: Mapping[str, Step], has: Mapping[str, StepStatus], *, retry_failed: bool) -> dict[str, StepPlan]:
    """The steps that no job of this plan trains."""
    open_states = ("absent", "failed") if retry_failed else ("absent",)
    wanted = {step.teacher_id for step in steps.values() if has[step.id].state in open_states}
    settled: dict[str, StepPlan] = {}

    def settle(step: Step, verdict: Verdict, reason: str) -> None:
        settled[step.id] = StepPlan(id=step.id, verdict=verdict, reason=reason)

    for step in steps.values():  # teachers come before their students
        state, teacher = has[step.id].state, settled.get(step.teacher_id or "")
        if state == "done":
            settle(step, "done", "finished in the store")
        elif state == "held":
            settle(step, "held", f"being trained by {has[step.id].holder or 'another run'}")
        elif not step.cells and step.id not in wanted:
            settle(step, "unneeded", "in no row, and no student waits for it")
        elif state not in open_states:
            settle(step, "failed", has[step.id].reason or "failed for an unknown reason")
        elif teacher is not None and teacher.verdict in ("failed", "blocked"):
            settle(step, "blocked", f"its teacher {teacher.id} failed: {teacher.reason}")
    return settled


def _cohorts(todo: Sequence[Step], has: Mapping[str, StepStatus], sweep: Sweep) -> list[tuple[Step, ...]]:
    """Every step in one cohort, in as few cohorts as the rules of ``_fit`` and the teachers allow.

    Steps without KD that are to be teachers may not wait for another teacher, so they get cohorts of steps
    without KD. Others without KD fill those up, and ride with students only where that saves a cohort; with
    students whose teacher is done if they can, since otherwise they wait for it too.
    """
    needed = {step.teacher_id for step in todo}
    cohorts: list[tuple[Step, ...]] = []
    for _, group in _grouped(todo, by=_shared_key):
        taught = [
            cohort
            for _, students in _grouped([step for step in group if step.recipe.has_teacher], by=_taught_key)
            for cohort in _pack(students, has, sweep)
        ]
        taught.sort(key=lambda cohort: has.get(cohort[0].teacher_id or "", DONE).state != "done")
        plain = [step for step in group if not step.recipe.has_teacher]
        plain.sort(key=lambda step: step.id not in needed)
        for cohort in sorted(_pack(plain, has, sweep), key=len):
            is_free = not any(step.id in needed for step in cohort)
            filled = _ride(cohort, taught, has, sweep) if is_free else None
            if filled is None:
                cohorts.append(cohort)
            else:
                taught = filled
        cohorts += taught
    return cohorts


def _shared_key(step: Step) -> tuple[object, ...]:
    """What members of one cohort agree on, as reskd.cohort requires it; equal folders may hold other clips."""
    recipe = step.recipe
    optim = recipe.optim
    manifest = step.payload["manifest_sha256"]
    return recipe.data, manifest, recipe.data_seed, optim.batch_size, optim.group_size, recipe.precision


def _taught_key(step: Step) -> tuple[object, ...]:
    """What members with KD agree on besides: one teacher, one forward pass of it."""
    return step.payload["teacher"], step.recipe.kd.teacher_mode, step.recipe.teacher


def _grouped(steps: Iterable[Step], *, by: Callable[[Step], tuple[object, ...]]) -> list[tuple[object, list[Step]]]:
    groups: dict[object, list[Step]] = {}
    for step in steps:
        groups.setdefault(by(step), []).append(step)
    return list(groups.items())


def _workers(step: Step, has: Mapping[str, StepStatus], sweep: Sweep) -> int:
    """Workers that the step needs: as many as its checkpoints were made with."""
    recorded = has[step.id].workers if has[step.id].epochs else None
    return recorded or sweep.resources.workers


def _common_epochs(steps: Iterable[Step], has: Mapping[str, StepStatus]) -> set[int]:
    """Epochs from which all can go on together; 0 is the start, for steps that hold nothing."""
    return set.intersection(*(set(has[step.id].epochs or (0,)) for step in steps))


def _fit(steps: Sequence[Step], has: Mapping[str, StepStatus], sweep: Sweep) -> bool:
    return (
        len(steps) <= _limit(sweep)
        and len({_workers(step, has, sweep) for step in steps}) == 1
        and bool(_common_epochs(steps, has))
    )


def _limit(sweep: Sweep) -> int:
    return sweep.cohort.max_members if sweep.cohort.enabled else 1


def _pack(steps: Sequence[Step], has: Mapping[str, StepStatus], sweep: Sweep) -> list[tuple[Step, ...]]:
    """Cut steps that agree otherwise into cohorts: one number of workers, a common epoch, at most max_members.

    Each time the epoch that most of the rest hold, the newest of those, and the first steps that hold it.
    """
    packed: list[tuple[Step, ...]] = []
    for _, same in _grouped(steps, by=lambda step: (_workers(step, has, sweep),)):
        left = list(same)
        while left:
            held = Counter(epoch for step in left for epoch in _common_epochs([step], has))
            most = max(held, key=lambda epoch: (held[epoch], epoch))
            cohort = [step for step in left if most in _common_epochs([step], has)][: _limit(sweep)]
            packed.append(tuple(cohort))
            gone = {step.id for step in cohort}
            left = [step for step in left if step.id not in gone]
    return packed


def _ride(
    riders: Sequence[Step], taught: Sequence[tuple[Step, ...]], has: Mapping[str, StepStatus], sweep: Sweep
) -> list[tuple[Step, ...]] | None:
    """The students' cohorts with all the riders placed in them, or None if one finds no room."""
    filled = list(taught)
    for rider in riders:
        room = [index for index, cohort in enumerate(filled) if _fit((*cohort, rider), has, sweep)]
        if not room:
            return None
        filled[room[0]] = (*filled[room[0]], rider)
    return filled


def _job_id(cohort: Iterable[Step]) -> str:
    members = ",".join(sorted(step.id for step in cohort))
    return f"job-{hashlib.sha256(members.encode('ascii')).hexdigest()[:12]}"


def _job(cohort: Sequence[Step], job_of: Mapping[str, str], has: Mapping[str, StepStatus], sweep: Sweep) -> Job:
    students = [step for step in cohort if step.recipe.has_teacher]
    teacher_id = students[0].teacher_id if students else None
    resume_from = max(_common_epochs(cohort, has))
    workers = _workers(cohort[0], has, sweep)
    who = f"step {cohort[0].id}, started with {workers} and to go on with as many," if resume_from else "a job"
    sweep.resources.refuse_too_large(workers, who=who)
    left = [(step.recipe, max(1, step.recipe.optim.epochs - resume_from)) for step in cohort]
    return Job(
        id=_job_id(cohort),
        members=tuple(sorted(step.id for step in cohort)),
        teacher_id=teacher_id,
        teacher_checkpoint=students[0].teacher_checkpoint if students else None,
        depends_on=(job_of[teacher_id],) if teacher_id is not None and teacher_id in job_of else (),
        resume_from=resume_from,
        workers=workers,
        cpus=workers * sweep.resources.cpus_per_worker,
        gpus=workers * sweep.resources.gpus_per_worker,
        cost=sum(relative_cost(recipe) * epochs / recipe.optim.epochs for recipe, epochs in left),
    )


def _ordered(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """By the cost of the longest chain that starts with the job, then by its own; so parents precede children."""
    children: dict[str, list[Job]] = {}
    for job in jobs:
        for parent in job.depends_on:
            children.setdefault(parent, []).append(job)

    def chain(job: Job) -> float:
        return job.cost + max(map(chain, children.get(job.id, [])), default=0.0)

    return tuple(sorted(jobs, key=lambda job: (-chain(job), -job.cost, job.id)))


def _verdict(step: Step, job: Job, has: Mapping[str, StepStatus]) -> StepPlan:
    """What happens to a step that has a job, and why."""
    status = has[step.id]
    teacher = has.get(job.teacher_id or "", DONE)
    verdict: Verdict = "resume" if job.resume_from else "train"
    reason = "nothing of it is in the store"
    if job.resume_from:
        reason = f"goes on after epoch {job.resume_from} of {step.recipe.optim.epochs}"
    if status.state == "failed":
        reason += f"; tried again, it failed before: {status.reason or 'no reason recorded'}"
    if teacher.state != "done":
        verdict = "waiting"
        whose = "its teacher" if step.teacher_id else "the teacher of its job,"
        trained_by = f", being trained by {teacher.holder or 'another run'}" if teacher.state == "held" else ""
        reason += f"; first comes {whose} {job.teacher_id}{trained_by}"
    return StepPlan(id=step.id, verdict=verdict, reason=reason, job=job.id)
