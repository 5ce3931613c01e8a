"""What a page holds: plain values, which the template only sets into HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.report.answer import Answer
from orchestrator.report.cost import CostLine
from orchestrator.tables.table import Entry, Table

Role = Literal["row", "measured", "difference", "published"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownCell:
    text: str
    detail: str
    """Which seeds are missing, or how many pairs a difference has; on a line below."""
    role: Role
    mark: str
    """best or second of its column; running or waiting without a value yet; else empty."""
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownTable:
    """A table with the role of each column, since published figures look unlike measured ones."""

    key: str
    title: str
    head: tuple[str, ...]
    headings: tuple[tuple[str, Role], ...]
    rows: tuple[tuple[bool, tuple[ShownCell, ...]], ...]
    """(whether the row is published only, its cells)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    title: str
    svg: str
    """Trusted: made here, with the user's text escaped."""
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A picture that `reskd figures` made, as a data URI."""

    title: str
    file: str
    uri: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLine:
    """A job of the timeline, in words."""

    number: int
    colour: int
    """Index of the kind's colour."""
    what: str
    state: str
    progress: str
    waited: str
    took: str
    estimated: str
    ratio: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """A step that failed, is damaged, or was stopped early."""

    name: str
    step_id: str
    state: str
    reason: str
    trace: str
    waiting: tuple[str, ...]
    """Students that wait for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """A clip that did not decode, and the number of steps that met it."""

    split: str
    path: str
    reason: str
    num_steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepLine:
    step_id: str
    name: str
    state: str
    weights_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """(label, value) pairs, the commands that repeat the sweep, its file, and its steps."""

    facts: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    sweep_file: str
    sweep_text: str
    steps: tuple[StepLine, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    name: str
    question: str
    answer: Answer
    counts: tuple[tuple[str, int], ...]
    """(state, number of steps), done first."""
    is_running: bool
    as_of: str
    """Time of the last news, in words; empty if nothing was trained."""
    tables: tuple[ShownTable, ...]
    charts: tuple[Chart, ...]
    not_drawn: tuple[str, ...]
    """Why a chart is missing."""
    sheets: tuple[Sheet, ...]
    num_more_sheets: int
    """Number of sheets that would make the page too large."""
    timeline: tuple[Chart, ...]
    jobs: tuple[JobLine, ...]
    num_older: int
    """Number of sessions that are not drawn."""
    costs: tuple[CostLine, ...]
    forecast: str
    trouble: tuple[Trouble, ...]
    retry: str
    damaged: tuple[Damage, ...]
    num_damaged: int
    """Number of damaged clips, also those that are not listed."""
    provenance: Provenance


def _state(entry: Entry) -> str:
    """running or waiting, if that is all there is to say about an entry."""
    states = {state for _, state in entry.seed_states}
    if entry.n or not states or not states <= {"running", "waiting"}:
        return ""
    return "running" if "running" in states else "waiting"


def shown_table(table: Table) -> ShownTable:
    roles: list[Role] = ["row"]
    entries: list[str | None] = [None]
    for column in table.columns:
        roles.append("measured")
        entries.append(column.key)
        if column.delta_to:
            roles.append("difference")
            entries.append(None)
        if column.published_heading:
            roles.append("published")
            entries.append(None)
    rows = []
    for row in table.all_rows:
        cells = []
        parts = zip(table.cells(row), roles, entries, table.places(row), table.links(row), strict=True)
        for text, role, key, place, links in parts:
            state = "" if key is None else _state(table.entries[row, key])
            shown = f"{state} (0 of {table.entries[row, key].num_seeds})" if key and state else text
            value, _, detail = shown.partition(" (") if role in ("measured", "difference") else (shown, "", "")
            detail = detail.removesuffix(")").replace(") (", "; ")
            cells.append(ShownCell(text=value, detail=detail, role=role, mark=state or place or "", links=links))
        rows.append((row in table.peers, tuple(cells)))
    return ShownTable(
        key=table.key,
        title=table.title,
        head=table.head,
        headings=tuple(zip(table.headings, roles, strict=True)),
        rows=tuple(rows),
    )
