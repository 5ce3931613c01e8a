"""The sentences above a table, which say what its numbers are based on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.spec.sweep import Sweep, TableSpec
from orchestrator.stats.estimates import MIN_SEEDS
from orchestrator.stats.sequential import Look, percent, sentence
from orchestrator.store.step_record import StepRecord
from orchestrator.tables.differences import unlike_published
from orchestrator.tables.published import PublishedTable
from orchestrator.tables.table import Column, Entry
from reskd.protocol import parse_protocol
from reskd.recipe import CLASS_ORDER

FRAMES_USED = "test/frames_used"
"""The metric that only steps with early exits have."""


def head_sentences(
    sweep: Sweep,
    spec: TableSpec,
    *,
    columns: Sequence[Column],
    entries: Mapping[tuple[str, str], Entry],
    records: Collection[StepRecord],
    paper: PublishedTable | None,
    look: Look | None = None,
    num_peers: int = 0,
) -> tuple[str, ...]:
    """All sentences above a table. `records` are those of the finished runs behind it."""
    return (
        *_seeds(sweep),
        *_imported(sweep, spec.rows),
        *_sequential(sweep, look, rows=spec.rows, columns=columns),
        *_clips(records),
        *_evaluated_again(columns, records),
        *_devices(columns, entries.values()),
        *_early_exits(columns, records),
        *_epochs(sweep, spec.rows),
        *_dropout(sweep, spec.rows),
        *_gaps(entries.values()),
        *_published(paper, columns, num_peers=num_peers),
        *unlike_published(sweep, spec, paper, columns=columns, entries=entries),
    )


def _seeds(sweep: Sweep) -> Iterator[str]:
    count = len(sweep.seeds)
    yield f"{count} seed{'s' if count > 1 else ''} ({', '.join(map(str, sweep.seeds))})."
    if count >= MIN_SEEDS:
        yield (
            "a ± b: mean and 95 % t-interval over seeds; it covers the choice of seeds, not the choice of clips. "
            f"With fewer than {MIN_SEEDS} values there is no interval: the mean and each value are shown."
        )
    else:
        yield f"With fewer than {MIN_SEEDS} seeds there is no interval: the mean and each value are shown."
    if sweep.teacher_seed is not None:
        yield (
            f"Every seed has the same teachers, of seed {sweep.teacher_seed}: "
            "nothing here covers the choice of a teacher's seed."
        )


def _imported(sweep: Sweep, rows: Sequence[str]) -> Iterator[str]:
    """For each model that was trained elsewhere: its rows, its file, and what is not known of it."""
    names: dict[str, list[str]] = {}
    for cell in sweep.cells:
        if cell.recipe.checkpoint is not None and cell.row in rows:
            names.setdefault(cell.recipe.checkpoint, []).append(cell.row)
    for path, of in names.items():
        file = Path(path).name
        yield f"{', '.join(of)}: imported from {file}, trained elsewhere; one model without seeds; {CLASS_ORDER}."


def _sequential(sweep: Sweep, look: Look | None, *, rows: Sequence[str], columns: Iterable[Column]) -> Iterator[str]:
    """The sentence about `seeds: auto`, if one of its rows is in the table."""
    auto = sweep.auto
    if auto is None or look is None or not set(auto.compare) & set(rows):
        return
    yield sentence(look, auto)
    more = [f"{row} {len(sweep.seeds_of(row))}" for row in auto.compare if row in rows]
    if look.num_seeds > auto.start:
        yield f"Seeds of the sequential rows: {', '.join(more)}; the intervals of their own means are plain ones."
    if any(column.delta_to in auto.compare for column in columns):
        yield f'"sequential": a difference between these two rows, its interval at {percent(auto.confidence)}.'


def _clips(records: Collection[StepRecord]) -> Iterator[str]:
    """The sentence about how many clips the figures of the final tests are based on."""
    judged = {
        (record.data_name, record.protocol, record.num_clips, record.num_skipped, record.num_missing)
        for record in records
    }
    for data_name, protocol, num_clips, num_skipped, num_missing in sorted(judged, key=str):
        missing = f", {num_missing} left out because their videos are missing" if num_missing else ""
        yield (
            f"{data_name}: {num_clips} clips evaluated, {num_skipped} skipped as damaged{missing}; protocol {protocol}."
        )
    for data_name, packed in sorted({(record.data_name, record.packed) for record in records if record.packed}):
        yield f"{data_name}: frames were {packed}, so this is another data set than the original videos."


def _evaluated_again(columns: Iterable[Column], records: Collection[StepRecord]) -> Iterator[str]:
    """For each protocol in a column's name: the protocol in words, and how many clips its figures are based on."""
    for name in dict.fromkeys(name for column in columns if (name := column.protocol)):
        known = {(record.data_name, *record.evaluations[name]) for record in records if name in record.evaluations}
        over = [
            f"{data_name}: {clips} clips, {skipped} skipped as damaged" for data_name, clips, skipped in sorted(known)
        ]
        yield f"{name}: {parse_protocol(name).words}; {'; '.join(over) or 'no step was evaluated by it yet'}."


