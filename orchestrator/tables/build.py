"""Tables as build targets: rows x columns of entries, each with its seeds, its runs and the paper's figure beside it.

Entries and plots are made from the same rows as the DataFrame of a sweep's results: one for each cell and metric, from
the records of MLflow or of the store, which say the same. Nothing is averaged away: seeds that are missing, failed,
running or stale are named in the entry, and published figures keep columns of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.spec.columns import main_metric, plain_key, quantity_of
from orchestrator.spec.steps import Step
from orchestrator.spec.sweep import Sweep, TableSpec
from orchestrator.stats.estimates import CONFIDENCE, Estimate, paired_difference
from orchestrator.stats.sequential import Look
from orchestrator.store.imported_speeds import BenchFile, bench_sentences
from orchestrator.store.step_record import StepRecord, records_from_store
from orchestrator.tables.columns import check_tables, make_column, published_figures
from orchestrator.tables.head_notes import head_sentences
from orchestrator.tables.published import Published, PublishedTable, published_peers
from orchestrator.tables.results import Result, collect_results
from orchestrator.tables.table import Column, Entry, Plot, PlotPoint, Table
from reskd.errors import BadInput
from reskd.recipe import Recipe

__all__ = ["Column", "Entry", "StepRecord", "Table", "build_table", "check_tables", "records_from_store"]

COST = "GMACs"
"""What the plot accuracy_vs_gmacs is against."""


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
    waiting: Collection[str] = (),
) -> Table:
    """Build a table: an entry for every row and column, the sentences above it, and the plot if it asks for one.

    waiting: steps that a run will train and has not begun.
    """
    recipes = {cell.row: cell.recipe for cell in sweep.cells}
    data_names = {recipes[row].data.name for row in spec.rows}
    paper = published.table(spec.published) if spec.published else None
    columns = tuple(make_column(name, spec, paper, data_names, published) for name in spec.columns)
    figures = published_figures(spec, columns, paper)
    plotted = _plotted(sweep, spec) if "accuracy_vs_gmacs" in spec.plot else None
    # A plot shows every row of the sweep, and the reference of differences need not be a row of the table.
    needed = set(recipes) if plotted else {*spec.rows, spec.delta_to}
    results = collect_results(
        [cell for cell in sweep.cells if cell.row in needed],
        steps=steps,
        records=records,
        metrics=list(dict.fromkeys((*spec.columns, *((plotted, COST) if plotted else ())))),
        bench=bench,
        waiting=waiting,
    )
    rows = _Rows(results, seedless={row for row, recipe in recipes.items() if recipe.is_imported})
    entries: dict[tuple[str, str], Entry] = {}
    for row in spec.rows:
        for column in columns:
            entry = rows.entry(row, column)
            if column.delta_to and row != column.delta_to:
                is_sequential = sweep.auto is not None and {row, column.delta_to} == set(sweep.auto.compare)
                confidence = sweep.auto.confidence if sweep.auto and is_sequential else CONFIDENCE
                delta = rows.delta(row, column, confidence=confidence)
                notes = (*entry.notes, *rows.delta_notes(row, column))
                entry = replace(entry, delta=delta, is_sequential=is_sequential, notes=notes)
            if (row, column.key) in figures:
                entry = replace(entry, published=figures[row, column.key])
            entries[row, column.key] = entry
    peers = _peers(spec, paper, columns)
    for row, label in peers.items():
        for column in columns:
            entries[label, column.key] = _peer_entry(label, column, paper.rows[row] if paper else {})
    used = {step_id for row in spec.rows for step_id in rows.step_ids(row, spec.columns[0])}
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
        plot=_plot(spec, plotted, rows, recipes, data_name=data_name, published=published) if plotted else None,
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


def _network_entry(row: str, column: Column, value: float | None) -> Entry:
    """The entry for an imported measurement. It depends on the network, not on a training, so it has no seeds."""
    return Entry(
        row=row,
        column=column.key,
        unit=column.unit,
        estimate=Estimate(() if value is None else ((0, value),)),
        seed_states=() if value is None else ((0, "done"),),
        step_ids=(),
        kind="not measured" if value is None else "measured",
    )


def _plotted(sweep: Sweep, spec: TableSpec) -> str:
    """The metric of the plot. Raises BadInput if the table has none."""
    key = main_metric(spec.columns)
    if key is None:
        raise BadInput(
            f"{sweep.path}: plot 'accuracy_vs_gmacs' needs a column test/... of an accuracy; add one to the table"
        )
    return key


class _Rows:
    """The results of one table by row and metric, and what entries are made of them."""

    def __init__(self, results: Iterable[Result], *, seedless: Collection[str]) -> None:
        self._seedless = seedless
        self._results: dict[tuple[str, str], list[Result]] = {}
        for result in results:
            self._results.setdefault((result.row, result.metric), []).append(result)

    def step_ids(self, row: str, key: str) -> tuple[str, ...]:
        return tuple(result.step_id for result in self._results[row, key])

    def values(self, row: str, key: str) -> dict[int, float]:
        """Seed -> value, in the unit of the column."""
        return {result.seed: result.value for result in self._results[row, key] if result.value is not None}

    def entry(self, row: str, column: Column) -> Entry:
        quantity, results = quantity_of(column.key), self._results[row, column.key]
        if quantity.record == "imported":
            return _network_entry(row, column, results[0].value)
        measured = [result for result in results if result.value is not None]
        protocols = {result.protocol or "" for result in measured if quantity.depends_on_protocol}
        return Entry(
            row=row,
            column=column.key,
            unit=column.unit,
            estimate=Estimate(tuple(self.values(row, column.key).items())),
            seed_states=tuple((result.seed, result.seed_state) for result in results),
            step_ids=tuple(result.step_id for result in measured),
            protocols=tuple(sorted(protocols)),
            devices=tuple(sorted({result.device for result in measured if result.device})),
            notes=tuple(result.note for result in results if result.note),
            links=tuple(
                (str(result.seed), result.url) for result in measured if result.url and result.url.startswith("http")
            ),
        )

    def delta(self, row: str, column: Column, *, confidence: float) -> Estimate:
        """The difference over the seeds for which both runs were evaluated by the same protocol.

        A difference between two protocols says nothing about two rows.
        """
        unlike = dict(self._unlike(row, column))
        values, reference = {}, {}
        for seed, (ours, theirs) in self._pairs(row, column).items():
            if ours.value is not None and theirs.value is not None and seed not in unlike:
                values[seed], reference[seed] = ours.value, theirs.value
        return paired_difference(values, reference, confidence=confidence)

    def _pairs(self, row: str, column: Column) -> dict[int, tuple[Result, Result]]:
        """Seed -> the results of the row and of the reference.

        An imported model has no seeds, so it stands beside every seed of the other row.
        """
        assert column.delta_to is not None
        ours, theirs = (
            {result.seed: result for result in self._results[name, column.key]} for name in (row, column.delta_to)
        )
        if row in self._seedless:
            ours = dict.fromkeys(theirs, next(iter(ours.values())))
        elif column.delta_to in self._seedless:
            theirs = dict.fromkeys(ours, next(iter(theirs.values())))
        return {seed: (ours[seed], theirs[seed]) for seed in ours if seed in theirs}

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
        for seed, pair in self._pairs(row, column).items():
            ours, theirs = (result.protocol for result in pair)
            if ours and theirs and ours != theirs:
                told = f"it was tested by {ours} and {column.delta_to} by {theirs}"
                yield (
                    seed,
                    f"{told}; `reskd eval` tests both by one protocol, for a column test/<protocol>/<metric>",
                )

    def plot_points(
        self, key: str, recipes: Mapping[str, Recipe], *, table_rows: Sequence[str]
    ) -> tuple[PlotPoint, ...]:
        """Every row with an accuracy and a cost, its series named by level and, where they differ, network."""
        models = {recipe.model.name for recipe in recipes.values()}
        same: dict[tuple[str, ...], list[str]] = {}  # rows that the same steps answer
        for row in recipes:
            same.setdefault(self.step_ids(row, key), []).append(row)
        points = []
        for rows in same.values():
            rows.sort(key=lambda row: row not in table_rows)  # the table's own name first
            accuracies, costs = self.values(rows[0], key), self.values(rows[0], COST)
            if accuracies and costs:
                recipe = recipes[rows[0]]
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


def _plot(
    spec: TableSpec, key: str, rows: _Rows, recipes: Mapping[str, Recipe], *, data_name: str, published: Published
) -> Plot:
    peers, peers_from = published_peers(published, measured=key, data_name=data_name)
    points = rows.plot_points(key, recipes, table_rows=spec.rows)
    return Plot(heading=quantity_of(plain_key(key)).heading, points=points, peers=peers, peers_from=peers_from)
