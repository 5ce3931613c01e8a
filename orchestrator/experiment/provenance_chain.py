"""What an entry of a table is based on: seeds, steps, teachers, data, code and protocol, read from the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.spec.columns import protocol_in, quantity_of
from orchestrator.spec.steps import Step, name_of
from orchestrator.spec.strict import did_you_mean
from orchestrator.store.step_record import StepRecord, records_from_store, words_for
from orchestrator.tables.build import build_table
from orchestrator.tables.columns import PUBLISHED
from orchestrator.tables.published import load_published
from orchestrator.tables.table import Entry
from reskd.errors import BadInput
from reskd.files import Json

Chain = dict[str, Any]


def chain_of(prepared: Prepared, *, table: str, row: str, column: str) -> Chain:
    """Plain values: the entry as in the table, and for each seed its step, the teachers, and how they were trained.

    Raises BadInput if the sweep does not have this table, row or column.
    """
    sweep = prepared.sweep
    where = f"{sweep.path}: "
    _known(table, list(sweep.tables), what=f"{where}there is no table {table!r}")
    spec = sweep.tables[table]
    _known(row, spec.rows, what=f"{where}table {table!r} has no row {row!r}")
    _known(column, spec.columns, what=f"{where}table {table!r} has no column {column!r}")
    records = records_from_store(prepared.store, prepared.steps)
    built = build_table(
        table,
        spec,
        sweep=sweep,
        steps=prepared.steps,
        records=records,
        published=load_published(),
        look=prepared.look,
    )
    entry = built.entries[row, column]
    heading = next(found.published_heading for found in built.columns if found.key == column)
    step_of = {cell: step for step in prepared.steps.values() for cell in step.cells}
    values = dict(entry.estimate.by_seed)
    return {
        "sweep": sweep.name,
        "file": str(sweep.path),
        "question": sweep.question,
        "table": built.title,
        "row": row,
        "column": column,
        "unit": entry.unit,
        "value": entry.text,
        "delta": _delta(entry, delta_to=spec.delta_to),
        "published": _published(entry, heading=heading, table=spec.published, beside=spec.published_rows.get(row, row)),
        "seeds": [
            {
                "seed": seed,
                "state": state,
                "value": values.get(seed),
                "step": _link(prepared, step_of[row, seed], records, column=column),
            }
            for seed, state in entry.seed_states
        ],
    }


def _file(done: Json) -> str | None:
    """The file of an imported model in words."""
    found = done.get("imported")
    return found and f"{found['file']}, sha256 {found['sha256'][:16]}, {found['layout']}'s names"


def _known(name: str, names: Sequence[str], *, what: str) -> None:
    if name not in names:
        raise BadInput(f"{what}{did_you_mean(name, names) if names else ''}")


def _delta(entry: Entry, *, delta_to: str | None) -> str | None:
    return f"{entry.delta_text} to {delta_to}" if entry.delta is not None and entry.delta.n else None


def _published(entry: Entry, *, heading: str | None, table: str | None, beside: str) -> str | None:
    """The published figure in words. For another data set or metric, the words name it."""
    if entry.published is None:
        return None
    warning = "" if heading in (None, PUBLISHED) else f"; {heading}, does not compare"
    return f"{entry.published_text} ({table}, row {beside!r}{warning})"


def _link(prepared: Prepared, step: Step, records: dict[str, StepRecord], *, column: str = "") -> Chain:
    """One step of the chain, and its teacher's step."""
    store, record = prepared.store, records.get(step.id)
    started, done = store.started(step.id) or {}, store.done(step.id) or {}
    protocol = protocol_in(column) or done.get("protocol")
    judged = store.evaluations(step.id).get(protocol or "", {})
    facts = {**started, **done}
    teacher = prepared.steps.get(step.teacher_id or "")
    sha256 = step.payload["manifest_sha256"]
    return {
        "id": step.id,
        "name": name_of(step),
        "words": words_for(step, prepared.steps),
        "state": record.state if record else "never started",
        "folder": store.place(step.id),
        "reason": record.note if record and record.state in ("failed", "pruned") else None,
        "data": {
            "name": step.recipe.data.name,
            "sha256": sha256,
            "manifest": prepared.manifest_reference(step) if sha256 in prepared.manifests else None,
        },
        "file": _file(done),
        "commit": facts.get("commit"),
        "versions": facts.get("versions"),
        "host": facts.get("host"),
        "workers": started.get("workers"),
        "epochs": f"{max((line['epoch'] for line in store.metrics(step.id)), default=0)}/{step.recipe.num_epochs}",
        "protocol": protocol,
        "num_clips": judged.get("num_clips"),
        "num_skipped": judged.get("num_skipped"),
        "skipped": judged.get("skipped", []),
        "device": record.device if record and quantity_of(column).record == "throughput" else None,
        "teacher": _link(prepared, teacher, records) if teacher else step.teacher_checkpoint,
    }
