"""The answer of a sweep in one sentence: the paired difference of its main row to the baseline, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.spec.columns import main_metric
from orchestrator.spec.sweep import Sweep, TableSpec
from orchestrator.stats.estimates import MIN_SEEDS, Estimate, number_text
from orchestrator.stats.sequential import percent
from orchestrator.tables.table import Entry

Verdict = Literal["higher", "lower", "not resolved", "too few seeds", "no answer yet", "no comparison"]
MINUS = "\N{MINUS SIGN}"
NO_COMPARISON = (
    "No comparison is asked for: no table of the sweep file has 'delta_to' together with a column of an accuracy."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What the answer is about: two rows and the column in which they are compared."""

    row: str
    reference: str
    column: str

    @property
    def spec(self) -> TableSpec:
        """A table with these two rows alone, whose entries `answer_of` reads."""
        return TableSpec(rows=(self.reference, self.row), columns=(self.column,), delta_to=self.reference)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    verdict: Verdict
    sentence: str
    notes: tuple[str, ...] = ()
    """What the sentence rests on: each seed's difference, and why others have none."""


def main_comparison(sweep: Sweep) -> Comparison | None:
    """The comparison that the sweep is about; None if it compares no rows.

    With `seeds: auto` it is the one that decides about seeds. Else it is the first table with `delta_to` and an
    accuracy: its `main_row`, or the last of its rows. It never depends on results, so no row is chosen because it did
    well.
    """
    if sweep.auto is not None:
        row, reference = sweep.auto.compare
        return Comparison(row=row, reference=reference, column=sweep.auto.column)
    for spec in sweep.tables.values():
        column, others = main_metric(spec.columns), [row for row in spec.rows if row != spec.delta_to]
        if spec.delta_to is not None and column is not None and others:
            return Comparison(row=spec.main_row or others[-1], reference=spec.delta_to, column=column)
    return None


def answer_of(asked: Comparison | None, entries: Mapping[tuple[str, str], Entry], *, heading: str) -> Answer:
    """The answer from the entries of `Comparison.spec`. heading: of the column, such as `top-1 (%)`."""
    if asked is None:
        return Answer(verdict="no comparison", sentence=NO_COMPARISON)
    ours, reference = entries[asked.row, asked.column], entries[asked.reference, asked.column]
    difference = ours.delta or Estimate(())
    what = f"in {heading.removesuffix(' (%)')}"
    names = f"“{asked.row}”", f"“{asked.reference}”"
    if not difference.n:
        return Answer(verdict="no answer yet", sentence=_missing(names, (ours, reference)), notes=ours.notes)
    seeds = _seeds(difference.n, ours.num_seeds)
    mean, half_width = difference.mean or 0.0, difference.half_width
    notes = (_by_seed(difference), *ours.notes)
    if half_width is None:
        values = _listed([_number(value, signed=True) for value in difference.values])
        return Answer(
            verdict="too few seeds",
            sentence=(
                f"Not resolved: {seeds}, and an interval needs {MIN_SEEDS}. "
                f"{names[0]} differs from {names[1]} by {values} points {what}."
            ),
            notes=ours.notes,
        )
    interval = f"{percent(difference.confidence)} interval {_number(mean - half_width)} to {_number(mean + half_width)}"
    if not difference.excludes_zero:
        return Answer(
            verdict="not resolved",
            sentence=(
                f"Not resolved: {names[0]} differs from {names[1]} by {_number(mean, signed=True)} points {what}, but "
                f"the {interval} ({seeds}) includes zero."
            ),
            notes=notes,
        )
    side = "above" if mean > 0 else "below"
    return Answer(
        verdict="higher" if mean > 0 else "lower",
        sentence=f"{names[0]} is {_number(abs(mean))} points {side} {names[1]} {what} ({interval}, {seeds}).",
        notes=notes,
    )


def _missing(names: Sequence[str], entries: Sequence[Entry]) -> str:
    """Why there is no difference: a row without a result, or no seed that both rows have."""
    lacking = [
        f"{name} has no result yet ({_states(entry)})"
        for name, entry in zip(names, entries, strict=True)
        if not entry.n
    ]
    why = " and ".join(lacking) or f"{names[0]} and {names[1]} have no seed in common that both were tested on alike"
    return f"No answer yet: {why}."


def _states(entry: Entry) -> str:
    seeds: dict[str, list[str]] = {}
    for seed, state in entry.seed_states:
        seeds.setdefault(state, []).append(str(seed))
    return ", ".join(f"seed {_listed(of)} {state}" for state, of in seeds.items())


def _by_seed(difference: Estimate) -> str:
    parts = [f"seed {seed} {_number(value, signed=True)}" for seed, value in difference.by_seed]
    return f"Differences in points: {', '.join(parts)}."


def _seeds(n: int, wanted: int) -> str:
    words = f"{n} of {wanted} seeds" if n < wanted else f"{n} seed{'s' * (n != 1)}"
    return f"{words} so far" if n < wanted else words


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _number(points: float, *, signed: bool = False) -> str:
    return number_text(points, unit="%", signed=signed).replace("-", MINUS)
