"""Draws a session of the timeline: a lane for each device, a slice for each step, and below them who waited."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.report.timeline import Bar, Session, Span
from orchestrator.tables.cost_plot import COLOURS, FONT_SIZE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = COLOURS[:6]
"""Colours of the kinds of jobs, in turn; the seventh, black, is that of text."""
WIDTH = 10.5
LANE, WAIT = 0.42, 0.15
"""Inches for a lane, and for the line of a job that waits."""
MAX_WAITS = 40
"""Most jobs whose waiting is drawn: those that waited longest."""
PLACE_WIDTH = 22
"""Letters in a line of a lane's name."""
FEW = 0.01
"""Share of the session below which a wait is not drawn."""


def draw_session(session: Session) -> Figure:
    from matplotlib.figure import Figure

    total_ms = max(session.last_ms - session.first_ms, 1)
    waits = [wait for wait in session.waits if wait.started_ms - wait.queued_ms > FEW * total_ms]
    waits = sorted(waits, key=lambda wait: wait.queued_ms - wait.started_ms)[:MAX_WAITS]
    waits.sort(key=lambda wait: wait.bar.number)
    height = LANE * len(session.lanes) + WAIT * len(waits) + 0.75
    figure = Figure(figsize=(WIDTH, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    seconds, unit = _unit(total_ms)

    def at(ms: int) -> float:
        return (ms - session.first_ms) / 1000 / seconds

    labels: list[tuple[float, str]] = []
    for row, (place, bars) in enumerate(session.lanes):
        middle = -LANE * (row + 0.5)
        labels.append((middle, place))
        for bar in bars:
            _draw_bar(axes, bar, middle=middle, at=at)
    top = -LANE * len(session.lanes) - WAIT
    for row, wait in enumerate(waits):
        level, colour = top - WAIT * row, _colour(wait.bar)
        axes.plot([at(wait.queued_ms), at(wait.ready_ms)], [level] * 2, ":", color=colour, linewidth=1.2)
        axes.plot(
            [at(wait.ready_ms), at(wait.started_ms)],
            [level] * 2,
            "-",
            color=colour,
            linewidth=2.6,
            solid_capstyle="butt",
        )
        axes.text(
            at(wait.started_ms), level, f" {wait.bar.number}", size=FONT_SIZE - 2, va="center_baseline", color=colour
        )
    if waits:
        labels.append((top - WAIT * (len(waits) - 1) / 2, "waiting"))
    axes.set_yticks([level for level, _ in labels], [_lines(text) for _, text in labels], fontsize=FONT_SIZE)
    axes.set_ylim(top - WAIT * len(waits), 0)
    axes.set_xlim(0, 1.01 * total_ms / 1000 / seconds)
    start = datetime.fromtimestamp(session.first_ms / 1000, tz=UTC)
    axes.set_xlabel(f"{unit} after {start:%Y-%m-%d %H:%M} UTC")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _draw_bar(axes: Any, bar: Bar, *, middle: float, at: Any) -> None:
    """A slice for each member, so that the bar gets thinner as members end; the job's number on its first span."""
    size = 0.72 * LANE / len(bar.members)
    for index, member in enumerate(bar.members):
        low = middle - 0.36 * LANE + size * index
        for first, last in _until(bar.spans, member.heard_ms if member.state != "running" else bar.spans[-1][1]):
            faded = 0.45 if member.state != "done" else 0.9
            axes.broken_barh(
                [(at(first), at(last) - at(first))], (low, size), color=_colour(bar), alpha=faded, linewidth=0
            )
    first, last = bar.spans[0]
    axes.text(
        (at(first) + at(last)) / 2,
        middle,
        str(bar.number),
        size=FONT_SIZE,
        ha="center",
        va="center_baseline",
        weight="bold",
    )


def _until(spans: tuple[Span, ...], end_ms: int) -> list[Span]:
    return [(first, min(last, end_ms)) for first, last in spans if first < end_ms]


def _colour(bar: Bar) -> str:
    return KINDS[bar.kind % len(KINDS)]


def _unit(total_ms: int) -> tuple[float, str]:
    """Seconds of the axis' unit, and its name."""
    if total_ms < 180_000:
        return 1.0, "seconds"
    return (60.0, "minutes") if total_ms < 3 * 3_600_000 else (3600.0, "hours")


def _lines(place: str) -> str:
    """A place in at most two lines, as high as a lane."""
    return textwrap.fill(place, PLACE_WIDTH, max_lines=2, placeholder=" …")
