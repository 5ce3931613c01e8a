"""What a table is made of: columns, entries, and how an entry reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from orchestrator.spec.columns import protocol_in
from orchestrator.stats.estimates import Estimate, number_text
from orchestrator.tables.published import PublishedColumn

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

SeedState = Literal[
    "done",
    "missing",
    "failed",
    "damaged",
    "pruned",
    "running",
    "waiting",
    "interrupted",
    "teacher failed",
    "stale",
    "not measured",
]
"""The state of a row's seed in one column.

waiting: a run will train it, and has not begun. stale: MLflow has a run of the row and seed, but with an older recipe
of the sweep. not measured: the step is done and has no value of the metric.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A measured column, and the headings of the columns that stand beside it."""

    key: str
    heading: str
    unit: str
    """Values of entries are in it: %, G, M, clips/s..."""
    delta_to: str | None = None
    """Row that this column's paired differences are taken to."""
    published: PublishedColumn | None = None
    published_heading: str | None = None
    ranks_rows: bool = False
    """Whether rows are compared by it, the larger the better."""
    is_comparable: bool = False
    """Whether the published figure was measured on the same data set."""

    @property
    def protocol(self) -> str | None:
        return protocol_in(self.key)

    @property
    def delta_heading(self) -> str:
        return f"vs {self.delta_to} (points)"


Kind = Literal["measured", "published only", "not asked", "not measured"]
"""published only: a published row that is not in the sweep. not asked: a row that only another sweep of the table has.
not measured: no imported measurement fits its network, resolution and frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One row in one column: the measured value and what it is based on."""

    row: str
    column: str
    unit: str
    estimate: Estimate
    seed_states: tuple[tuple[int, SeedState], ...]
    """State of every seed that the sweep asks for."""
    step_ids: tuple[str, ...]
    """Steps behind the values, in the order of the seeds."""
    delta: Estimate | None = None
    is_sequential: bool = False
    """Whether `seeds: auto` added seeds while it looked at the difference. The interval is then corrected."""
    published: float | None = None
    protocols: tuple[str, ...] = ()
    """Protocols of the values. If there are several, no mean is shown."""
    devices: tuple[str, ...] = ()
    """Devices on which clips/s was measured. If there are several, no mean is shown."""
    notes: tuple[str, ...] = ()
    """Why seeds failed, or which failed teacher they wait for."""
    kind: Kind = "measured"
    links: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """(seed, page of its MLflow run) of the values, where the address of a tracking server is known."""

    @property
    def n(self) -> int:
        return self.estimate.n

    @property
    def num_seeds(self) -> int:
        return len(self.seed_states)

    @property
    def state(self) -> str:
        """complete, partial, or the state of all seeds if none has a value (mixed if they differ); else the kind."""
        if self.kind != "measured":
            return self.kind
        if self.n:
            return "complete" if self.n == self.num_seeds else "partial"
        states = {state for _, state in self.seed_states}
        return states.pop() if len(states) == 1 else "mixed"

    @property
    def text(self) -> str:
        """The numbers, and what is missing, in words."""
        if self.kind != "measured":
            return "not measured" if self.kind == "not measured" else "-"
        averages = len(self.protocols) <= 1 and len(self.devices) <= 1
        shown = self.estimate.text(unit=self.unit, average=averages)
        if self.n == self.num_seeds:
            return shown
        if not self.n and self.state == "not measured":
            return "not measured"
        if not self.n and self.state != "mixed":
            return f"{self.state} (0 of {self.num_seeds})"
        gaps = ", ".join(f"seed {seed} {state}" for seed, state in self.seed_states if state != "done")
        return f"{shown} ({self.n} of {self.num_seeds}: {gaps})".strip()

    @property
    def mean_text(self) -> str:
        """The mean of all seeds as a number; empty where a seed, or one protocol for all, is missing."""
        is_whole = self.state == "complete" and len(self.protocols) <= 1 and len(self.devices) <= 1
        mean = self.estimate.mean if is_whole else None
        return "" if mean is None else number_text(mean, unit=self.unit)

    @property
    def published_text(self) -> str:
        return "" if self.published is None else number_text(self.published, unit=self.unit)

    @property
    def delta_text(self) -> str:
        """The difference, with the number of pairs if seeds are missing, and whether it is sequential."""
        if self.delta is None:
            return ""
        shown = self.delta.text(unit=self.unit, signed=True)
        labels = ["sequential"] if self.is_sequential and self.delta.n else []
        if 0 < self.delta.n < self.num_seeds:
            labels.append(f"{self.delta.n} pairs" if self.delta.n > 1 else "1 pair")
        return f"{shown} ({', '.join(labels)})" if labels else shown


