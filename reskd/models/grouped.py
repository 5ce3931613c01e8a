"""Runs several groups in one pass. Each group keeps its own batch-norm statistics and its own random draws.

A group's output depends on that group only. So one pass over G groups equals G passes up to rounding. Batch norm and
random layers work group by group; all other layers (convolutions, which take most of the time) see one large batch. The
groups of a pass have equal size and lie one after another along the first axis (clips, frames of clips, windows of
frames). Every layer keeps this order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torchvision.ops import StochasticDepth

logger = logging.getLogger(__name__)

DROP_RATES = ("dropout", "attention_dropout", "drop_prob")
"""Attributes that hold a dropout rate used by a function instead of a layer, in torch, torchvision and timm."""


class CannotGroup(Exception):
    """The reason why a network can take only one group per pass."""


@dataclass(eq=False)
class PassGroups:
    """The groups of the current pass. All grouped layers of one model share this object."""

    norms: list[GroupedBatchNorm] = field(default_factory=list)
    statistics: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    """After a pass: each group's new running statistics, (G, all channels), in the order of the model's float
    buffers."""
    is_open: bool = False
    num_groups: int = 1
    _states: list[Tensor] = field(default_factory=list)
    _device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @contextmanager
    def of(self, seeds: Sequence[int], *, device: torch.device) -> Iterator[None]:
        """Context for a forward of ``len(seeds)`` groups. Group g draws as after ``torch.manual_seed(seeds[g])``.

        The model's running statistics do not change; `statistics` has those of each group. Raises CannotGroup if a
        layer that is not known to be random drew from torch's generator. The output is then wrong.
        """
        self._device, self.num_groups, self.is_open = device, len(seeds), True
        self._states = [self._seeded(seed) for seed in seeds]
        self._begin()
        before = self._state
        try:
            yield
        finally:
            self.is_open, self.num_groups = False, 1
        if not torch.equal(before, self._state):
            raise CannotGroup("a layer that is not known to draw has drawn random numbers for all groups at once")

    def _begin(self) -> None:
        """Start every group from the current running statistics."""
        running = [part for norm in self.norms for part in norm.running]
        if not running:
            self.statistics = torch.zeros(self.num_groups, 0, device=self._device)
            return
        self.statistics = torch.cat(running).repeat(self.num_groups, 1)
        parts = iter(self.statistics.split([part.numel() for part in running], dim=1))
        for norm in self.norms:
            norm.statistics = tuple(next(parts) for _ in norm.running)

    def each(self, layer: nn.Module, values: Tensor) -> Tensor:
        """Run a random layer on each group in turn, with the group's own generator state."""
        outside, outputs = self._state, []
        for group, part in enumerate(self.parts(values)):
            self._state = self._states[group]
            outputs.append(layer(part))
            self._states[group] = self._state
        self._state = outside
        return torch.cat(outputs)

    def parts(self, values: Tensor) -> tuple[Tensor, ...]:
        """(G * n, ...) -> G tensors (n, ...). The backward of split is one copy; slices would fill G whole tensors."""
        if values.shape[0] % self.num_groups:
            raise CannotGroup(
                f"a layer's first axis of {values.shape[0]} does not divide into {self.num_groups} groups"
            )
        return values.split(values.shape[0] // self.num_groups)

    def _seeded(self, seed: int) -> Tensor:
        torch.manual_seed(seed)
        return self._state

    @property
    def _state(self) -> Tensor:
        """State of the default generator on the model's device."""
        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else torch.get_rng_state()

    @_state.setter
    def _state(self, state: Tensor) -> None:
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.set_rng_state(state)


class GroupedBatchNorm(_BatchNorm):
    """A batch norm that normalises each group of a pass separately. It has the tensors of the layer that it replaces.

    Outside of a pass, and with running statistics in eval mode, it works as the replaced layer.
    """

    def __init__(self, norm: _BatchNorm, *, pass_groups: PassGroups) -> None:
        super().__init__(
            norm.num_features,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
            device="meta",  # no memory is used; the replaced layer's tensors are set below
        )
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training
        self.pass_groups = pass_groups
        self.statistics: tuple[Tensor, ...] = ()
        """In a pass and after it: each group's running mean and variance, (G, C) each; empty where none are tracked."""

    @property
    def running(self) -> tuple[Tensor, ...]:
        """The running mean and variance; empty where none are tracked."""
        return () if self.running_mean is None or self.running_var is None else (self.running_mean, self.running_var)

    def forward(self, values: Tensor) -> Tensor:
        """(G * n, C, ...) -> the same shape."""
        if not self.pass_groups.is_open or not (self.training or self.running_mean is None):
            return super().forward(values)
        assert self.momentum is not None
        mean, var = self.statistics or (None, None)
        outputs = [
            F.batch_norm(
                part,
                None if mean is None else mean[group],
                None if var is None else var[group],
                self.weight,
                self.bias,
                training=True,
                momentum=self.momentum,
                eps=self.eps,
            )
            for group, part in enumerate(self.pass_groups.parts(values))
        ]
        return torch.cat(outputs)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of axes, since it replaces 1-D, 2-D and 3-D layers."""


class GroupedDraw(nn.Module):
    """A dropout or drop path that draws for each group of a pass with that group's generator state."""

    def __init__(self, layer: nn.Module, *, pass_groups: PassGroups) -> None:
        super().__init__()
        self.layer = layer
        self.training = layer.training
        self.pass_groups = pass_groups

    def forward(self, values: Tensor) -> Tensor:
        if not (self.pass_groups.is_open and self.training):
            output: Tensor = self.layer(values)
            return output
        return self.pass_groups.each(self.layer, values)


def group_layers(model: nn.Module) -> PassGroups:
    """Prepare a model for several groups per pass, in place. Its tensors keep their names and order.

    Raises CannotGroup, and leaves the model unchanged, if a layer cannot treat groups separately.
    """
    reason = why_not(model)
    if reason is not None:
        raise CannotGroup(reason)
    pass_groups = PassGroups()
    made: dict[nn.Module, nn.Module] = {}  # a layer may be held under several names
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, _BatchNorm) and module not in made:
            norm = made[module] = GroupedBatchNorm(module, pass_groups=pass_groups)
            pass_groups.norms.append(norm)
        elif _rate(module) > 0 and module not in made:
            made[module] = GroupedDraw(module, pass_groups=pass_groups)
        if module in made:
            model.set_submodule(name, made[module])
    return pass_groups


