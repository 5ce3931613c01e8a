"""Reads one step from the store: a record for the tables, and the whole content of its MLflow run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.spec.columns import read_costs
from orchestrator.spec.steps import Step, name_and_seed, name_of
from orchestrator.store.store import Store
from reskd.errors import Damaged
from reskd.files import Json, json_value
from reskd.text import code_block, plain_markdown

State = Literal["done", "failed", "pruned", "running", "interrupted", "damaged"]

TIMES = tuple(f"perf/{what}_ms" for what in ("data_wait", "teacher", "student", "all_reduce"))
EPOCH_METRICS = ("train/", "val/", "system/", "perf/clips_per_s", *TIMES)
"""Prefixes of the epoch metrics that are published. The store keeps all metrics."""

NOTE_TAG = "mlflow.note.content"
"""MLflow's own tag of a run's description."""
ROW = "row"
"""Tag and parameter of a run. The tag follows a sweep file in which rows change; parameters cannot."""
WHY = "\n\nnot finished: "
"""Separates, in a run's description, the step's words from the reason why it failed or was stopped early."""

NUM_LINES = 3
MAX_LINE = 300
"""Longest traceback line in status, tables and MLflow. The whole traceback is an artifact of the run."""
MAX_REASON = 500
"""Most characters of a failure's reason in a record. The traceback is an artifact of the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """The facts about a step that tables need. They are the same when read from the store or from MLflow."""

    step_id: str
    state: State
    cells: tuple[tuple[str, int], ...]
    """(row, seed) of the cells that show this step."""
    data_name: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    """test/*, the recorded costs of `COLUMNS`, data/damaged_clips; empty until the step is done."""
    num_clips: int | None = None
    """Number of clips in the final test."""
    num_skipped: int | None = None
    num_missing: int = 0
    """Number of annotated clips without a video. They are in neither of the two numbers above."""
    packed: str = ""
    """How the frames were packed, in words; empty for original videos."""
    protocol: str | None = None
    evaluations: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Protocol of a later evaluation -> (number of clips evaluated, number of clips skipped)."""
    device: str | None = None
    """The device on which clips/s was measured."""
    note: str = ""
    """Why the step failed, or was stopped early; which of its files is damaged."""
    trace: str = ""
    """The last lines of its traceback."""
    url: str | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepContent:
    """Everything that a step's MLflow run should hold. Only `record` can be read back from the run."""

    record: StepRecord
    name: str
    started_ms: int
    ended_ms: int
    """Time of the last sign of life from the step."""
    num_epochs: int
    lines: tuple[Json, ...]
    """{epoch, time_ms, metrics} of each epoch, oldest first, with the published metrics."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    data_sha256: str
    """Hash of the data manifest."""
    texts: Mapping[str, str]
    """Artifact name -> content."""


def records_from_store(store: Store, steps: Mapping[str, Step]) -> dict[str, StepRecord]:
    """Records of all steps that were ever started, by step id."""
    found = {step.id: _record(store, step) for step in steps.values()}
    return {step_id: record for step_id, record in found.items() if record is not None}


def read_step(store: Store, step: Step, *, steps: Mapping[str, Step], damage: str | None = None) -> StepContent | None:
    """Everything that the store holds about a step; None if it was never started.

    ``damage``: which file of it was just found to be damaged. Raises Damaged if even its start cannot be read.
    """
    started, record = store.started(step.id), _record(store, step, damage=damage)
    if started is None or record is None:
        return None
    done = store.done(step.id) if record.state == "done" else None
    is_readable = record.state != "damaged"
    lines = tuple(_published_line(line) for line in store.metrics(step.id)) if is_readable else ()
    heard_ms = max([started["started_ms"], *(line["time_ms"] for line in lines)])
    return StepContent(
        record=record,
        name=name_and_seed(step),
        started_ms=started["started_ms"],
        ended_ms=done["finished_ms"] if done else heard_ms,
        num_epochs=done["epochs"] if done else max((line["epoch"] for line in lines), default=0),
        lines=lines,
        tags=_tags(step, record, started | (done or {}), steps=steps),
        params=_params(step, steps=steps),
        data_sha256=step.payload["manifest_sha256"],
        texts=_texts(done, store.failure(step.id) if record.state == "failed" else None),
    )


def _record(store: Store, step: Step, *, damage: str | None = None) -> StepRecord | None:
    """The record of a step; None if it was never started. A step of which a file cannot be read is damaged."""
    known: dict[str, Any] = {"step_id": step.id, "cells": step.cells, "data_name": step.recipe.data.name}
    try:
        done = store.done(step.id)
        if done is None and store.started(step.id) is None:
            return None
        damage = damage or (None if done is None else store.damage(step.id))
        if damage is None:
            return _whole_record(store, step, done, known)
    except Damaged as error:
        damage = str(error)
    return StepRecord(state="damaged", note=damage[:MAX_REASON], **known)


def _whole_record(store: Store, step: Step, done: Json | None, known: Mapping[str, Any]) -> StepRecord:
    if done is None:
        status = store.status(step.id)
        if status.state == "damaged":
            return StepRecord(state="damaged", note=str(status.reason)[:MAX_REASON], **known)
        if status.state == "held":
            return StepRecord(state="running", **known)
        if status.state == "pruned":
            return StepRecord(state="pruned", note=str(status.reason)[:MAX_REASON], **known)
        failure = store.failure(step.id)
        if failure is not None:
            trace = last_lines(failure.get("traceback"))
            return StepRecord(state="failed", note=str(failure["reason"])[:MAX_REASON], trace=trace, **known)
        return StepRecord(state="interrupted", **known)
    evaluations = store.evaluations(step.id)
    judged = evaluations.get(done["protocol"], {})
    speed = store.newest_throughput(step.id)
    return StepRecord(
        state="done",
        metrics=_final_metrics(done, evaluations, speed),
        num_clips=judged.get("num_clips"),
        num_skipped=judged.get("num_skipped"),
        num_missing=judged.get("num_missing", 0),
        packed=judged.get("packed", ""),
        protocol=done["protocol"],
        evaluations={
            protocol: (record["num_clips"], record["num_skipped"])
            for protocol, record in evaluations.items()
            if protocol != done["protocol"]
        },
        device=speed["device"] if speed else None,
        **known,
    )


def _final_metrics(done: Json, evaluations: Mapping[str, Json], speed: Json | None) -> dict[str, float]:
    metrics = {**done["metrics"], **read_costs("done", done), "data/damaged_clips": len(done["damaged"])}
    for protocol, record in evaluations.items():
        if protocol != done["protocol"]:
            metrics |= {f"test/{protocol}/{name}": value for name, value in record["metrics"].items()}
    if speed:
        metrics |= read_costs("throughput", speed)
    return {name: float(value) for name, value in metrics.items()}


def _published_line(line: Json) -> Json:
    return line | {"metrics": {key: value for key, value in line["metrics"].items() if key.startswith(EPOCH_METRICS)}}


def _tags(step: Step, record: StepRecord, facts: Json, *, steps: Mapping[str, Step]) -> dict[str, str]:
    kind = _kind(step, steps)
    tags = {
        "step_id": step.id,
        "full_id": step.full_id,
        "kind": kind,
        "cells": json.dumps(record.cells),
        "teacher_id": step.teacher_id,
        "data": record.data_name,
        "manifest_sha256": step.payload["manifest_sha256"],
        "host": facts.get("host"),
        "commit": facts.get("commit"),
        "versions": json.dumps(facts["versions"], sort_keys=True) if "versions" in facts else None,
        "protocol": record.protocol,
        "num_clips": record.num_clips,
        "num_skipped": record.num_skipped,
        "num_missing": record.num_missing or None,
        "packed": record.packed or None,
        "evaluations": json.dumps(record.evaluations, sort_keys=True) if record.evaluations else None,
        "device": record.device,
        "reason": record.note or None,
        "traceback": record.trace or None,
        "complete": "true" if record.state == "done" else None,
        "pruned": "true" if record.state == "pruned" else None,
        "damaged": "true" if record.state == "damaged" else None,
    }
    own = {f"reskd.{name}": str(value) for name, value in tags.items() if value is not None}
    own[ROW] = rows_of(step)
    why = f"{WHY}{plain_markdown(record.note)}" if record.note else ""
    if record.trace:
        why += f"\n\n{code_block(record.trace)}"
    waiting = children_of(step.id, steps) if record.state in ("failed", "damaged") else []
    if waiting:
        why += f"\n\nwaiting for it: {plain_markdown('; '.join(waiting))}"
    return own | {NOTE_TAG: f"{kind} {plain_markdown(words_for(step, steps))}{why}"}


def rows_of(step: Step) -> str:
    """The rows that show a step, such as `pixel-level MSE; 24 px`; of a teacher without a row its name."""
    return "; ".join(dict.fromkeys(row for row, _ in step.cells)) or name_of(step)


def words_for(step: Step, steps: Mapping[str, Step]) -> str:
    """A step in words, such as `tsn_mini10 at 24 px, pixel-level KD from tsn_mini18 at 64 px, seed 0`."""
    recipe = step.recipe
    words = [recipe.model.words]
    if recipe.checkpoint is not None:
        part = f"{recipe.checkpoint_part} in " if recipe.checkpoint_part else ""
        return f"{words[0]}, imported from {part}{Path(recipe.checkpoint).name}, trained elsewhere"
    if recipe.has_teacher:
        teacher = steps.get(step.teacher_id or "")
        source = f"the checkpoint {Path(step.teacher_checkpoint or '').name}"
        if teacher is not None:
            source = f"{'the imported ' if teacher.recipe.is_imported else ''}{teacher.recipe.model.words}"
        words.append(f"{recipe.kd.level}-level KD from {source}")
    return ", ".join([*words, f"seed {recipe.seed}"])


def record_from_run(tags: Mapping[str, str], metrics: Mapping[str, float], *, state: State, url: str) -> StepRecord:
    """The record behind a run's tags and metrics. `state` is made from MLflow's status."""
    own = {key.removeprefix("reskd."): value for key, value in tags.items() if key.startswith("reskd.")}
    is_done = "complete" in own
    if "pruned" in own:
        state = "pruned"
    if "damaged" in own:
        state = "damaged"
    return StepRecord(
        step_id=own["step_id"],
        state="done" if is_done else "interrupted" if state == "done" else state,
        cells=tuple((row, seed) for row, seed in _json(own["cells"], list[list[Any]])),
        data_name=own["data"],
        metrics={key: value for key, value in metrics.items() if not key.startswith(EPOCH_METRICS)} if is_done else {},
        num_clips=int(own["num_clips"]) if "num_clips" in own else None,
        num_skipped=int(own["num_skipped"]) if "num_skipped" in own else None,
        num_missing=int(own.get("num_missing", 0)),
        packed=own.get("packed", ""),
        protocol=own.get("protocol"),
        evaluations={
            name: (clips, skipped)
            for name, (clips, skipped) in _json(own.get("evaluations", "{}"), dict[str, list[int]]).items()
        },
        device=own.get("device"),
        note=own.get("reason", ""),
        trace=own.get("traceback", ""),
        url=url,
    )


def last_lines(traceback: object) -> str:
    """The end of a traceback, which says where it failed and why; empty if none was recorded."""
    lines = [line[:MAX_LINE] for line in str(traceback or "").splitlines() if line.strip()]
    return "\n".join(lines[-NUM_LINES:])


def children_of(step_id: str, steps: Mapping[str, Step]) -> list[str]:
    """The students of a step in words, such as `pixel-level MSE, seed 0`."""
    return [name_and_seed(step) for step in steps.values() if step.teacher_id == step_id]


def _json(text: str, shape: Any) -> Any:
    """The value in a tag of MLflow."""
    return json_value(text, where="a tag of MLflow", shape=shape)


def _kind(step: Step, steps: Mapping[str, Step]) -> str:
    if step.recipe.has_teacher:
        return "student"
    if step.recipe.is_imported:
        return "imported"
    return "teacher" if any(other.teacher_id == step.id for other in steps.values()) else "baseline"


def _params(step: Step, *, steps: Mapping[str, Step]) -> dict[str, str]:
    """Row, seed, and the step's identity by dotted key; the teacher's keys begin with `teacher.`.

    MLflow never changes these values in a run.
    """
    teacher = steps.get(step.teacher_id or "")
    # Without distillation, no KD field is in the identity. The level `none` lets MLflow group runs by level.
    payload = {"kd": {"level": "none"}, **step.payload}
    if teacher is not None:
        payload["teacher"] = dict(teacher.payload)
    own = {ROW: rows_of(step)} | ({} if step.recipe.is_imported else {"seed": str(step.recipe.seed)})
    return own | {key: value for key, value in _flat(payload) if not key.endswith("manifest_sha256")}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value)


def _texts(done: Json | None, failure: Json | None) -> dict[str, str]:
    texts = {}
    if done and done["damaged"]:
        listed = [f"{clip['split']}\t{clip['path']}\t{clip['reason']}\n" for clip in done["damaged"]]
        texts["damaged_clips.txt"] = "split\tpath\treason\n" + "".join(listed)
    if failure:
        texts["failure.txt"] = f"{failure['reason']}\n\n{failure.get('traceback') or ''}"
    return texts