def _devices(columns: Iterable[Column], entries: Iterable[Entry]) -> Iterator[str]:
    rows: dict[str, list[str]] = {}
    for entry in entries:
        for device in entry.devices:
            rows.setdefault(device, []).append(entry.row)
    if len(rows) == 1:
        yield f"clips/s: the network alone, without decoding, on {next(iter(rows))}."
    elif rows:
        where = "; ".join(f"{device} ({', '.join(names)})" for device, names in sorted(rows.items()))
        yield f"clips/s was measured on different devices and cannot be compared between them: {where}."
    for column in columns:
        if column.published and column.published.device:
            yield f"Published clips/s: on {column.published.device}."


def _early_exits(columns: Iterable[Column], records: Iterable[StepRecord]) -> Iterator[str]:
    """The sentence about what a cost means for networks that stop early."""
    rows: dict[str, list[float]] = {}
    for record in records:
        if FRAMES_USED in record.metrics:
            for row, _ in record.cells:
                rows.setdefault(row, []).append(record.metrics[FRAMES_USED])
    if rows and any(column.key in ("GMACs", "GFLOPs", "clips/s") for column in columns):
        means = ", ".join(f"{row} {sum(used) / len(used):.3g}" for row, used in rows.items())
        yield (
            "Early exit: a clip's answer is that of the first exit whose gate says 0.5 or more; GMACs and GFLOPs are "
            f"the mean over the exits that the evaluated clips took (frames used: {means}), clips/s is of all frames."
        )


def _epochs(sweep: Sweep, rows: Sequence[str]) -> Iterator[str]:
    """The sentence about rows with different numbers of epochs, most common first."""
    by_epochs: dict[int, list[str]] = {}
    for cell in sweep.cells:
        if cell.recipe.is_imported:
            continue
        names = by_epochs.setdefault(cell.recipe.optim.epochs, [])
        if cell.row in rows and cell.row not in names:
            names.append(cell.row)
    present = {epochs: names for epochs, names in by_epochs.items() if names}
    if len(present) > 1:
        parts = [f"{epochs} ({', '.join(names)})" for epochs, names in sorted(present.items())]
        yield f"Rows were trained for different numbers of epochs: {'; '.join(parts)}."


def _dropout(sweep: Sweep, rows: Sequence[str]) -> Iterator[str]:
    """For clip-level distillation: whether its logits pass dropout, which no other level's logits do."""
    levels: dict[bool, dict[str, None]] = {}
    for cell in sweep.cells:
        recipe = cell.recipe
        if cell.row in rows and recipe.kd.level == "clip" and recipe.model.dropout:
            levels.setdefault(recipe.kd.through_dropout, {})[cell.row] = None
    for passes, names in sorted(levels.items()):
        yield f"Clip logits of {', '.join(names)}: " + (
            "after dropout, as in the official code; the logits of the other levels are taken before it."
            if passes
            else "taken before dropout, as those of the other levels (kd.through_dropout: false)."
        )


def _gaps(entries: Iterable[Entry]) -> Iterator[str]:
    entries = list(entries)
    yield from dict.fromkeys(f"{note}." for entry in entries for note in entry.notes)  # a row's entries say the same
    if any(state == "stale" for entry in entries for _, state in entry.seed_states):
        yield "stale: a run of this row and seed exists, but with another recipe; run the sweep to train the new one."
    if any(len(entry.protocols) > 1 for entry in entries):
        yield "Values of one entry come from different protocols, so no mean is shown."


def _published(paper: PublishedTable | None, columns: Iterable[Column], *, num_peers: int) -> Iterator[str]:
    shown = [column for column in columns if column.published]
    if paper is None or not shown:
        return
    note = f" {paper.note}" if paper.note else ""
    yield f"Published: Ma et al., NeurIPS 2022 (arXiv 2209.12797), {paper.source}, one run each.{note}"
    other = dict.fromkeys(f'"{column.published_heading}"' for column in shown if not column.is_comparable)
    if other:
        yield f"{', '.join(other)}: of another data set or metric; not comparable with what is measured here."
    if any(column.key == "GMACs" for column in shown):
        yield "What the paper prints as GFLOPs are multiply-accumulates, so they stand beside GMACs."
    if num_peers:
        yield f"{num_peers} rows are published only: their figures are from the paper; they were not measured here."