def group_layers_or_none(model: nn.Module, *, who: str) -> PassGroups | None:
    """`group_layers`; None, with the reason in the log, if the model can take only one group per pass."""
    try:
        return group_layers(model)
    except CannotGroup as reason:
        logger.warning("%s takes one group in a pass: %s", who, reason)
        return None


@contextmanager
def one_pass(pass_groups: PassGroups | None, clips: Tensor, num_groups: int) -> Iterator[Tensor]:
    """Context for a trial pass: the clips of one group repeated ``num_groups`` times, or once without groups."""
    if pass_groups is None:
        yield clips
        return
    with pass_groups.of(range(num_groups), device=clips.device):
        yield torch.cat([clips] * num_groups)


def why_not(model: nn.Module) -> str | None:
    """The first layer that prevents several groups per pass, and why; None if there is none."""
    for name, module in model.named_modules():
        kind = f"{name} ({type(module).__name__})"
        if isinstance(module, GroupedBatchNorm):
            return "it has been made to already"
        if isinstance(module, _BatchNorm):
            if type(module) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                return f"{kind} is a batch norm of another kind than torch's own"
            if module.momentum is None:
                return f"{kind} averages over all batches so far"
        elif not _rate(module):
            rates = {rate: getattr(module, rate, None) for rate in DROP_RATES}
            drawing = [f"{rate} {value:g}" for rate, value in rates.items() if isinstance(value, float) and value > 0]
            if drawing:
                return f"{kind} draws by itself ({drawing[0]})"
    return None


def _rate(module: nn.Module) -> float:
    """The rate of a pure dropout layer; 0 for any other layer."""
    if isinstance(module, _DropoutNd | StochasticDepth):
        return float(module.p)
    # timm's DropPath is found by its name, since timm is not imported here.
    return float(getattr(module, "drop_prob", 0.0) or 0.0) if type(module).__name__ == "DropPath" else 0.0
