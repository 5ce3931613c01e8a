"""One model in training inside a cohort: its optimiser, its batch-norm buffers, and one flat vector.

The workers sum this vector once per training step::

    [ gradients | sums of batch-norm statistics | task loss | kd loss | failed ]

`p.grad` of every parameter is a view of it. torch's DistributedDataParallel is not used, for two reasons. It rebuilds
its buckets after the first step, so with three or more workers a resume would change bits. And an exception in one
worker's backward would kill the whole job instead of one member.
"""

from __future__ import annotations

import copy
import logging
import math
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reskd.data.sampling import seed_of
from reskd.distill.losses import TERMS, Answer
from reskd.models.catalogue import build_model
from reskd.models.compiled import Forward, compiled
from reskd.models.grouped import CannotGroup, PassGroups, group_layers_or_none, one_pass
from reskd.models.memory_format import flatten_buffers, in_fast_memory_format, vector_views
from reskd.models.video_model import ClipOutput
from reskd.recipe import Recipe
from reskd.runtime.loader_errors import refuse_loss
from reskd.runtime.precision import MAX_OVERFLOWS, LossScaler, autocast, autocast_dtype, dtype_of
from reskd.runtime.workers import Workers
from reskd.training.optimizer import build_optimizer
from reskd.training.schedule import learning_rate

logger = logging.getLogger(__name__)

