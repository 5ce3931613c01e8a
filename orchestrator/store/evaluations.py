"""Finds finished steps by the text that a user types, and their evaluations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.store.store import Store
from reskd.checkpoint import load_weights
from reskd.errors import BadInput
from reskd.files import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredJudgement:
    """A finished step's evaluation under one protocol, read from the store.

    logits: (N, K); targets: (N, K) bool; indices: (N,) clip numbers in the split, ascending.
    """

    step_id: str
    protocol: str
    manifest_sha256: str
    classes: tuple[str, ...]
    logits: np.ndarray
    targets: np.ndarray
    indices: np.ndarray


def finished_step(store: Store, prefix: str) -> str:
    """The id of the finished step that begins with ``prefix``.

    Raises BadInput unless there is exactly one, and it is finished.
    """
    step_id = store.find_step(prefix)
    status = store.status(step_id)
    if status.state == "damaged":
        raise BadInput(f"step {step_id} is damaged: {status.reason}")
    if status.state != "done":
        raise BadInput(f"step {step_id} is not finished ({status.state}); train it with `reskd run`")
    return step_id


def default_protocol(store: Store, step_id: str) -> str:
    """The protocol of a finished step's final test."""
    return str((store.done(step_id) or {})["protocol"])


def _classes(store: Store, step_id: str, identity: Json) -> tuple[str, ...]:
    """The classes of a finished step, in the order of its logits.

    They are in the manifest and in the weights, which take torch and more time to read.
    """
    name = identity["recipe"].get("data", {}).get("name", "")
    manifest = store.manifest(name, identity["payload"]["manifest_sha256"])
    if manifest is not None:
        return manifest.classes
    with store.noting_damage():
        return tuple(load_weights(store.weights(step_id))["classes"])


def stored_judgement(store: Store, step_id: str, *, protocol: str | None = None) -> StoredJudgement:
    """A finished step's logits under a protocol; None: that of its final test.

    Raises BadInput if there is no such evaluation.
    """
    known = store.evaluations(step_id)
    name = protocol or default_protocol(store, step_id)
    if name not in known:
        raise BadInput(
            f"step {step_id} was not evaluated by {name!r}, only by {', '.join(known) or 'nothing'}; "
            "name one of these, or use `reskd eval` first"
        )
    logits, targets, indices = stored_arrays(store, step_id, name)
    identity = store.identity(step_id) or {}
    return StoredJudgement(
        step_id=step_id,
        protocol=name,
        manifest_sha256=identity["payload"]["manifest_sha256"],
        classes=_classes(store, step_id, identity),
        logits=logits,
        targets=targets,
        indices=indices,
    )


def stored_arrays(store: Store, step_id: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(logits, targets, indices) of an evaluation, as in `StoredJudgement`. Raises BadInput if they cannot be read."""
    try:
        arrays = store.logits(step_id, name)
        return arrays["logits"], arrays["targets"], arrays["indices"]
    except (OSError, KeyError) as error:
        # Only what is damaged or gone may be removed, not what this user or this machine cannot read at present.
        is_away = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        way_out = (
            "try again, or let its owner open it" if is_away else f"remove it and {name}.json, then `reskd eval` again"
        )
        path = f"{store.place(step_id)}/eval/{name}.npz"
        raise BadInput(f"{path}: cannot be read ({error}); {way_out}") from error
