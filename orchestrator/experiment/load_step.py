"""Loads the model of a finished step from the store, for a notebook or a script."""

from __future__ import annotations

from pathlib import Path

from orchestrator.store.evaluations import finished_step
from orchestrator.store.open import store_at
from orchestrator.store.store import Store
from reskd.deploy.card import Trained, load_trained


def load_step(step: str, *, store: str | Path | None = None) -> Trained:
    """The model of a finished step, on the CPU and in eval mode, with its card.

    step: its id, or the first letters of it. store: as ``--store`` takes it; None: the default one. Raises BadInput
    unless exactly one step has such an id, and it is finished.
    """
    where = store_at(store)
    return load_finished(where, finished_step(where, step))


def load_finished(store: Store, step_id: str) -> Trained:
    """The model of a finished step of the store. Raises Damaged, and notes it in the store, if a file is damaged."""
    recipe = (store.identity(step_id) or {}).get("payload")
    with store.noting_damage():
        return load_trained(store.weights(step_id), recipe=recipe)
