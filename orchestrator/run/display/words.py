"""Jobs, times and accuracies in words, as plans, displays and outcomes show them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich.console import Console

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.plan.job import Job
from orchestrator.spec.steps import Step, name_of
from orchestrator.stats.sequential import sentence


def label(job: Job, steps: Mapping[str, Step], *, most: int | None = None) -> str:
    """A job in words: its seed, its members (at most ``most`` by name), its teacher; imported models have no seed."""
    members = _members(job, steps)
    names = ", ".join(name_of(member) for member in members[:most])
    if most is not None and len(members) > most:
        names += f" and {len(members) - most} more"
    teacher = steps.get(job.teacher_id or "")
    taught = f" taught by {teacher.recipe.model.name}@{teacher.recipe.model.resolution}" if teacher else ""
    return f"{_who(job, steps)}: {names}{taught}"


def short_label(job: Job, steps: Mapping[str, Step]) -> str:
    """A job in few words, such as `seed 0: baseline and 3 more`."""
    first, *others = [name_of(member) for member in _members(job, steps)]
    return f"{_who(job, steps)}: {first}" + (f" and {len(others)} more" if others else "")


def _members(job: Job, steps: Mapping[str, Step]) -> list[Step]:
    return [step for step_id, step in steps.items() if step_id in job.members]  # in the sweep's order


def _who(job: Job, steps: Mapping[str, Step]) -> str:
    seeds = sorted({member.recipe.seed for member in _members(job, steps) if not member.recipe.is_imported})
    return f"seed {','.join(map(str, seeds))}" if seeds else "import"


def clock(seconds: float) -> str:
    """A time in minutes and seconds, such as 3:07; from one hour on 1:03:07."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def number(value: float) -> str:
    """A speed without needless digits: 3.4, 35 or 1200."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def shortened(text: str, length: int) -> str:
    """The text on one line of at most ``length`` letters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def loss_words(losses: Collection[float]) -> str:
    """The smallest and the largest loss with about three digits, such as `0.41-258`; empty without losses."""
    return _span([f"{loss:.{2 if loss < 10 else 1 if loss < 100 else 0}f}" for loss in _ends(losses)])


def accuracy_words(accuracies: Collection[float]) -> str:
    """The smallest and the largest accuracy (0 to 1) in percent, such as `62-87`; one alone has a decimal."""
    decimals = 1 if len(accuracies) == 1 else 0
    return _span([f"{100 * accuracy:.{decimals}f}" for accuracy in _ends(accuracies)])


def _ends(values: Collection[float]) -> list[float]:
    return [min(values), max(values)] if values else []


def _span(ends: Sequence[str]) -> str:
    return "-".join(dict.fromkeys(ends))


def show_look(prepared: Prepared, console: Console) -> None:
    """Print the state of the comparison of `seeds: auto`, if the sweep has one."""
    if prepared.sweep.auto is not None and prepared.look is not None:
        text = f"{prepared.sweep.name}: {sentence(prepared.look, prepared.sweep.auto)}"
        console.print(text, style="cyan", markup=False, highlight=False)