NUM_TAIL = 3  # task loss, kd loss, failed


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a member left its cohort."""

    step: int
    reason: str
    traceback: str


class Member:
    """A student, a baseline or a future teacher; they differ in `recipe.kd.level` only. An imported model takes no
    training step."""

    def __init__(
        self, step_id: str, recipe: Recipe, *, num_classes: int, steps_per_epoch: int, device: torch.device
    ) -> None:
        self.step_id = step_id
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.failure: Failure | None = None
        self.scaler = LossScaler() if recipe.precision == "fp16" else None
        self._pass_groups: PassGroups | None = None
        self.teacher_classifier: nn.Linear | None = None  # set by the cohort; a loss term may use it
        self._error: Failure | None = None
        torch.manual_seed(seed_of("init", recipe.model_seed))
        model = build_model(recipe.model, num_classes=num_classes, num_frames=recipe.data.num_frames)
        self.model = in_fast_memory_format(model.to(device, dtype_of(recipe)).train())
        self._forward: Forward = self.model
        self.parameters = list(self.model.parameters())
        self.optimizer = build_optimizer(recipe.optim, self.model)
        # Of the buffers only these change; others are constants of the network.
        norms = [module for module in self.model.modules() if isinstance(module, _BatchNorm)]
        self._statistics, self._counters = flatten_buffers(norms, dtype=dtype_of(recipe), device=device)
        self._build_vector(device)
        self._unused: set[str] | None = {name for name, _ in self.model.named_parameters()}
        self._watch = [
            parameter.register_post_accumulate_grad_hook(lambda _, name=name: self._seen(name))
            for name, parameter in self.model.named_parameters()
        ]

    def _build_vector(self, device: torch.device) -> None:
        num_gradients = sum(parameter.numel() for parameter in self.parameters)
        size = num_gradients + self._statistics.numel() + NUM_TAIL
        self.vector = torch.zeros(size, dtype=dtype_of(self.recipe), device=device)
        self._gradients = self.vector[:num_gradients]
        self._losses = self.vector[-NUM_TAIL:-1]
        for parameter, gradient in zip(self.parameters, vector_views(self._gradients, self.parameters), strict=True):
            parameter.grad = gradient
        self._sums = self.vector[num_gradients:-NUM_TAIL]

    def _seen(self, name: str) -> None:
        if self._unused is not None:
            self._unused.discard(name)

    @property
    def num_steps(self) -> int:
        return self.recipe.num_epochs * self.steps_per_epoch

    def is_live(self, step: int) -> bool:
        return self.failure is None and step < self.num_steps

    def begin(self) -> None:
        """Prepare for the first group of a training step."""
        self._old_statistics, self._old_counters = self._statistics.clone(), self._counters.clone()
        self._error = None
        self.vector.zero_()

    def begin_again(self) -> None:
        """Undo the groups of this training step so far."""
        self._restore_buffers()
        self._error = None
        self.vector.zero_()

    def _restore_buffers(self) -> None:
        self._statistics.copy_(self._old_statistics)
        self._counters.copy_(self._old_counters)

    def take_groups(self) -> None:
        """Let `run_groups` run several groups in one pass, if the network can."""
        self._pass_groups = group_layers_or_none(self.model, who=f"step {self.step_id}")

    def compile(self, clips: Tensor, *, num_groups: int) -> None:
        """Use torch.compile for forward and backward, if it works. clips: one group; ``num_groups`` of them go into one
        pass.
        """

        def learn(network: Forward) -> None:
            with (
                one_pass(self._pass_groups, clips, num_groups) as pixels,
                autocast(clips.device, autocast_dtype(self.recipe)),
            ):
                output = network(pixels)
            torch.stack([part.float().sum() for part in output]).sum().backward()

        unused = copy.copy(self._unused)  # the trial does not show which parameters the losses reach
        self.begin()
        self._forward = compiled(self.model, trial=learn, who=f"step {self.step_id}")
        self.begin_again()
        self._unused = unused

    def run_groups(
        self, pixels: Tensor, labels: Tensor, taught: ClipOutput | None, *, step: int, groups: Sequence[int]
    ) -> None:
        """`run_group` for several consecutive groups of equal size.

        If possible in one pass, which is equal up to rounding.
        """
        if len(groups) > 1 and self._pass_groups is not None and self._error is None:
            try:
                self._run_pass(self._pass_groups, pixels, labels, taught, step=step, groups=groups)
                return
            except CannotGroup as reason:  # before any gradient
                logger.warning("step %s goes on with one group in a pass: %s", self.step_id, reason)
                self._pass_groups = None
        for number, group in enumerate(groups):
            part = None if taught is None else ClipOutput(*(each.chunk(len(groups))[number] for each in taught))
            own = pixels.chunk(len(groups))[number], labels.chunk(len(groups))[number]
            self.run_group(*own, part, step=step, group=group)

    def _run_pass(
        self,
        pass_groups: PassGroups,
        pixels: Tensor,
        labels: Tensor,
        taught: ClipOutput | None,
        *,
        step: int,
        groups: Sequence[int],
    ) -> None:
        seeds = [seed_of("student", self.recipe.model_seed, step, group) for group in groups]
        pass_of_groups = pass_groups.of(seeds, device=pixels.device)
        if not self._learn(pixels, labels, taught, step=step, num_groups=len(groups), inside=pass_of_groups):
            return
        if self.recipe.optim.running_stats == "mean":
            self._sums += pass_groups.statistics.sum(dim=0)
        elif groups[0] == 0:
            self._sums += pass_groups.statistics[0]

    def run_group(self, pixels: Tensor, labels: Tensor, taught: ClipOutput | None, *, step: int, group: int) -> None:
        """Forward and backward of one group. Its gradient is added to the vector; an exception is stored, not raised.

        pixels: (B, T, 3, r, r); labels: (B,) int64; taught: the teacher's output on the same clips.
        """
        if self._error is not None:
            return
        self._statistics.copy_(self._old_statistics)  # each group starts from the step's old running statistics
        torch.manual_seed(seed_of("student", self.recipe.model_seed, step, group))
        if not self._learn(pixels, labels, taught, step=step, num_groups=1, inside=nullcontext()):
            return
        if self.recipe.optim.running_stats == "mean" or group == 0:
            self._sums += self._statistics

    def _learn(
        self,
        pixels: Tensor,
        labels: Tensor,
        taught: ClipOutput | None,
        *,
        step: int,
        num_groups: int,
        inside: AbstractContextManager[None],
    ) -> bool:
        """Forward (inside the context ``inside``) and backward. Returns False if an exception was stored.

        CannotGroup and out-of-memory errors are raised: they can be solved by fewer groups per pass or fewer members.
        """
        try:
            with inside:
                task_loss, kd_loss = self.losses(pixels, labels, taught)
            # Each loss is a mean over the pass; the sum over its groups is needed.
            loss = (task_loss + self.recipe.kd.effective_weight * kd_loss) * num_groups
            (loss if self.scaler is None else loss * self.scaler.scale).backward()
        except (CannotGroup, torch.OutOfMemoryError):
            raise
        except Exception as error:
            refuse_loss(error)
            # Any other error is this member's own; the others continue.
            self._error = Failure(step, f"{type(error).__name__}: {error}", traceback.format_exc())
            return False
        self._losses += num_groups * torch.stack([task_loss.detach(), kd_loss.detach()])
        return True

    def losses(self, pixels: Tensor, labels: Tensor, taught: ClipOutput | None) -> tuple[Tensor, Tensor]:
        """Scalars: the network's own loss on the labels, and the distillation term without its weight."""
        kd = self.recipe.kd
        with autocast(pixels.device, autocast_dtype(self.recipe)):
            output = self._forward(pixels)
        output = output.to(self.vector.dtype)
        task_loss = self.model.task_loss(output, labels)
        if not self.recipe.has_teacher:
            return task_loss, torch.zeros_like(task_loss)
        assert taught is not None
        assert self.teacher_classifier is not None
        student, teacher = Answer(output, self.model.classifier), Answer(taught, self.teacher_classifier)
        return task_loss, TERMS[kd.level](student, teacher, kd)

    def start_reduction(self, workers: Workers, *, step: int) -> None:
        """Start to sum the vector after the last group.

        Every member does it, even a failed one, since other workers wait for it.
        """
        self._check_all_used(step)
        if self._error is not None:
            self.vector.zero_()
            self.vector[-1] = 1
        self._reduction = workers.start_sum(self.vector)

    def await_reduction(self) -> None:
        """Wait until the vector is the sum over all workers."""
        self._reduction.wait()

    def _check_all_used(self, step: int) -> None:
        """After the first training step, fail if a parameter got no gradient: it would only decay."""
        if self._unused is None:
            return
        if self._unused and self._error is None:
            reason = (
                f"no gradient reached {sorted(self._unused)} of {self.recipe.model.name}; every parameter must be used"
            )
            self._error = Failure(step, reason, reason)
        self._unused = None
        for handle in self._watch:
            handle.remove()

    def finish_step(self, workers: Workers, *, step: int, num_groups: int) -> tuple[float, float] | None:
        """Take the optimiser step on the reduced vector. Returns the mean (task loss, kd loss).

        None if the member leaves here or, with fp16, skips the step.
        """
        if self.vector[-1] > 0:
            errors = [error for error in workers.gather(self._error) if error is not None]
            self.leave(errors[0])
            return None
        self._gradients /= num_groups * (1.0 if self.scaler is None else self.scaler.scale)
        norm = float(torch.linalg.vector_norm(self._gradients))
        if not math.isfinite(norm) and self.scaler is not None:
            self._skip(self.scaler, step)
            return None
        if not math.isfinite(norm):
            reason = f"the gradient's norm is {norm} at step {step}; lower optim.lr or set optim.clip_norm"
            self.leave(Failure(step, reason, reason))
            return None
        limit = self.recipe.optim.clip_norm
        if limit is not None and norm > limit:
            self._gradients *= limit / (norm + 1e-6)
        self._write_statistics(1 if self.recipe.optim.running_stats == "first" else num_groups)
        rate = learning_rate(self.recipe.optim, step, steps_per_epoch=self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)  # older checkpoints have no factor
        self.optimizer.step()
        if self.scaler is not None:
            self.scaler.took()
        task_loss, kd_loss = (self._losses / num_groups).tolist()
        return task_loss, kd_loss

    def _skip(self, scaler: LossScaler, step: int) -> None:
        """Undo the training step, except for the loss scale.

        All workers do the same, since they see the same reduced vector.
        """
        self._restore_buffers()
        scaler.overflowed()
        if scaler.is_hopeless:
            reason = (
                f"the fp16 gradient overflowed {MAX_OVERFLOWS} steps in a row, the last at step {step}, down to a loss "
                f"scale of {scaler.scale:g}; lower optim.lr or set precision to bf16 or fp32"
            )
            self.leave(Failure(step, reason, reason))

    def leave(self, failure: Failure) -> None:
        """Take no further training steps."""
        self.failure = failure
        self.optimizer.state.clear()  # frees its memory for the remaining members

    def _write_statistics(self, divisor: int) -> None:
        self._statistics.copy_(self._sums / divisor)
        self._counters.copy_(self._old_counters + 1)  # one training step, whatever its number of groups

    def state(self) -> dict[str, Any]:
        """Everything that a resume needs, except the data's seeds. The teacher is not in it."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state if self.scaler is None else state | {"scaler": self.scaler.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state(state["scaler"])
