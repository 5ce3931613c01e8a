"""A sweep file: the question, the base recipe, its rows and seeds, and the tables to build from them.

The whole file is checked here, against the dataclasses that training uses, so that a mistake is found in seconds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.spec.columns import check_column, main_metric, quantity_of
from orchestrator.spec.early_stopping import EarlyStopping, check_rows
from orchestrator.spec.expand import DRAWS, Cell, check_keys, expand, flatten, list_rows
from orchestrator.spec.expectations import Expect
from orchestrator.spec.overrides import apply_changes, name_of_changes, refuse_idle, split_changes
from orchestrator.spec.strict import check, did_you_mean, naming
from orchestrator.spec.yaml_text import read_yaml
from orchestrator.stats.sequential import AutoSeeds
from reskd.errors import BadInput
from reskd.recipe import Recipe

__all__ = ["Cell", "CohortSpec", "Resources", "Sweep", "TableSpec", "load", "recipe_from_dict", "recipe_to_dict"]

MAX_WORKERS_NAMED = 1024
"""A message proposes no more workers."""

PlotKind = Literal["accuracy_vs_gmacs", "learning_curves", "class_gain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Resources of one job, and of all jobs together. They change results by rounding only."""

    workers: int = 1
    """Number of data-parallel workers per job. It must divide optim.batch_size / optim.group_size."""
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    max_cpus: float | None = None
    """CPUs for all running jobs together; null: all of the machine or cluster."""
    max_gpus: float | None = None
    """GPUs for all running jobs together; null: all of the cluster, none on a single machine."""
    loader_workers: int | None = None
    """Loader processes per worker, at least one: 0 is one too. null: cpus_per_worker - 1 with a GPU, else 0, because on
    a CPU the network needs all cores."""
    groups_per_pass: int | Literal["auto"] = 1
    """How many of a worker's groups go through a network in one pass. More is faster for small groups and needs more
    memory. auto: as many as fit into the device's memory by its profile. Changes a result by rounding only."""
    compile: bool = False
    """Use torch.compile for teacher and students. If it fails, the log says why and training continues without it.
    Changes a result by rounding only."""
    deterministic: bool = True
    """On a GPU: equal bits in every run, alone or in a cohort. false: faster kernels chosen by autotuning, which add in
    any order. Changes a result by rounding only. A CPU is always deterministic."""
    device: str | None = None
    """Device profile for estimates of time and memory: cpu, a100, h100, h200 or one in <store>/devices. null: this
    machine's device."""
    budget_gpu_hours: float | None = None
    """A run is refused if its estimate is above this number of GPU-hours (for a cpu: core-hours)."""

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("groups_per_pass", 1), ("loader_workers", 0), ("gpus_per_worker", 0)):
            value = getattr(self, name)
            if value != "auto" and (value or 0) < least:
                raise BadInput(f"'resources.{name}' must be at least {least}, got {value}")
        if self.cpus_per_worker <= 0:
            raise BadInput(f"'resources.cpus_per_worker' must be positive, got {self.cpus_per_worker}")

    @property
    def num_loaders(self) -> int:
        if self.loader_workers is not None:
            return self.loader_workers
        return max(0, int(self.cpus_per_worker) - 1) if self.gpus_per_worker else 0

    def refuse_too_large(self, workers: int, *, who: str) -> None:
        """Raise BadInput if a job with this number of workers can never run within the limits."""
        for kind, each, limit in (
            ("cpus", self.cpus_per_worker, self.max_cpus),
            ("gpus", self.gpus_per_worker, self.max_gpus),
        ):
            if limit is not None and workers * each > limit:
                raise BadInput(
                    f"'resources.max_{kind}' is {limit:g}, but {who} takes {workers} workers x {each:g} {kind} = "
                    f"{workers * each:g}; raise it, or lower 'resources.{kind}_per_worker' or 'resources.workers'"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class CohortSpec:
    """Whether steps that share data and teacher train together in one job."""

    enabled: bool = True
    max_members: int = 8
    """Most steps in one job. It limits the job's memory."""
    split: bool = True
    """Split a cohort into several jobs if there are more devices than jobs and the whole sweep ends earlier."""

    def __post_init__(self) -> None:
        if self.max_members < 1:
            raise BadInput(f"'cohort.max_members' must be at least 1, got {self.max_members}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """One table: its rows and columns, and the figures beside them."""

    title: str = ""
    rows: tuple[str, ...]
    """Rows of the sweep, in the table's order. `row` in the file means all rows."""
    columns: tuple[str, ...]
    """Columns: test/<metric> or test/<protocol>/<metric> of an evaluation, or a cost such as GMACs."""
    delta_to: str | None = None
    """The row to which paired differences are computed."""
    main_row: str | None = None
    """The row whose difference to `delta_to` is the report's answer; null: the last of the others."""
    published: str | None = None
    """Name of a table in published.yaml, whose figures are shown."""
    published_rows: dict[str, str] = field(default_factory=dict)
    """Row of the sweep -> published row, where the names differ."""
    plot: tuple[PlotKind, ...] = ()
    """Figures in the report, one or a list. class_gain needs `delta_to`."""
    peers: bool = False
    """Also show published rows that are not in the sweep. Their measured columns are empty."""
    expect: dict[str, dict[str, Expect]] = field(default_factory=dict)
    """Row -> column -> bounds on the mean, for `reskd tables SWEEP --check`. `row` stands for every row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """A checked sweep file, its rows multiplied by its seeds."""

    name: str
    """The file's stem, followed by the changes of --set that may change results."""
    path: Path
    question: str
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    """Seeds of every row. With `auto`, the two compared rows may get more."""
    resources: Resources
    cohort: CohortSpec
    tables: dict[str, TableSpec]
    teacher_seed: int | None
    """The seed of all teachers, if the sweep sets it; otherwise a teacher has the seed of its students."""
    early_stopping: EarlyStopping | None = None
    """The rows that may be stopped before their last epoch, and the rule."""
    auto: AutoSeeds | None = None
    """The comparison that decides how many seeds its two rows get."""
    further: tuple[Cell, ...] = ()
    """Cells of the two compared rows beyond `seeds`, up to the limit. `with_seeds` adds some of them to the sweep."""
    changes: tuple[str, ...] = ()
    """The changes of --set, as they were typed."""

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of all tables, each once."""
        return tuple(dict.fromkeys(column for table in self.tables.values() for column in table.columns))

    @property
    def main_metric(self) -> str:
        """The metric that ranks its rows: the first that its tables have, else top-1."""
        return main_metric(self.columns) or "test/top1"

    def seeds_of(self, row: str) -> tuple[int, ...]:
        return tuple(cell.seed for cell in self.cells if cell.row == row)

    def with_seeds(self, num_seeds: int) -> Sweep:
        """The sweep with this number of seeds for the compared rows. New cells follow the other cells of their row."""
        more = [cell for cell in self.further if cell.seed < num_seeds]
        first = [cell for cell in self.cells if cell.seed in self.seeds]
        order = {row: index for index, row in enumerate(self.rows)}
        return replace(self, cells=tuple(sorted([*first, *more], key=lambda cell: (order[cell.row], cell.seed))))


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedRule:
    """`seeds` in the form of a mapping."""

    auto: AutoSeeds
    """A comparison of two rows, which get more seeds while its interval contains zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepFile:
    """The top level of a file. Fields that are plain mappings here are checked part by part later."""

    question: str
    base: dict[str, Any]
    rows: dict[str, Any]
    seeds: Any
    """A list of seeds, or `auto: {compare: [row, row], column: test/top1, start: 3, limit: 10}`."""
    resources: Resources = field(default_factory=Resources)
    cohort: CohortSpec = field(default_factory=CohortSpec)
    early_stopping: EarlyStopping | None = None
    tables: dict[str, Any] = field(default_factory=dict)


def load(path: Path, *, changes: Sequence[str] = ()) -> Sweep:
    """Load a sweep file with changes such as ``optim.lr=0.02``, ``seeds=[0]`` or ``resources.workers=2``.

    A change overrides the base; a row that sets the same key keeps its own value. Relative paths are relative to the
    current folder, and become absolute. Any mistake raises BadInput with one line: file, field, value and way out.
    """
    with naming(str(path)):
        tree = read_yaml(path)
        changed = split_changes(changes)
        file: SweepFile = check(SweepFile, apply_changes(changed, tree))
        _check_top(file)
        base = check_keys(flatten(file.base))
        listed = list_rows(file.rows)
        refuse_idle(changed, listed)
        seeds, auto = _seeds(file.seeds)
        cells = expand(base, listed, seeds=seeds)
        for cell in cells:
            cell.recipe.data.refuse_outside()
            _check_workers(cell, file.resources)
        rows = [row for row, _ in listed]
        further: tuple[Cell, ...] = ()
        if auto is not None:
            for row in auto.compare:
                if row not in rows:
                    raise BadInput(f"'seeds.auto.compare' names {row!r}, which is not a row{did_you_mean(row, rows)}")
            imported = [cell.row for cell in cells if cell.row in auto.compare and cell.recipe.is_imported]
            if imported:
                raise BadInput(
                    f"'seeds.auto.compare' names {imported[0]!r}, an imported model, which has no seeds; "
                    "compare rows that are trained"
                )
            compared = [(row, changes) for row, changes in listed if row in auto.compare]
            stopped = file.early_stopping and _early_stopping(file, cells)
            both = [row for row in auto.compare if stopped and row in stopped.rows]
            if both:
                raise BadInput(
                    f"'seeds.auto.compare' names {both[0]!r}, which 'early_stopping' may stop before its final test; "
                    "name it in only one of the two"
                )
            _refuse_unlike_tests(auto, cells)
            further = expand(base, compared, seeds=range(auto.start, auto.limit))
        teacher_seed = base.get("teacher.seed")
        return Sweep(
            name=path.stem + name_of_changes(changed),
            path=path,
            question=file.question.strip(),
            cells=cells,
            seeds=seeds,
            resources=file.resources,
            cohort=file.cohort,
            tables={key: _table(key, table, rows) for key, table in file.tables.items()},
            teacher_seed=teacher_seed if isinstance(teacher_seed, int) else None,
            early_stopping=_early_stopping(file, cells),
            auto=auto,
            further=further,
            changes=tuple(changes),
        )


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain values, from which ``recipe_from_dict`` makes an equal recipe."""
    return asdict(recipe)


def recipe_from_dict(tree: Mapping[str, Any]) -> Recipe:
    """The recipe of plain values; tuples may be lists. Raises BadInput for a key or a value that a recipe cannot
    have."""
    recipe: Recipe = check(Recipe, tree)
    return recipe


def _check_top(file: SweepFile) -> None:
    if not file.question.strip():
        raise BadInput("'question' is empty; say what the sweep is to answer")
    file.resources.refuse_too_large(file.resources.workers, who="a job")


def _seeds(tree: object) -> tuple[tuple[int, ...], AutoSeeds | None]:
    """The seeds of every row, and the rule for more seeds if the file has `auto`."""
    if tree == "auto":
        raise BadInput("'seeds.auto' must say what to compare: seeds: {auto: {compare: [row, row], column: test/top1}}")
    if isinstance(tree, dict):
        rule: SeedRule = check(SeedRule, tree, name="seeds")
        check_column(rule.auto.column, "'seeds.auto.column'")
        return tuple(range(rule.auto.start)), rule.auto
    seeds: tuple[int, ...] = check(tuple[int, ...], tree, name="seeds")
    if not seeds:
        raise BadInput("'seeds' is empty; give at least one, such as [0]")
    seen = set()
    for index, seed in enumerate(seeds):
        if seed < 0:
            raise BadInput(f"'seeds[{index}]' must be at least 0, got {seed}")
        if seed in seen:
            raise BadInput(f"'seeds' has {seed} twice; keep one")
        seen.add(seed)
    return seeds, None


def _refuse_unlike_tests(auto: AutoSeeds, cells: Sequence[Cell]) -> None:
    """Raise BadInput if the compared rows have different final tests and the column does not name a protocol.

    A difference between two protocols says nothing about two rows.
    """
    first, second = ({cell.recipe.test_protocol.name for cell in cells if cell.row == row} for row in auto.compare)
    if auto.column.count("/") == 1 and first != second:
        raise BadInput(
            f"'seeds.auto.column' is {auto.column!r}, but {auto.compare[0]!r} is tested by {', '.join(first)} and "
            f"{auto.compare[1]!r} by {', '.join(second)}; give both the same eval.views, or name a "
            f"protocol in the column"
        )


def _early_stopping(file: SweepFile, cells: Sequence[Cell]) -> EarlyStopping | None:
    if file.early_stopping is None:
        return None
    drawn = list_rows({DRAWS: file.rows[DRAWS]}) if DRAWS in file.rows else []
    return check_rows(file.early_stopping, cells, drawn=[row for row, _ in drawn])


def _check_workers(cell: Cell, resources: Resources) -> None:
    recipes = {"": cell.recipe, "teacher: ": cell.recipe.teacher}
    for who, recipe in recipes.items():
        if isinstance(recipe, Recipe) and recipe.optim.num_groups % resources.workers:
            optim = recipe.optim
            most = min(optim.num_groups, MAX_WORKERS_NAMED)
            divisors = [n for n in range(1, most + 1) if optim.num_groups % n == 0]
            raise BadInput(
                f"row {cell.row!r}: {who}'resources.workers' must divide optim.batch_size / optim.group_size = "
                f"{optim.batch_size} / {optim.group_size} = {optim.num_groups}, got {resources.workers}; "
                f"choose {' or '.join(map(str, divisors))}"
            )


def _table(key: str, tree: object, rows: Sequence[str]) -> TableSpec:
    name = f"tables.{key}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
        raise BadInput(f"'tables' has the key {key!r}; it names files, so use letters, digits, _ and - only")
    if isinstance(tree, dict) and tree.get("rows", "row") == "row":
        tree = {**tree, "rows": list(rows)}
    if isinstance(tree, dict) and not isinstance(tree.get("plot", []), list):
        tree = {**tree, "plot": [] if tree["plot"] is None else [tree["plot"]]}
    table: TableSpec = check(TableSpec, tree, name=name)
    for part, values in (("rows", table.rows), ("columns", table.columns)):
        if not values:
            raise BadInput(f"'{name}.{part}' selects nothing; name at least one")
        repeated = [value for value, number in Counter(values).items() if number > 1]
        if repeated:
            raise BadInput(f"'{name}.{part}' has {repeated[0]!r} twice; keep one")
    named = [("rows", row) for row in table.rows] + [("published_rows", row) for row in table.published_rows]
    for part, row in [*named, ("delta_to", table.delta_to), ("main_row", table.main_row)]:
        if row is not None and row not in rows:
            raise BadInput(f"'{name}.{part}' names {row!r}, which is not a row{did_you_mean(row, rows)}")
    for column in table.columns:
        check_column(column, f"'{name}.columns'")
    if table.main_row is not None and table.delta_to in (None, table.main_row):
        raise BadInput(f"'{name}.main_row' has no difference: it needs '{name}.delta_to', another row")
    if table.main_row is not None and table.main_row not in table.rows:
        raise BadInput(f"'{name}.main_row' names {table.main_row!r}, which is not a row of the table")
    for part, is_used in (("published_rows", table.published_rows), ("peers", table.peers)):
        if is_used and table.published is None:
            raise BadInput(f"'{name}.{part}' needs '{name}.published', the table that the rows are from")
    if "class_gain" in table.plot and table.delta_to is None:
        raise BadInput(f"'{name}.plot: class_gain' needs '{name}.delta_to', the row that classes are compared with")
    _check_expect(table, name)
    return replace(table, title=table.title or key)


def _check_expect(table: TableSpec, name: str) -> None:
    """Check that expectations name rows and columns of the table, and that what they compare with exists."""
    for row, columns in table.expect.items():
        if row not in ("row", *table.rows):
            raise BadInput(f"'{name}.expect' names {row!r}, which is not a row of it{did_you_mean(row, table.rows)}")
        for column, expected in columns.items():
            where = f"'{name}.expect.{row}.{column}'"
            if column not in table.columns:
                raise BadInput(f"{where}: not a column of the table{did_you_mean(column, table.columns)}")
            if expected.is_about_published and table.published is None:
                raise BadInput(f"{where} needs '{name}.published', the table whose figure it is about")
            has_delta = quantity_of(column).ranks_rows
            if expected.is_about_delta and (table.delta_to in (None, row) or not has_delta):
                raise BadInput(f"{where} has no difference to expect: it needs '{name}.delta_to', another row")
