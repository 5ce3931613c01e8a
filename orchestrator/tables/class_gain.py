"""Draws which classes a row gains over the baseline: bars of paired differences, from the logits in the store."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.spec.steps import Step
from orchestrator.store.evaluations import StoredJudgement, default_protocol, stored_judgement
from orchestrator.store.store import Store
from orchestrator.tables.cost_plot import COLOURS, FONT_SIZE
from reskd.evaluation.paired_tests import class_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES = 24
"""Most classes in a figure. With more, half of them are those with the largest gains, half those with the largest
losses."""
LETTERS_PER_INCH = 13
"""At FONT_SIZE; longer lines would be cut off at the figure's edge."""
GAIN, LOSS = COLOURS[0], COLOURS[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassGain:
    """One row against the baseline, in points; `gains` maps a class to one difference a seed."""

    row: str
    over: str
    measure: str
    """accuracy, or average precision where clips have several classes."""
    gains: Mapping[str, tuple[float, ...]]

    def mean(self, name: str) -> float:
        return statistics.fmean(self.gains[name])


def read_gains(store: Store, steps: Mapping[str, Step], rows: Sequence[str], *, over: str) -> list[ClassGain]:
    """The gain of each other row over the row `over`, for each seed that both finished, on the clips that both have.

    A row that was evaluated by another protocol than `over` is left out.
    """
    by_cell = {cell: step.id for step in steps.values() for cell in step.cells}
    seeds = [seed for row, seed in by_cell if row == over]
    gains = []
    for row in (row for row in rows if row != over):
        pairs = [(by_cell[row, seed], by_cell[over, seed]) for seed in seeds if (row, seed) in by_cell]
        pairs = [pair for pair in pairs if all(map(store.is_finished, pair)) and _are_alike(store, *pair)]
        if pairs:
            gains.append(_gain([_judged(store, *pair) for pair in pairs], row=row, over=over))
    return gains


def _are_alike(store: Store, first: str, second: str) -> bool:
    return default_protocol(store, first) == default_protocol(store, second)


def _judged(store: Store, first: str, second: str) -> tuple[StoredJudgement, StoredJudgement]:
    return stored_judgement(store, first), stored_judgement(store, second)


def _gain(pairs: Sequence[tuple[StoredJudgement, StoredJudgement]], *, row: str, over: str) -> ClassGain:
    """Each class's gain. With several labels per clip, it is the gain in average precision.

    For accuracy, such a clip would count as its predicted class, which differs between models.
    """
    is_multi_label = any((one.targets.sum(axis=1) > 1).any() for pair in pairs for one in pair)
    found: dict[str, list[float]] = {}
    for pair in pairs:
        _, *places = np.intersect1d(pair[0].indices, pair[1].indices, return_indices=True)
        scores = [
            class_scores(one.logits[kept], one.targets[kept], classes=one.classes, with_precision=is_multi_label)
            for one, kept in zip(pair, places, strict=True)
        ]
        for first, second in zip(*scores, strict=True):
            values = [one.average_precision if is_multi_label else one.accuracy for one in (first, second)]
            if np.isfinite(values).all():
                found.setdefault(first.name, []).append(100 * (values[0] - values[1]))
    measure = "average precision" if is_multi_label else "accuracy"
    return ClassGain(row=row, over=over, measure=measure, gains={name: tuple(of) for name, of in found.items()})


def shown_classes(gains: Sequence[ClassGain]) -> list[str]:
    """Classes in the order of the last row's gains, largest first. If there are many, only both ends."""
    last = gains[-1]
    names = sorted(last.gains, key=lambda name: -last.mean(name))
    half = MAX_CLASSES // 2
    return names if len(names) <= MAX_CLASSES else names[:half] + names[-half:]


def draw_gains(gains: Sequence[ClassGain]) -> Figure:
    from matplotlib.figure import Figure

    names = shown_classes(gains)
    num_hidden = len(gains[-1].gains) - len(names)
    width, height = 2.6 + 2.6 * len(gains), 1.7 + 0.28 * len(names)
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(gains), sharex=True, sharey=True, squeeze=False)[0]
    places = range(len(names), 0, -1)
    for axes, gain in zip(panels, gains, strict=True):
        means = [gain.mean(name) if name in gain.gains else 0.0 for name in names]
        axes.barh(places, means, color=[GAIN if mean >= 0 else LOSS for mean in means], height=0.7, alpha=0.8)
        seeds = [
            (value, place) for place, name in zip(places, names, strict=True) for value in gain.gains.get(name, ())
        ]
        if len(seeds) > len(names):
            axes.plot([x for x, _ in seeds], [y for _, y in seeds], "o", color="black", markersize=2.6)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(gain.row, fontsize=FONT_SIZE + 1)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(list(places), names, fontsize=FONT_SIZE)
    if num_hidden:
        middle = len(names) / 2 + 0.5
        for axes in panels:
            axes.axhline(middle, color="#888888", linewidth=0.8, linestyle=":")
    hidden = f"; {num_hidden} classes between the dotted line's sides are left out" if num_hidden else ""
    has_seeds = any(len(values) > 1 for gain in gains for values in gain.gains.values())
    said = "bar: mean over seeds, dots: seeds" if has_seeds else "one seed"
    words = f"{gains[0].measure} of the class, minus that of {gains[0].over!r} (points); {said}{hidden}"
    figure.supxlabel(textwrap.fill(words, int(LETTERS_PER_INCH * width)), fontsize=FONT_SIZE)
    return figure
