"""Computes what an MLflow run lacks compared with its step's content, as plain values."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields

from orchestrator.store.step_record import NOTE_TAG, WHY, StepContent, StepRecord

MetricRow = tuple[str, float, int, int]
"""(key, value, time in ms, step). MLflow keeps equal rows once, so writing a row again changes nothing."""

EPOCH_TAG = "reskd.epoch"
"""Epochs whose metrics are in the run; written in the same transaction as the metrics."""
COMPLETE_TAG = "reskd.complete"
ARTIFACTS_TAG = "reskd.artifacts"
"""Says which content's files the run has; written after them."""
METRICS_PER_CALL = 500


def new_epochs(content: StepContent, tags: Mapping[str, str]) -> Iterator[tuple[int, list[MetricRow]]]:
    """(last epoch, rows) for each call. If a resume trained an epoch again, its first line is kept."""
    held = int(tags.get(EPOCH_TAG, 0))
    new = [line for line in content.lines if line["epoch"] > held]
    rows: list[MetricRow] = []
    for line in new:
        rows += [(key, value, line["time_ms"], line["epoch"]) for key, value in line["metrics"].items()]
        if len(rows) >= METRICS_PER_CALL or line is new[-1]:
            yield line["epoch"], rows
            rows = []


def new_metrics(content: StepContent, held: Mapping[str, float]) -> list[MetricRow]:
    """Final metrics that the run does not have, or has with an older value. A changed value gets a later time."""
    now = int(time.time() * 1000)
    return [
        (key, value, now if key in held else content.ended_ms, content.num_epochs)
        for key, value in content.record.metrics.items()
        if key not in held or not _same(held[key], value)
    ]


def changed_tags(content: StepContent, held: Mapping[str, str]) -> dict[str, str]:
    """Tags that are new or different. A description that a user has edited is kept."""
    changed = {key: value for key, value in content.tags.items() if held.get(key) != value}
    ours, theirs = content.tags[NOTE_TAG].partition(WHY)[0], held.get(NOTE_TAG, "").partition(WHY)[0]
    if theirs not in ("", ours):
        changed.pop(NOTE_TAG, None)
    return changed


def dropped_tags(content: StepContent, held: Mapping[str, str]) -> list[str]:
    """Our tags that are no longer valid, such as the reason of a failure before a resume."""
    kept = {*content.tags, EPOCH_TAG, ARTIFACTS_TAG}
    return [key for key in held if key.startswith("reskd.") and key not in kept]


def unlike_store(published: Mapping[str, StepRecord], stored: Mapping[str, StepRecord]) -> Iterator[str]:
    """A line for each step whose run in MLflow does not say what the store says, such as after somebody edited it.

    Metrics that only the run has are the user's own.
    """
    for step_id, ours in stored.items():
        theirs = published.get(step_id)
        who = "; ".join(f"{row}, seed {seed}" for row, seed in ours.cells) or f"teacher {step_id}"
        if theirs is None:
            yield f"MLflow: {who}: it has no run; `reskd publish` writes it"
        elif unlike := [*_differences(theirs, ours)]:
            way_out = "`reskd publish` writes it again; if this stays, delete the run in MLflow first"
            yield f"MLflow: {who}: {', '.join(unlike)}; {way_out}"


def _differences(theirs: StepRecord, ours: StepRecord) -> Iterator[str]:
    for field in fields(StepRecord):
        if field.compare and field.name != "metrics":
            held, value = getattr(theirs, field.name), getattr(ours, field.name)
            if held != value:
                yield f"{field.name} is {held}, in the store {value}"
    for key, value in ours.metrics.items():
        number = theirs.metrics.get(key)
        if number is None or not _same(number, value):
            yield f"{key} is {number}, in the store {value}"


def _same(held: float, value: float) -> bool:
    """Whether two metric values are equal in MLflow, which keeps NaN, and infinities as the largest floats."""
    if math.isinf(value):
        value = math.copysign(sys.float_info.max, value)
    return held == value or (math.isnan(held) and math.isnan(value))
