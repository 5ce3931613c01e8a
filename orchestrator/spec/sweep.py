"""A sweep file: the question, the base recipe, its rows and seeds, and the tables to build from them.

Checked here as a whole, against the very dataclasses that training uses, so that a mistake costs seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.spec.columns import check_column, quantity_of
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

PlotKind = Literal["accuracy_vs_gmacs", "learning_curves", "class_gain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What one job may use and what all may use together; changes no result beyond rounding."""

    workers: int = 1
    """Data-parallel workers of a job; divides optim.batch_size / optim.group_size."""
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    max_cpus: float | None = None
    """CPUs of all running jobs together; null: all of the machine or cluster."""
    max_gpus: float | None = None
    """GPUs of all running jobs together; null: all of the cluster, none on one machine."""
    loader_workers: int | None = None
    """Loader processes per worker. 0: the worker decodes itself. null: cpus_per_worker - 1 with a GPU, else 0, since on
    a CPU the network needs the cores."""
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
    """Device profile for estimates of time and memory: cpu, a100, h100, h200 or one in <store>/devices.
    null: the device that is found."""
    budget_gpu_hours: float | None = None
    """A run that is expected to need more GPU-hours is refused; on a cpu, core-hours."""

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
        """BadInput when a job of so many workers can never run within the maxima."""
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
    """One table: which rows of the sweep, which columns, and what stands beside them."""

    title: str = ""
    rows: tuple[str, ...]
    """Rows of the sweep, in the table's order; `row` in the file means all and is written out here."""
    columns: tuple[str, ...]
    """test/<metric> or test/<protocol>/<metric> of the evaluations, or a cost such as GMACs."""
    delta_to: str | None = None
    """Reference row of the paired differences."""
    published: str | None = None
    """Table in published.yaml."""
    published_rows: dict[str, str] = field(default_factory=dict)
    """Our row -> the published row beside it, where the names differ."""
    plot: tuple[PlotKind, ...] = ()
    """Figures of the report, one or a list; class_gain is against `delta_to`."""
    peers: bool = False
    """Also show published rows that are not in the sweep, without a measured figure."""
    expect: dict[str, dict[str, Expect]] = field(default_factory=dict)
    """Row -> column -> bounds on the mean for `reskd tables --check`; `row` stands for every row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """A checked sweep file, its rows multiplied by its seeds."""

    name: str
    """The file's stem, then every change made with --set that may change results."""
    path: Path
    question: str
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    """Seeds of every row. With `auto`, the two compared rows may have more."""
    resources: Resources
    cohort: CohortSpec
    tables: dict[str, TableSpec]
    teacher_seed: int | None
    """The teachers' seed where the sweep fixes it; otherwise a teacher has its students' seed."""
    early_stopping: EarlyStopping | None = None
    """Which rows may be stopped before their last epoch, and by what rule."""
    auto: AutoSeeds | None = None
    """The comparison that decides how many seeds its rows get."""
    further: tuple[Cell, ...] = ()
    """Cells of its two rows beyond `seeds`, up to the limit; `with_seeds` makes some of them cells of the sweep."""

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of all tables, each once."""
        return tuple(dict.fromkeys(column for table in self.tables.values() for column in table.columns))

    def seeds_of(self, row: str) -> tuple[int, ...]:
        return tuple(cell.seed for cell in self.cells if cell.row == row)

    def with_seeds(self, num_seeds: int) -> Sweep:
        """The sweep whose compared rows have so many seeds, each after the row's others."""
        more = [cell for cell in self.further if cell.seed < num_seeds]
        first = [cell for cell in self.cells if cell.seed in self.seeds]
        order = {row: index for index, row in enumerate(self.rows)}
        return replace(self, cells=tuple(sorted([*first, *more], key=lambda cell: (order[cell.row], cell.seed))))


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedRule:
    """`seeds` where it is a mapping and no list."""

    auto: AutoSeeds
    """A named comparison gets seeds while its interval contains zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepFile:
    """The top level of a file; what is a bare mapping here is checked piece by piece."""

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
    """The sweep in a YAML file, with changes such as ``optim.lr=0.02``, ``seeds=[0]`` or ``resources.workers=2``.

    A change overrides the base; a row that sets the same key keeps its own value. Relative paths become absolute
    from the current folder. Anything wrong is a BadInput of one line: file, field, value and way out.
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
            _check_workers(cell, file.resources)
        rows = [row for row, _ in listed]
        further: tuple[Cell, ...] = ()
        if auto is not None:
            for row in auto.compare:
                if row not in rows:
                    raise BadInput(f"'seeds.auto.compare' names {row!r}, which is not a row{did_you_mean(row, rows)}")
            compared = [(row, changes) for row, changes in listed if row in auto.compare]
            stopped = file.early_stopping and _early_stopping(file, cells)
            both = [row for row in auto.compare if stopped and row in stopped.rows]
            if both:
                raise BadInput(
                    f"'seeds.auto.compare' names {both[0]!r}, which 'early_stopping' may stop before it has a figure; "
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
        )


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain values that ``recipe_from_dict`` makes an equal recipe of."""
    return asdict(recipe)


def recipe_from_dict(tree: Mapping[str, Any]) -> Recipe:
    """The recipe of plain values, tuples as lists or tuples; BadInput for a key or a value that no recipe has."""
    recipe: Recipe = check(Recipe, tree)
    return recipe


def _check_top(file: SweepFile) -> None:
    if not file.question.strip():
        raise BadInput("'question' is empty; say what the sweep is to answer")
    file.resources.refuse_too_large(file.resources.workers, who="a job")


def _seeds(tree: object) -> tuple[tuple[int, ...], AutoSeeds | None]:
    """The seeds of every row, and what decides on further ones where the file says `auto`."""
    if tree == "auto":
        raise BadInput("'seeds.auto' must say what to compare: seeds: {auto: {compare: [row, row], column: test/top1}}")
    if isinstance(tree, dict):
        rule: SeedRule = check(SeedRule, tree, name="seeds")
        check_column(rule.auto.column, "'seeds.auto.column'")
        return tuple(range(rule.auto.start)), rule.auto
    seeds: tuple[int, ...] = check(tuple[int, ...], tree, name="seeds")
    if not seeds:
        raise BadInput("'seeds' is empty; give at least one, such as [0]")
    for index, seed in enumerate(seeds):
        if seed < 0:
            raise BadInput(f"'seeds[{index}]' must be at least 0, got {seed}")
        if seed in seeds[:index]:
            raise BadInput(f"'seeds' has {seed} twice; keep one")
    return seeds, None


def _refuse_unlike_tests(auto: AutoSeeds, cells: Sequence[Cell]) -> None:
    """A column without a protocol is each row's own test, and a difference of two tests is none of two rows."""
    first, second = ({cell.recipe.test_protocol.name for cell in cells if cell.row == row} for row in auto.compare)
    if auto.column.count("/") == 1 and first != second:
        raise BadInput(
            f"'seeds.auto.column' is {auto.column!r}, but {auto.compare[0]!r} is tested by {', '.join(first)} and "
            f"{auto.compare[1]!r} by {', '.join(second)}; give both one eval.views, or name a protocol in the column"
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
            divisors = [n for n in range(1, optim.num_groups + 1) if optim.num_groups % n == 0]
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
        repeated = [value for index, value in enumerate(values) if value in values[:index]]
        if repeated:
            raise BadInput(f"'{name}.{part}' has {repeated[0]!r} twice; keep one")
    named = [("rows", row) for row in table.rows] + [("published_rows", row) for row in table.published_rows]
    for part, row in [*named, ("delta_to", table.delta_to)]:
        if row is not None and row not in rows:
            raise BadInput(f"'{name}.{part}' names {row!r}, which is not a row{did_you_mean(row, rows)}")
    for column in table.columns:
        check_column(column, f"'{name}.columns'")
    for part, is_used in (("published_rows", table.published_rows), ("peers", table.peers)):
        if is_used and table.published is None:
            raise BadInput(f"'{name}.{part}' needs '{name}.published', the table that the rows are from")
    if "class_gain" in table.plot and table.delta_to is None:
        raise BadInput(f"'{name}.plot: class_gain' needs '{name}.delta_to', the row that classes are compared with")
    _check_expect(table, name)
    return replace(table, title=table.title or key)


def _check_expect(table: TableSpec, name: str) -> None:
    """Expectations that can be met or not: of rows and columns of the table, with what they compare to."""
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