@dataclass(frozen=True, kw_only=True, slots=True)
class PlotPoint:
    """One row of the sweep in accuracy over cost; accuracies in percent, one a seed."""

    row: str
    """Rows of the same steps are one point, `24 px = pixel-level MSE`."""
    series: str
    gmacs: float
    accuracies: tuple[float, ...]
    in_table: bool = True
    """Whether it is a row of the table that asks for the plot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """accuracy_vs_gmacs: every row of the sweep that has been measured."""

    heading: str
    """Heading of the accuracy."""
    points: tuple[PlotPoint, ...]
    peers: tuple[tuple[str, float, float], ...] = ()
    """(method, GMACs, accuracy in percent) as published for the same data set and metric; drawn as single marks."""
    peers_from: str = ""
    """The source of the peers' figures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A further figure of the report, drawn when it is written."""

    stem: str
    """Its file's name without the ending."""
    title: str
    draw: partial[Drawn]
    """The function that draws it and the data: equal ones give the same figure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A finished table, in the order it is shown; entries by (row, column key)."""

    key: str
    title: str
    sweep: str
    question: str
    head: tuple[str, ...]
    """Sentences above the table."""
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    """Rows that are or will be measured."""
    entries: Mapping[tuple[str, str], Entry]
    plot: Plot | None = None
    figures: tuple[Figure, ...] = ()
    peers: tuple[str, ...] = ()
    """Published rows that are not in the sweep. They stand first and have published figures only."""
    data: str = ""
    """The data set in words; empty if the rows have several."""

    @property
    def all_rows(self) -> tuple[str, ...]:
        return (*self.peers, *self.rows)

    @property
    def headings(self) -> list[str]:
        headings = ["row"]
        for column in self.columns:
            headings.append(column.heading)
            headings += [column.delta_heading] if column.delta_to else []
            headings += [column.published_heading] if column.published_heading else []
        return headings

    def cells(self, row: str) -> list[str]:
        """A row's texts under `headings`."""
        texts = [row]
        for index, column in enumerate(self.columns):
            entry = self.entries[row, column.key]
            texts.append("published only" if row in self.peers and not index else entry.text)
            if column.delta_to:
                texts.append("reference" if row == column.delta_to else entry.delta_text)
            texts += [entry.published_text] if column.published_heading else []
        return texts

    def places(self, row: str) -> list[Literal["best", "second"] | None]:
        """For each of `cells`: whether its measured mean is the largest or second largest of its column.

        Only columns that rank rows and have a mean in at least two of them count. Means that read alike are equal.
        """
        places: list[Literal["best", "second"] | None] = [None]
        for column in self.columns:
            means = {other: self.entries[other, column.key].mean_text for other in self.rows}
            known = sorted({float(text) for text in means.values() if text}, reverse=True)
            ours = means.get(row) if column.ranks_rows and sum(map(bool, means.values())) > 1 else None
            rank = known.index(float(ours)) if ours else None
            places.append("best" if rank == 0 else "second" if rank == 1 else None)
            places += [None] * (bool(column.delta_to) + bool(column.published_heading))
        return places

    def links(self, row: str) -> list[tuple[tuple[str, str], ...]]:
        """(seed, page of its run) of each cell of a row; of cells on the same runs only the first."""
        links: list[tuple[tuple[str, str], ...]] = [()]
        for column in self.columns:
            found = self.entries[row, column.key].links
            links.append(() if found in links else found)
            links += [()] * (bool(column.delta_to) + bool(column.published_heading))
        return links
