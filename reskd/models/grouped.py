"""Several groups in one pass: each with its own batch-norm statistics and its own random draws.

A group's answer depends on that group alone, so that one pass over G groups gives what G passes give, to rounding.
Batch norm runs group by group inside the pass, and so does whatever draws; all else (the convolutions, where the time
goes) sees one large batch. Groups of a pass are equally large and lie one after another along the first axis, of which
every layer keeps the order: clips, frames of clips, windows of frames.
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
"""Attributes in which networks of torch, torchvision and timm keep the rate of a dropout that is no layer."""


class CannotGroup(Exception):
    """Why a network can only take one group in a pass."""


@dataclass(eq=False)
class PassGroups:
    """The groups of the pass at hand, known to every grouped layer of one model; outside of a pass there are none."""

    norms: list[GroupedBatchNorm] = field(default_factory=list)
    is_open: bool = False
    num_groups: int = 1
    _states: list[Tensor] = field(default_factory=list)
    _device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @contextmanager
    def of(self, seeds: Sequence[int], *, device: torch.device) -> Iterator[None]:
        """A forward inside takes ``len(seeds)`` groups; group g draws as after ``torch.manual_seed(seeds[g])``.

        The model's running statistics stay as they are; `statistics` has each group's. Raises CannotGroup when the
        forward drew from torch's generator by another way than a layer known to draw: then its answer is wrong.
        """
        self._device, self.num_groups, self.is_open = device, len(seeds), True
        self._states = [self._seeded(seed) for seed in seeds]
        for norm in self.norms:
            norm.begin()
        before = self._state
        try:
            yield
        finally:
            self.is_open, self.num_groups = False, 1
        if not torch.equal(before, self._state):
            raise CannotGroup("a layer that is not known to draw has drawn random numbers for all groups at once")

    def statistics(self) -> list[Tensor]:
        """After a pass: each group's new running statistics, (G, C), in the order of the model's floating buffers."""
        return [part for norm in self.norms for part in norm.statistics]

    def each(self, layer: nn.Module, values: Tensor) -> Tensor:
        """A layer that draws, on every group in turn, each with its own generator."""
        outside, outputs = self._state, []
        for group, part in enumerate(self.parts(values)):
            self._state = self._states[group]
            outputs.append(layer(part))
            self._states[group] = self._state
        self._state = outside
        return torch.cat(outputs)

    def parts(self, values: Tensor) -> tuple[Tensor, ...]:
        """(G * n, ...) -> G of (n, ...). By split, whose backward is one copy; that of slices fills G whole tensors."""
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
        """The default generator's, on the model's device."""
        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else torch.get_rng_state()

    @_state.setter
    def _state(self, state: Tensor) -> None:
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.set_rng_state(state)


class GroupedBatchNorm(_BatchNorm):
    """A batch norm that normalises each group of a pass by itself; with the very tensors of the one it stands for.

    Outside of a pass, and with running statistics in eval mode, it is the layer that it was.
    """

    def __init__(self, norm: _BatchNorm, *, pass_groups: PassGroups) -> None:
        super().__init__(
            norm.num_features,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
            device="meta",  # nothing is filled; the tensors move in
        )
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training
        self.pass_groups = pass_groups
        self.statistics: tuple[Tensor, ...] = ()
        """In a pass and after it: each group's running mean and variance, (G, C) each; empty where none are tracked."""

    def begin(self) -> None:
        """Every group starts from the running statistics of now."""
        running = () if self.running_mean is None or self.running_var is None else (self.running_mean, self.running_var)
        self.statistics = tuple(part.repeat(self.pass_groups.num_groups, 1) for part in running)

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
        """Any number of axes: it stands for 1-D, 2-D and 3-D layers."""


class GroupedDraw(nn.Module):
    """A dropout or drop path that draws for each group of a pass from that group's generator."""

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
    """Let a model take several groups in a pass, in place; its tensors, their names and their order stay.

    Raises CannotGroup, and leaves the model as it is, where it holds a layer whose groups cannot be told apart.
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
    """`group_layers`, or None with the reason in the log, where the model is to go on with one group in a pass."""
    try:
        return group_layers(model)
    except CannotGroup as reason:
        logger.warning("%s takes one group in a pass: %s", who, reason)
        return None


@contextmanager
def one_pass(pass_groups: PassGroups | None, clips: Tensor, num_groups: int) -> Iterator[Tensor]:
    """A pass, to try a network with: the clips of one group so many times over, or once where it takes one group."""
    if pass_groups is None:
        yield clips
        return
    with pass_groups.of(range(num_groups), device=clips.device):
        yield torch.cat([clips] * num_groups)


def why_not(model: nn.Module) -> str | None:
    """The first layer that keeps a model from taking several groups in a pass, and why; None where nothing does."""
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
    """The share that a pure dropout layer drops; 0 for any other layer."""
    if isinstance(module, _DropoutNd | StochasticDepth):
        return float(module.p)
    # timm's, without importing timm, has no type to ask for.
    return float(getattr(module, "drop_prob", 0.0) or 0.0) if type(module).__name__ == "DropPath" else 0.0
