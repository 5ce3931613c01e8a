"""The files of a step: which shape each has, and what to do if one is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NotRequired, TypedDict

CHECKPOINTS, WEIGHTS, LINES = "checkpoints", "weights.pt", "metrics.jsonl"
IDENTITY, START, DONE = "recipe.json", "start.json", "DONE.json"
FAILED, PRUNED, SPLIT, DAMAGED = "failed.json", "pruned.json", "split.json", "damaged.json"


class Identity(TypedDict):
    full_id: str
    payload: dict[str, Any]
    recipe: dict[str, Any]


class Start(TypedDict):
    workers: int
    threads: int
    started_ms: int
    host: NotRequired[str]


class MetricsLine(TypedDict):
    epoch: int
    time_ms: int
    metrics: dict[str, float]


class Evaluation(TypedDict):
    metrics: dict[str, float]
    num_clips: int
    num_skipped: int
    num_missing: NotRequired[int]
    packed: NotRequired[str]


class Speed(TypedDict):
    device: str
    clips_per_s: float


class Reason(TypedDict):
    reason: str
    traceback: NotRequired[str | None]
    together: NotRequired[int]


class DamagedClip(TypedDict):
    split: str
    path: str
    reason: str


class Costs(TypedDict):
    gmacs: float
    gmacs_layers: float
    gflops: float
    num_params: int


class Done(TypedDict):
    metrics: dict[str, float]
    protocol: str
    epochs: int
    finished_ms: int
    complexity: Costs
    damaged: list[DamagedClip]
    state_hash: NotRequired[str]
    started_ms: NotRequired[int]
    workers: NotRequired[int]
    device: NotRequired[str]
    device_s: NotRequired[float]
    host: NotRequired[str]
    commit: NotRequired[str | None]
    versions: NotRequired[dict[str, str]]


@dataclass(frozen=True, slots=True)
class StepFile:
    """A kind of file. ``way_out``: what to do if one is damaged, with {step} for the step's id."""

    shape: Any
    way_out: str


AGAIN = "put a good copy back, or `reskd rm {step}`: the next `reskd run` trains the step again"
_ENDED = StepFile(Reason, "remove the file: the next `reskd run` goes on with the step")
KINDS: dict[str, StepFile] = {
    IDENTITY: StepFile(Identity, AGAIN),
    START: StepFile(
        Start, "put a good copy back; an unfinished training goes on without the file, as a new start would"
    ),
    f"{CHECKPOINTS}/*": StepFile(Any, "nothing to do: the next `reskd run` goes back to the checkpoint before it"),
    LINES: StepFile(MetricsLine, "remove the line: curves then lack an epoch, results do not change"),
    "metrics/*": StepFile(MetricsLine, "remove it: curves then lack an epoch, results do not change"),
    "eval/*": StepFile(Evaluation, "put a good copy back, or remove .json and .npz, then `reskd eval {step}` again"),
    "throughput/*": StepFile(Speed, "remove the file: the step's speed is then unknown"),
    WEIGHTS: StepFile(Any, AGAIN),
    DONE: StepFile(Done, AGAIN),
    FAILED: _ENDED,
    PRUNED: _ENDED,
    SPLIT: _ENDED,
    DAMAGED: StepFile(Reason, "remove the file, then `reskd verify`"),
}
"""File in a step's folder -> its kind."""


def kind_of(name: str) -> StepFile | None:
    """The kind of a file by its name in the step's folder; None for one that no reader of steps knows."""
    return next((kind for pattern, kind in KINDS.items() if fnmatchcase(name, pattern)), None)


def remedy(name: str, step_id: str) -> str:
    """What to do about a damaged file of a step."""
    kind = kind_of(name)
    assert kind is not None, f"{name} is no file of a step"
    return kind.way_out.format(step=step_id)
