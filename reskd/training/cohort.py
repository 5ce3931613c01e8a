"""A cohort: the members that train on the same clips, and their frozen teacher if they have one.

Everything that depends on several clips happens inside one group, and every random draw is seeded by (seed, training
step, group). So a member ends with the same bits alone and in any cohort.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reskd.data.dataset import Group
from reskd.data.model_inputs import ModelInputs
from reskd.data.sampling import seed_of
from reskd.distill.teacher import Teacher
from reskd.errors import BadInput
from reskd.methods.distillation import LastMap, check_maps
from reskd.models.compiled import Forward, compiled
from reskd.models.grouped import CannotGroup, PassGroups, group_layers_or_none, one_pass
from reskd.models.video_model import ClipOutput
from reskd.recipe import ModelSpec, require_mean
from reskd.runtime.execution import Execution
from reskd.runtime.precision import autocast, autocast_dtype, dtype_of
from reskd.runtime.workers import Workers
from reskd.training.cohort_key import check_shared
from reskd.training.member import Member

logger = logging.getLogger(__name__)


@dataclass
class StepReport:
    """The result of one training step: losses by member, members that skipped it, and seconds of its parts.

    On CUDA, the seconds include kernel launches and only those waits that the step needs anyway; further waits would
    slow it.
    """

    losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    teacher_s: float = 0.0
    student_s: dict[str, float] = field(default_factory=dict)
    """Seconds of each member: forward, backward and optimiser."""
    all_reduce_s: float = 0.0
    """Seconds of waiting for other workers, whose vectors were summed meanwhile."""


class Cohort:
    """The members in the order of their step ids.

    The order is the same on every worker: each member runs one collective.
    """

    def __init__(self, members: Sequence[Member], *, teacher: Teacher | None, workers: Workers) -> None:
        self.members = sorted(members, key=lambda member: member.step_id)
        self.teacher = teacher
        self.workers = workers
        check_shared([member.recipe for member in self.members])
        recipe = self.members[0].recipe
        self.dtype = dtype_of(recipe)
        self.autocast = autocast_dtype(recipe)
        self.num_groups = recipe.optim.num_groups
        self.groups_per_pass = 1
        self._teacher_pass_groups: PassGroups | None = None
        if teacher is not None:
            self._teach: Forward = teacher.for_students
        for member in self.members:
            _check_teachable(member, teacher)
            member.teacher_classifier = None if teacher is None else teacher.for_students.classifier

    def take(self, execution: Execution) -> None:
        """Use these execution settings from now on. They change results by rounding only."""
        self.groups_per_pass = execution.groups_per_pass
        if execution.groups_per_pass > 1:
            for member in self.members:
                member.take_groups()
            if self.teacher is not None:
                self._teacher_pass_groups = group_layers_or_none(self.teacher.for_students, who="the teacher")
        if execution.compile:
            for member in self.members:
                member.compile(self._clips(member.recipe.model), num_groups=self.groups_per_pass)
            if self.teacher is not None:
                self._teach = compiled(self.teacher.for_students, trial=self._try_teaching, who="the teacher")

    def _try_teaching(self, network: Forward) -> None:
        assert self.teacher is not None
        with one_pass(self._teacher_pass_groups, self._clips(self.teacher.spec), self.groups_per_pass) as pixels:
            self._answer(network, pixels)

    def _clips(self, spec: ModelSpec) -> Tensor:
        """A group of black clips in the form that a network receives."""
        recipe = self.members[0].recipe
        shape = (recipe.optim.group_size, recipe.data.num_frames, 3, spec.input_size, spec.input_size)
        return torch.zeros(shape, dtype=self.dtype, device=self.workers.device)

    def _answer(self, network: Forward, pixels: Tensor) -> ClipOutput:
        with torch.no_grad(), autocast(self.workers.device, self.autocast):
            return network(pixels).to(self.dtype)

    def live(self, step: int) -> list[Member]:
        return [member for member in self.members if member.is_live(step)]

    def step(self, step: int, groups: Sequence[Group]) -> StepReport:
        """Train every live member on this worker's groups of one global batch.

        If a pass with several groups runs out of memory, later passes have half as many groups, and members that have
        not finished their groups begin again. Raises torch.OutOfMemoryError if a single group is too much.
        """
        members = self.live(step)
        report = StepReport(student_s=dict.fromkeys((member.step_id for member in members), 0.0))
        for member in members:
            member.begin()
        unfinished = list(members)
        while unfinished:
            try:
                self._run_passes(unfinished, groups, step=step, report=report)
            except torch.OutOfMemoryError as error:
                self._take_fewer_groups(error)
                for member in unfinished:
                    member.begin_again()
        for member in members:
            started = time.perf_counter()
            member.await_reduction()
            waited = time.perf_counter()
            losses = member.finish_step(self.workers, step=step, num_groups=self.num_groups)
            report.all_reduce_s += waited - started
            report.student_s[member.step_id] += time.perf_counter() - waited
            if losses is not None:
                report.losses[member.step_id] = losses
            elif member.failure is None:
                report.skipped.append(member.step_id)
        return report

    def _run_passes(self, unfinished: list[Member], groups: Sequence[Group], *, step: int, report: StepReport) -> None:
        """Run all groups through these members, pass by pass.

        A member that has run its last group leaves ``unfinished``.
        """
        first_group = self.workers.rank * len(groups)
        for first in range(0, len(groups), self.groups_per_pass):
            some = groups[first : first + self.groups_per_pass]
            numbers = range(first_group + first, first_group + first + len(some))
            clips, labels = self._together([group.clips for group in some], [group.labels for group in some])
            inputs = ModelInputs(clips, device=self.workers.device, dtype=self.dtype)
            taught = None
            if any(member.recipe.has_teacher for member in unfinished):
                started = time.perf_counter()
                taught = self.teach(inputs, step=step, groups=numbers)
                report.teacher_s += time.perf_counter() - started
            is_last = first + len(some) == len(groups)
            for member in list(unfinished):
                started = time.perf_counter()
                member.run_groups(
                    inputs.of(member.recipe.model, member.model.normalisation),
                    labels,
                    taught,
                    step=step,
                    groups=numbers,
                )
                report.student_s[member.step_id] += time.perf_counter() - started
                if is_last:
                    member.start_reduction(self.workers, step=step)  # under the next member's compute
                    unfinished.remove(member)

    def _together(self, *groups: Sequence[Tensor]) -> list[Tensor]:
        """Each list as one tensor on the device.

        They are joined after the copy, since a joined tensor would not be pinned.
        """
        device = self.workers.device
        there = [[part.to(device, non_blocking=True) for part in parts] for parts in groups]
        return [parts[0] if len(parts) == 1 else torch.cat(parts) for parts in there]

    def _take_fewer_groups(self, error: torch.OutOfMemoryError) -> None:
        """Halve the number of groups per pass. With one group, raise the error."""
        if self.groups_per_pass == 1:
            raise error
        self.groups_per_pass //= 2
        logger.warning("out of memory; from now on %d groups in a pass: %s", self.groups_per_pass, error)
        if self.workers.device.type == "cuda":
            torch.cuda.empty_cache()

    def teach(self, inputs: ModelInputs, *, step: int, groups: Sequence[int]) -> ClipOutput:
        """The teacher's output on these groups, without gradient. Its draws are seeded by (data_seed, step, group)."""
        assert self.teacher is not None
        # By the data's seed: members share the teacher's answers and may differ in model_seed.
        seeds = [seed_of("teacher", self.members[0].recipe.data_seed, step, group) for group in groups]
        pixels = inputs.of(self.teacher.spec, self.teacher.model.normalisation)
        if len(seeds) > 1 and self._teacher_pass_groups is not None:
            try:
                with self._teacher_pass_groups.of(seeds, device=self.workers.device):
                    return self._answer(self._teach, pixels)
            except CannotGroup as reason:
                logger.warning("the teacher goes on with one group in a pass: %s", reason)
                self._teacher_pass_groups = None
        outputs = []
        for seed, part in zip(seeds, pixels.chunk(len(seeds)), strict=True):
            torch.manual_seed(seed)
            outputs.append(self._answer(self._teach, part))
        if len(outputs) == 1:
            return outputs[0]
        return ClipOutput(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))


def _check_teachable(member: Member, teacher: Teacher | None) -> None:
    if not member.recipe.has_teacher:
        return
    if teacher is None:
        raise BadInput(f"step {member.step_id} has kd.level {member.recipe.kd.level!r} but no teacher was given")
    num_frames = member.recipe.data.num_frames
    ours, theirs = (
        LastMap(model.num_features, model.num_time_cells(num_frames)) for model in (member.model, teacher.model)
    )
    names = {"student": member.recipe.model.name, "teacher": teacher.spec.name}
    try:
        require_mean(member.recipe.kd, teacher.spec, who="the teacher")
        check_maps(member.recipe.kd.level, ours, theirs, num_frames=num_frames, **names)
    except BadInput as error:
        raise BadInput(f"step {member.step_id}: {error}") from error
