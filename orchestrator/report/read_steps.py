"""Reads from the store what a page says about steps: their times, their failures, their damaged clips, their origin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.report.contents import Damage, StepLine, Trouble
from orchestrator.report.timeline import StepTimes
from orchestrator.spec.steps import Step, name_and_seed, name_of
from orchestrator.store.step_record import StepRecord, children_of
from orchestrator.store.store import Store
from reskd.files import Json

MAX_DAMAGED = 30
"""Most damaged clips that a page lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFacts:
    """One step of the sweep that was ever started."""

    step: Step
    record: StepRecord
    times: StepTimes | None
    done: Json | None


def read_facts(
    store: Store,
    steps: Mapping[str, Step],
    records: Mapping[str, StepRecord],
    *,
    known: Mapping[str, StepFacts] | None = None,
) -> dict[str, StepFacts]:
    """Step id -> facts, for the sweep's steps that have a record. known: facts of done steps, which never change."""
    found = {}
    for step_id in steps.keys() & records.keys():
        before = (known or {}).get(step_id)
        is_known = before is not None and before.record == records[step_id] and before.done is not None
        found[step_id] = before if before and is_known else _facts(store, steps[step_id], records[step_id])
    return {step_id: found[step_id] for step_id in steps if step_id in found}


def _facts(store: Store, step: Step, record: StepRecord) -> StepFacts:
    if record.state == "damaged":
        return StepFacts(step=step, record=record, times=None, done=None)
    started, done = store.started(step.id), store.done(step.id)
    if started is None:
        return StepFacts(step=step, record=record, times=None, done=done)
    lines = store.metrics(step.id)
    times = StepTimes(
        step_id=step.id,
        name=name_of(step),
        seed=None if step.recipe.is_imported else step.recipe.seed,
        state=record.state,
        teacher_id=step.teacher_id,
        host=str(started.get("host", "")),
        device=done.get("device") if done else None,
        workers=int(started["workers"]),
        started_ms=started["started_ms"],
        epochs_ms=tuple(sorted(line["time_ms"] for line in lines)),
        ended_ms=done["finished_ms"] if done else None,
        epoch=max((line["epoch"] for line in lines), default=0),
        num_epochs=step.recipe.num_epochs,
        device_s=done.get("device_s") if done else None,
    )
    return StepFacts(step=step, record=record, times=times, done=done)


def trouble_of(facts: Iterable[StepFacts], steps: Mapping[str, Step]) -> tuple[Trouble, ...]:
    """Failed and damaged steps first, then those that early stopping ended."""
    found = [
        Trouble(
            name=name_and_seed(one.step),
            step_id=one.step.id,
            state="stopped early" if one.record.state == "pruned" else one.record.state,
            reason=one.record.note,
            trace=one.record.trace,
            waiting=tuple(children_of(one.step.id, steps)) if one.record.state in ("failed", "damaged") else (),
        )
        for one in facts
        if one.record.state in ("failed", "damaged", "pruned")
    ]
    return tuple(sorted(found, key=lambda trouble: trouble.state == "stopped early"))


def damage_of(facts: Iterable[StepFacts]) -> list[Damage]:
    """Every damaged clip of the finished steps, each once."""
    met: dict[tuple[str, str, str], int] = {}
    for one in facts:
        for clip in (one.done or {}).get("damaged", []):
            key = clip["split"], clip["path"], clip["reason"]
            met[key] = met.get(key, 0) + 1
    return [
        Damage(split=split, path=path, reason=reason, num_steps=number)
        for (split, path, reason), number in sorted(met.items())
    ]


def origin_of(facts: Iterable[StepFacts]) -> list[tuple[str, str]]:
    """(label, value) of what finished steps were trained with; where they differ, each value with its steps' number."""
    values: dict[str, dict[str, int]] = {}
    for one in facts:
        done = one.done or {}
        versions = ", ".join(f"{name} {version}" for name, version in sorted(done.get("versions", {}).items()))
        told = {
            "code (commit)": done.get("commit"),
            "library versions": versions,
            "device": done.get("device"),
            "host": done.get("host"),
            "workers per job": str(done.get("workers", "")),
            "protocol of the final test": done.get("protocol"),
        }
        for label, value in told.items():
            if value:
                counts = values.setdefault(label, {})
                counts[str(value)] = counts.get(str(value), 0) + 1
    return [(label, _counted(counts)) for label, counts in values.items()]


def _counted(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({number} step{'s' * (number != 1)})" for value, number in sorted(counts.items()))


def step_lines(steps: Mapping[str, Step], facts: Mapping[str, StepFacts]) -> tuple[StepLine, ...]:
    lines = []
    for step in steps.values():
        one = facts.get(step.id)
        weights = (one.done or {}).get("state_hash", "") if one else ""
        state = one.record.state if one else "not started"
        lines.append(StepLine(step_id=step.id, name=name_and_seed(step), state=state, weights_sha256=weights))
    return tuple(lines)
