"""Opens the store and the sweeps that a command names. Slow imports are inside the functions that need them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.console import console

if TYPE_CHECKING:
    from orchestrator.experiment.bound_sweep import Prepared
    from orchestrator.store.store import Store


def open_store(folder: str | None) -> Store:
    """The store that --store names: a folder or s3://bucket/prefix; None: $RESKD_STORE, else ./store."""
    from orchestrator.store.open import store_at

    return store_at(folder)


def open_sweep(sweep: Path, changes: list[str] | None, store: Store, *, no_cohorts: bool = False) -> Prepared:
    """The sweep with the changes of --set, bound to its data and the store. Raises BadInput if anything is wrong in
    it."""
    from orchestrator.experiment.bound_sweep import prepare

    return prepare(sweep, changes=[*(changes or []), *(["cohort.enabled=false"] if no_cohorts else [])], store=store)


def open_sweeps(
    paths: list[Path], changes: list[str] | None, store: Store, *, no_cohorts: bool = False, smoke: bool = False
) -> list[Prepared]:
    """The sweeps, each once.

    With ``smoke``: their smoke forms in a separate store; --set has already changed their files.
    """
    from orchestrator.experiment.one_schedule import refuse_same_names

    paths = list(dict.fromkeys(paths))
    refuse_same_names(paths)
    if smoke:
        from orchestrator.experiment.smoke import cut_down

        small = cut_down(paths, changes=changes or [], store=store)
        for path, (cut, _) in zip(paths, small, strict=True):
            console.print(f"smoke test of {path}: {cut}", markup=False, soft_wrap=True, highlight=False)
        return [open_sweep(cut, None, scratch, no_cohorts=no_cohorts) for cut, scratch in small]
    return [open_sweep(path, changes, store, no_cohorts=no_cohorts) for path in paths]
