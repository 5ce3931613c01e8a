"""Opens the store and the sweeps that a command names, and says what the environment named instead.

Slow imports are inside the functions that need them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.console import console
from orchestrator.run.ray_address import VARIABLE as RAY_VARIABLE
from orchestrator.store.store import STORE_VARIABLE
from orchestrator.tracking.settings import URI_VARIABLE, refuse_files
from reskd.passwords import without_passwords

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


def say_taken(*, store: str | None, tracking_uri: str | None, cluster: str | None = None) -> None:
    """Print which of a command's places the environment names, if any.

    ``store`` and ``tracking_uri`` are the values of the options; ``cluster`` is the address in RAY_ADDRESS. Raises
    BadInput for a tracking URI that MLflow cannot write to.
    """
    taken = {} if cluster is None else {RAY_VARIABLE: cluster}
    if store is None and os.environ.get(STORE_VARIABLE):
        taken[STORE_VARIABLE] = os.environ[STORE_VARIABLE]
    if tracking_uri is not None:
        refuse_files(tracking_uri)
        if tracking_uri == os.environ.get(URI_VARIABLE):
            taken[URI_VARIABLE] = tracking_uri
    if taken:
        console.print(
            "from the environment:",
            ", ".join(f"{name}={without_passwords(value)}" for name, value in taken.items()),
            soft_wrap=True,
        )
