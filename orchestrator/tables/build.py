"""Tables as build targets: rows x columns of entries, each with its seeds, its runs and the paper's figure beside it.

An entry is made from step records, from MLflow or from the store, which say the same. Nothing is averaged away:
seeds that are missing, failed, running or stale are named in the entry, and published figures keep columns of
their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Sweep, TableSpec
from orchestrator.stats.estimates import CONFIDENCE, Estimate, paired_difference
from orchestrator.stats.sequential import Look
from orchestrator.store.imported_speeds import BENCH, BenchFigure, BenchFile, bench_sentences, find_figure
from orchestrator.store.step_record import StepRecord, records_from_store
from orchestrator.tables.columns import ACCURACIES, check_tables, make_column
from orchestrator.tables.head_notes import head_sentences
from orchestrator.tables.published import Published, PublishedTable, published_peers
from orchestrator.tables.table import Column, Entry, Plot, PlotPoint, SeedState, Table, shown
from reskd.errors import BadInput

__all__ = ["Column", "Entry", "StepRecord", "Table", "build_table", "check_tables", "records_from_store"]

PER_CLIP = ("GMACs", "GMACs_with_attention", "GFLOPs")


def build_table(
    key: str,
    spec: TableSpec,
    *,
    sweep: Sweep,
    steps: Mapping[str, Step],
    records: Mapping[str, StepRecord],
    published: Published,
    look: Look | None = None,
    bench: Sequence[BenchFile] = (),
) -> Table:
    """Build a table: an entry for every row and column, the sentences above it, and the plot if it asks for one."""
    recipes = {cell.row: cell.recipe for cell in sweep.cells}
    data_names = {recipes[row].data.name for row in spec.rows}
    paper = published.table(spec.published) if spec.published else None
    columns = tuple(make_column(name, spec, paper, data_names, published) for name in spec.columns)
    seeds = _Seeds(sweep, steps, records)
    entries: dict[tuple[str, str], Entry] = {}
    for row in spec.rows:
        for column in columns:
            figure = find_figure(bench, recipes[row]) if column.key == BENCH else None
            entry = _bench_entry(row, column, figure) if column.key == BENCH else seeds.entry(row, column)
            if column.delta_to and row != column.delta_to:
                is_sequential = sweep.auto is not None and {row, column.delta_to} == set(sweep.auto.compare)
                confidence = sweep.auto.confidence if sweep.auto and is_sequential else CONFIDENCE
                delta = seeds.delta(row, column, confidence=confidence)
                notes = (*entry.notes, *seeds.delta_notes(row, column))
                entry = replace(entry, delta=delta, is_sequential=is_sequential, notes=notes)
            if paper and column.published:
                values = paper.rows.get(spec.published_rows.get(row, row), {})
                entry = replace(entry, published=values.get(column.published.name))
            entries[row, column.key] = entry
    peers = _peers(spec, paper, columns)
    for row, label in peers.items():
        for column in columns:
            entries[label, column.key] = _peer_entry(label, column, paper.rows[row] if paper else {})
    used = {seeds.step_id(row, seed) for row in spec.rows for seed in seeds.of(row)}
    data_name = next(iter(data_names)) if len(data_names) == 1 else ""
    return Table(
        key=key,
        title=spec.title or key,
        sweep=sweep.name,
        question=sweep.question,
        head=bench_sentences(bench, {row: recipes[row] for row in spec.rows}, columns=spec.columns)
        + head_sentences(
            sweep,
            spec,
            columns=columns,
            entries=entries,
            records=[record for step_id, record in records.items() if step_id in used and record.state == "done"],
            paper=paper,
            look=look,
            num_peers=len(peers),
        ),
        columns=columns,
        rows=spec.rows,
        entries=entries,
        plot=_plot(sweep, spec, seeds, data_name, published) if "accuracy_vs_gmacs" in spec.plot else None,
        peers=tuple(peers.values()),
        data=published.data_sets.get(data_name, data_name),
    )


def _peers(spec: TableSpec, paper: PublishedTable | None, columns: Sequence[Column]) -> dict[str, str]:
    """Published row -> its label, for published rows that are not in the sweep and have a figure in some column."""
    if paper is None or not spec.peers:
        return {}
    ours = {spec.published_rows.get(row, row) for row in spec.rows}
    shown = {column.published.name for column in columns if column.published}
    return {row: paper.label(row) for row, values in paper.rows.items() if row not in ours and shown & values.keys()}


def _peer_entry(row: str, column: Column, values: Mapping[str, float]) -> Entry:
    return Entry(
        row=row,
        column=column.key,
        unit=column.unit,
        estimate=Estimate(()),
        seed_states=(),
        step_ids=(),
        published=values.get(column.published.name) if column.published else None,
        kind="published only",
    )


def _bench_entry(row: str, column: Column, figure: BenchFigure | None) -> Entry:
    """The entry for an imported measurement. It depends on the network, not on a training, so it has no seeds."""
    return Entry(
        row=row,
        column=column.key,
        unit=column.unit,
        estimate=Estimate(((0, figure.measured.clips_per_s),) if figure else ()),
        seed_states=((0, "done"),) if figure else (),
        step_ids=(),
        kind="measured" if figure else "not measured",
    )


class _Seeds:
    """The seeds of one row, with the run and the record of each."""

    def __init__(self, sweep: Sweep, steps: Mapping[str, Step], records: Mapping[str, StepRecord]) -> None:
        self._seeds: dict[str, list[int]] = {}
        for cell in sweep.cells:
            self._seeds.setdefault(cell.row, []).append(cell.seed)
        self._recipes = {cell.row: cell.recipe for cell in sweep.cells}
        self._step_of = {(row, seed): step.id for step in steps.values() for row, seed in step.cells}
        self._steps, self._records = steps, records
        self._stale = {cell for step_id, record in records.items() if step_id not in steps for cell in record.cells}

    def step_id(self, row: str, seed: int) -> str | None:
        return self._step_of.get((row, seed))

    def of(self, row: str) -> tuple[int, ...]:
        return tuple(self._seeds[row])

    def values(self, row: str, key: str) -> dict[int, float]:
        """Seed -> value, in the unit of the column."""
        found = {seed: self._record(row, seed) for seed in self._seeds[row]}
        return {
            seed: shown(key, record.metrics[key]) for seed, record in found.items() if record and key in record.metrics
        }

    def entry(self, row: str, column: Column) -> Entry:
        values = self.values(row, column.key)
        records = [record for seed in values if (record := self._record(row, seed))]
        # The cost of a clip also includes all views of the step's own protocol.
        depends = column.key.startswith("test/") or column.key in PER_CLIP
        protocols = {column.protocol or record.protocol or "" for record in records if depends}
        devices = {record.device for record in records if record.device and column.key == "clips/s"}
        return Entry(
            row=row,
            column=column.key,
            unit=column.unit,
            estimate=Estimate(tuple(values.items())),
            seed_states=tuple((seed, self._state(row, seed, column.key)) for seed in self._seeds[row]),
            step_ids=tuple(record.step_id for record in records),
            protocols=tuple(sorted(protocols)),
            devices=tuple(sorted(devices)),
            notes=tuple(note for seed in self._seeds[row] if (note := self._note(row, seed))),
            links=tuple(
                (str(seed), record.url)
                for seed in values
                if (record := self._record(row, seed)) and record.url and record.url.startswith("http")
            ),
        )

    def delta(self, row: str, column: Column, *, confidence: float) -> Estimate:
        """The difference over the seeds for which both runs were evaluated by the same protocol.

        A difference between two protocols says nothing about two rows.
        """
        assert column.delta_to is not None
        values, reference = self.values(row, column.key), self.values(column.delta_to, column.key)
        unlike = dict(self._unlike(row, column))
        alike = {seed: value for seed, value in values.items() if seed not in unlike}
        return paired_difference(alike, reference, confidence=confidence)

    def delta_notes(self, row: str, column: Column) -> tuple[str, ...]:
        """Why some seeds have no difference although both rows have a value."""
        seeds: dict[str, list[str]] = {}
        for seed, how in self._unlike(row, column):
            seeds.setdefault(how, []).append(str(seed))
        return tuple(f"{row}, seed {', '.join(which)}: no difference, {how}" for how, which in seeds.items())

    def _unlike(self, row: str, column: Column) -> Iterator[tuple[int, str]]:
        """Seeds whose two runs were evaluated by different protocols, with these; None if the column names a
        protocol."""
        assert column.delta_to is not None
        if column.protocol is not None:
            return
        for seed in self._seeds[row]:
            ours, theirs = self._record(row, seed), self._record(column.delta_to, seed)
            if ours and theirs and ours.protocol and theirs.protocol and ours.protocol != theirs.protocol:
                told = f"it was tested by {ours.protocol} and {column.delta_to} by {theirs.protocol}"
                yield seed, f"{told}; `reskd eval` tests both by one protocol, for a column test/<protocol>/<metric>"

    def _record(self, row: str, seed: int) -> StepRecord | None:
        return self._records.get(self._step_of.get((row, seed), ""))

    def _state(self, row: str, seed: int, key: str) -> SeedState:
        record = self._record(row, seed)
        if record is None:
            if self._teacher_failed(row, seed):
                return "teacher failed"
            return "stale" if (row, seed) in self._stale else "missing"
        if record.state == "done":
            return "done" if key in record.metrics else "not measured"
        return record.state

    def _teacher_failed(self, row: str, seed: int) -> bool:
        teacher = self._teacher(row, seed)
        return teacher is not None and teacher.state in ("failed", "pruned")

    def _teacher(self, row: str, seed: int) -> StepRecord | None:
        step = self._steps.get(self._step_of.get((row, seed), ""))
        return self._records.get(step.teacher_id or "") if step else None

    def _note(self, row: str, seed: int) -> str:
        """Why a seed failed or was stopped early, or that it waits for a teacher that did; nothing for the others."""
        record, teacher = self._record(row, seed), self._teacher(row, seed)
        if record is not None and record.state == "failed":
            return f"{row}, seed {seed}, failed: {_why(record)}"
        if record is not None and record.state == "pruned":
            return f"{row}, seed {seed}, {record.note}"
        if record is None and teacher is not None and teacher.state in ("failed", "pruned"):
            became = "failed" if teacher.state == "failed" else "was stopped early"
            return f"{row}, seed {seed}, waits for its teacher {teacher.step_id}, which {became}: {_why(teacher)}"
        return ""

    def plot_points(self, key: str, *, table_rows: Sequence[str]) -> tuple[PlotPoint, ...]:
        """Every row with an accuracy and a cost, its series named by level and, where they differ, network."""
        models = {recipe.model.name for recipe in self._recipes.values()}
        points = []
        for rows in self._rows_by_steps():
            rows.sort(key=lambda row: row not in table_rows)  # the table's own name first
            accuracies, costs = self.values(rows[0], key), self.values(rows[0], "GMACs")
            if accuracies and costs:
                recipe = self._recipes[rows[0]]
                level = f"{recipe.kd.level}-level distillation" if recipe.has_teacher else "no distillation"
                point = PlotPoint(
                    row=" = ".join(rows),
                    series=level if len(models) == 1 else f"{recipe.model.name}, {level}",
                    gmacs=next(iter(costs.values())),
                    accuracies=tuple(accuracies.values()),
                    in_table=rows[0] in table_rows,
                )
                points.append(point)
        return tuple(points)

    def _rows_by_steps(self) -> list[list[str]]:
        """Rows, those that the same steps answer together."""
        rows: dict[tuple[str | None, ...], list[str]] = {}
        for row, seeds in self._seeds.items():
            rows.setdefault(tuple(self.step_id(row, seed) for seed in seeds), []).append(row)
        return list(rows.values())


def _why(record: StepRecord) -> str:
    """The reason and the last lines of the traceback, on one line."""
    trace = " | ".join(line.strip() for line in record.trace.splitlines())
    return f"{record.note} ({trace})" if trace else record.note


def _plot(sweep: Sweep, spec: TableSpec, seeds: _Seeds, data_name: str, published: Published) -> Plot | None:
    key = next((key for key in spec.columns if key.startswith("test/") and "agreement" not in key), None)
    if key is None:
        raise BadInput(f"{sweep.path}: plot 'accuracy_vs_gmacs' needs a column test/...; add one to the table")
    metric = ACCURACIES.get(key.split("/")[-1], key)
    peers, peers_from = published_peers(published, measured=key, data_name=data_name)
    points = seeds.plot_points(key, table_rows=spec.rows)
    return Plot(heading=f"{metric} (%)", points=points, peers=peers, peers_from=peers_from)
