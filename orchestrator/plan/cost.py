"""Estimates what a job costs on a device: layer shapes -> operations and bytes -> seconds and memory. Runs nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import cache

from orchestrator.plan.device_profiles import ClipKind, DeviceProfile, Mode
from orchestrator.plan.network_facts import remembered
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Resources
from reskd.cost.layers import Layer, Trace
from reskd.files import Json
from reskd.recipe import ModelSpec, Precision, Recipe

BYTES: dict[Precision, int] = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp64": 8}
"""Bytes per activation, by precision."""
FRAMES_OF_DECODE = 16
"""Number of frames in the clip that a profile's decode_core_ms refers to."""
SHARE_OF_MEMORY = 0.8
"""Largest share of a device's memory that an estimate may fill; kernels need workspaces too."""
MAX_CLIPS_OF_A_PASS = 64
"""64 clips of 16 frames are 1,024 frames: the batch of `reskd.cost.roofline`."""
UNCERTAINTY = (0.75, 1.5)
"""Range around an estimate before any finished job corrects it. It corresponds to efficiencies of 0.8 and 0.4 around
0.6."""


@dataclass(frozen=True, slots=True)
class ClipCounts:
    """Number of clips in each split of a data set."""

    train: int
    val: int


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEstimate:
    """The expected cost of a job."""

    seconds: float
    device_seconds: float
    """Seconds of all its devices added up; for a cpu, of all its cores."""
    memory_bytes: float
    """Memory of one worker's device, with one group per pass."""
    step_ms: float
    """Milliseconds of one training step in its first epoch, for all members together."""
    bound: str
    """What limits a training step: compute, decode or launches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Estimates for one device. The same arguments give the same estimates."""

    device: str
    """The profile's name."""
    profile: DeviceProfile
    clips: Callable[[Step], ClipCounts]
    clip_kinds: Mapping[str, ClipKind] = field(default_factory=dict)
    """Kind of the clips by data.name; packed if it is not there."""
    factor: float = 1.0
    """Measured / estimated seconds of finished jobs on such a device; it multiplies each estimate."""
    num_corrected: int = 0
    """Number of finished jobs behind the factor."""
    spread: tuple[float, float] = UNCERTAINTY
    """Factors that give the range around an estimate."""
    is_guess: bool = False
    """Whether the device was neither found nor named."""
    notes: tuple[str, ...] = field(default=())
    """The assumptions of the figures."""

    def devices_of(self, workers: int, resources: Resources) -> float:
        """Number of devices that a job holds: GPUs, or for a cpu its cores."""
        return workers * self._devices_of_worker(resources)

    def _devices_of_worker(self, resources: Resources) -> float:
        return resources.cpus_per_worker if self.profile.kind == "cpu" else resources.gpus_per_worker or 1.0

    def job(self, steps: Sequence[Step], *, workers: int, resources: Resources, resume_from: int = 0) -> JobEstimate:
        """The estimate for a job of these steps on workers that run, starting after epoch ``resume_from``.

        The steps must fit into one cohort. The seconds are those of all epochs of training, of validations, and of the
        final test. A training step takes max(teacher's forward + training of all members, decode, launches). Without
        loader processes, the worker decodes itself, and the decode time is added. Communication is counted as free.
        """
        recipe = steps[0].recipe
        clips = self.clips(steps[0])
        num_steps = clips.train / recipe.optim.batch_size
        steps_per_epoch = max(1, num_steps if recipe.optim.keeps_last else math.floor(num_steps))
        speed = self._devices_of_worker(resources)
        seconds, first, done, bound = self.profile.next_job_s, None, 0, "compute"
        left = {step.id: _epochs_left(step.recipe, resume_from) for step in steps}
        for until in sorted(set(left.values()) - {0}):
            live = [step.recipe for step in steps if left[step.id] >= until]
            step_s, waits_for = self._step(live, workers=workers, resources=resources, speed=speed)
            if first is None:
                first, bound = step_s, waits_for
            seconds += (until - done) * steps_per_epoch * step_s
            done = until
        for step in steps:
            validations = left[step.id] // step.recipe.eval.every + step.recipe.test_protocol.num_forwards
            seconds += validations * clips.val / workers * self._judged_clip(step.recipe, resources, speed=speed)
        seconds *= self.factor
        return JobEstimate(
            seconds=seconds,
            device_seconds=seconds * self.devices_of(workers, resources),
            memory_bytes=self.memory(steps),
            step_ms=1000 * self.factor * (first or 0.0),
            bound=bound,
        )

    def _step(
        self, recipes: Sequence[Recipe], *, workers: int, resources: Resources, speed: float
    ) -> tuple[float, str]:
        """Seconds of one training step of these members on one worker's groups, and what limits it."""
        optim = recipes[0].optim
        compute, launches = self._device_seconds(recipes, groups=max(1, optim.num_groups // workers))
        compute /= speed
        decode = optim.batch_size / workers * self._decode_s(recipes[0]) / max(1, resources.num_loaders)
        found = {"compute": compute, "launches": launches, "decode": decode}
        bound = max(found, key=lambda name: found[name])
        if resources.num_loaders == 0:
            return max(compute, launches) + decode, bound
        return found[bound], bound

    def _device_seconds(self, recipes: Sequence[Recipe], *, groups: int) -> tuple[float, float]:
        """Seconds of one device in one training step: (for computing, for starting the kernels)."""
        compute, kernels = 0.0, 0
        for spec, num_frames, mode in passes(recipes):
            size = recipes[0].optim.group_size
            compute += groups * self.pass_seconds(spec, num_frames, size, recipes[0].precision, mode)
            kernels += groups * num_kernels(network_key(spec, num_frames), mode)
        # The optimiser reads weight, gradient and moment of each parameter, and writes two of them.
        numbers = sum(_trace(recipe.model, num_frames=recipe.data.num_frames).num_params for recipe in recipes)
        return compute + 20 * numbers / self.profile.bytes_per_s, kernels * self.profile.launch_s

    def clips_per_s(self, recipe: Recipe) -> float:
        """Clips per second that one device trains this recipe on, alone, if decoding is never the limit."""
        return recipe.optim.batch_size / max(self._device_seconds([recipe], groups=recipe.optim.num_groups))

    def pass_seconds(self, spec: ModelSpec, num_frames: int, num_clips: int, precision: Precision, mode: Mode) -> float:
        """Seconds of one device for one pass of a network over this many clips."""
        peak, moved = self.profile.flops[precision], self.profile.bytes_per_s
        ideal = roofline_seconds(network_key(spec, num_frames), num_clips, BYTES[precision], mode, peak, moved)
        return ideal / self.profile.efficiency[mode]

    def _decode_s(self, recipe: Recipe) -> float:
        """Core-seconds to decode one clip."""
        kind = self.clip_kinds.get(recipe.data.name, "packed")
        return self.profile.decode_core_ms[kind] / 1000 * recipe.data.num_frames / FRAMES_OF_DECODE

    def _judged_clip(self, recipe: Recipe, resources: Resources, *, speed: float) -> float:
        """Seconds of one worker to decode and classify one validation clip.

        The teacher's logits, made once per job, are ignored.
        """
        optim, num_frames = recipe.optim, recipe.data.num_frames
        forward = self.pass_seconds(recipe.model, num_frames, optim.group_size, recipe.precision, "eval")
        launches = num_kernels(network_key(recipe.model, num_frames), "eval") * self.profile.launch_s
        decode = self._decode_s(recipe) / max(1, resources.num_loaders)
        return max(max(forward / speed, launches) / optim.group_size, decode)

    def memory(self, steps: Sequence[Step], *, groups_per_pass: int = 1) -> float:
        """Bytes on one device for these members.

        They are: the members' states, the teacher's weights and outputs of one pass, and the largest member's
        activations of one pass; of an imported model, those of its largest layer. Workspaces of kernels are not
        included.
        """
        recipe = steps[0].recipe
        optim = recipe.optim
        size, group = BYTES[recipe.precision], optim.group_size * groups_per_pass
        traces = {
            (network_key(spec, num_frames), mode): _trace(spec, num_frames=num_frames)
            for spec, num_frames, mode in passes([step.recipe for step in steps])
        }
        members = [_trace(step.recipe.model, num_frames=recipe.data.num_frames) for step in steps]
        # A test goes group by group, and a layer's input and output are gone after the next one.
        held = [
            optim.group_size * max(layer.inputs + layer.outputs for layer in network.layers)
            if step.recipe.is_imported
            else group * network.saved
            for network, step in zip(members, steps, strict=True)
        ]
        state = sum(
            network.num_params * _state_bytes(step.recipe) for network, step in zip(members, steps, strict=True)
        )
        taught = sum(
            size * (network.num_params + group * network.features)
            for (_, mode), network in traces.items()
            if mode != "train"
        )
        return state + taught + size * max(held)

    def groups_per_pass(self, steps: Sequence[Step], *, beside: int, workers: int) -> int:
        """The largest number of groups per pass, a power of two, for which each step fits into memory in a full cohort.

        The cohort has ``beside`` members like the step itself. The result is 1 if the device's memory is not known.
        """
        limit = self.profile.memory_bytes
        alike = {(step.recipe.model, step.recipe.kd.level, step.teacher_id, step.recipe.optim): step for step in steps}
        most, number = max((step.recipe.optim.num_groups // workers for step in steps), default=1), 1
        while (
            limit is not None
            and 2 * number <= most
            and all(
                2 * number * step.recipe.optim.group_size <= MAX_CLIPS_OF_A_PASS
                and self.memory([step] * beside, groups_per_pass=2 * number) <= SHARE_OF_MEMORY * limit
                for step in alike.values()
            )
        ):
            number *= 2
        return number

    def fits(self, steps: Sequence[Step]) -> bool:
        limit = self.profile.memory_bytes
        return limit is None or self.memory(steps) <= limit


def _epochs_left(recipe: Recipe, resume_from: int) -> int:
    """Epochs to train after ``resume_from``; at least one, except for an imported model, which is tested only."""
    return 0 if recipe.is_imported else max(1, recipe.num_epochs - resume_from)


def _state_bytes(recipe: Recipe) -> int:
    """Bytes per parameter for weight, gradient, the optimiser's moments, and a copy in the type of the computation.

    An imported model takes no training step, so it has no moments.
    """
    full = 8 if recipe.precision == "fp64" else 4
    copy = BYTES[recipe.precision] if recipe.precision in ("bf16", "fp16") else 0
    num_moments = 0 if recipe.is_imported else 2 if recipe.optim.name == "adamw" else 1
    return full * (2 + num_moments) + copy


def passes(recipes: Sequence[Recipe]) -> Iterator[tuple[ModelSpec, int, Mode]]:
    """(network, frames, mode) of each pass over one group: the teacher's, if any, and one for each member."""
    taught = next((recipe for recipe in recipes if recipe.has_teacher), None)
    if taught is not None:
        # A checkpoint's network is unknown until it is opened. The student's network on the whole crop is assumed.
        own = ModelSpec(name=taught.model.name, resolution=taught.data.crop_size)
        spec = taught.teacher.model if isinstance(taught.teacher, Recipe) else own
        yield spec, taught.data.num_frames, "eval" if taught.kd.teacher_mode == "eval" else "batch"
    for recipe in recipes:
        yield recipe.model, recipe.data.num_frames, "train"


def kernel_passes(layer: Layer, mode: Mode) -> Iterator[tuple[float, int, int]]:
    """(operations, elements of activations, elements of weights) for each time that a layer reads and writes its data.

    Good kernels are assumed: ReLU and residual addition are fused into the kernel before them, which reads the
    residual. Batch norm is folded in mode `eval`. Otherwise it reads twice and writes once; its backward reads four
    times and writes once.
    """
    moved = layer.inputs + layer.outputs
    if layer.kind == "product":
        for _ in range(3 if mode == "train" else 1):  # backward: for the input and for the weights
            yield layer.flops, moved, layer.weights
    elif layer.kind == "norm":
        if mode != "eval":
            yield 0.0, 3 * layer.outputs, 0
        if mode == "train":
            yield 0.0, 5 * layer.outputs, 0
    elif layer.kind == "add":
        yield 0.0, layer.inputs // 2, 0
    elif layer.kind == "other":
        for _ in range(2 if mode == "train" else 1):
            yield 0.0, moved, 0


NetworkKey = tuple[str, int | None, int, int]
"""(name, stride, pixels, frames): the values that a trace depends on."""


def network_key(spec: ModelSpec, num_frames: int) -> NetworkKey:
    return spec.name, spec.stride, spec.input_size, num_frames


def _trace(spec: ModelSpec, *, num_frames: int) -> Trace:
    return _traced(network_key(spec, num_frames))


@cache
def _traced(key: NetworkKey) -> Trace:
    name, stride, input_size, num_frames = key

    def plain() -> Json:
        from reskd.cost.layer_traffic import trace  # loads torch and torchvision

        spec = ModelSpec(name=name, stride=stride, resolution=input_size)
        found = trace(spec, num_frames=num_frames)
        return {**asdict(found), "layers": [astuple(layer) for layer in found.layers]}

    known = remembered(f"trace {json.dumps(key)}", plain)
    return Trace(**{**known, "layers": tuple(Layer(*layer) for layer in known["layers"])})


@cache
def roofline_seconds(
    key: NetworkKey, num_clips: int, bytes_each: int, mode: Mode, flops_per_s: float, bytes_per_s: float
) -> float:
    """Lower bound on the seconds by the roofline: the sum over kernels of the larger of compute time and memory
    time."""
    return sum(
        max(flops * num_clips / flops_per_s, bytes_each * (activations * num_clips + weights) / bytes_per_s)
        for layer in _traced(key).layers
        for flops, activations, weights in kernel_passes(layer, mode)
    )


@cache
def num_kernels(key: NetworkKey, mode: Mode) -> int:
    """Number of kernels that torch starts one by one. Training starts about three for each kernel of a forward."""
    return (3 if mode == "train" else 1) * len(_traced(key).layers)
