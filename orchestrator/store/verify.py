"""Reads the files of a store against their digests."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from orchestrator.spec.identity import short
from orchestrator.spec.identity import step_id as id_of
from orchestrator.store.store import Store
from reskd.checkpoint import numbered_lines
from reskd.data.manifest import parse_manifest
from reskd.digest import PUT_BACK, has_digest
from reskd.errors import BadInput, Damaged, ReskdError
from reskd.step_files import CHECKPOINTS, DAMAGED, DONE, IDENTITY, LINES, START, WEIGHTS, kind_of, remedy
from reskd.tensor_bytes import parse, parse_arrays

Verdict = Literal["verified", "unverified", "damaged"]
FOLDERS = ("", f"/{CHECKPOINTS}", "/eval", "/throughput", "/metrics")
"""Where the files of a step are, in the step's folder."""
MANIFESTS = "manifests"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A file of a store that was read.

    verified: it has a digest, or a hash elsewhere, which fits. unverified: an earlier version wrote it, without one;
    nothing contradicts it.
    """

    step_id: str | None
    """None: a manifest, which many steps may share."""
    file: str
    """Its name in the step's folder, or in the store."""
    verdict: Verdict
    reason: str = ""
    """What is wrong with a damaged file."""
    way_out: str = ""


def steps_to_verify(store: Store) -> list[str]:
    """Every step that has left something, also one whose recipe.json is gone."""
    return sorted({step_id for name in (IDENTITY, START, DONE) for step_id in store.blobs.folders_with("runs", name)})


def verify_step(store: Store, step_id: str) -> list[Checked]:
    """Read every file of a step.

    Of a finished step, damaged weights or a damaged recipe are noted in the store, so that nobody takes the step for a
    good one; once they are good, they are no longer noted.
    Raises OSError if the store does not answer.
    """
    folder = f"runs/{step_id}"
    names = [entry.key.removeprefix(f"{folder}/") for part in FOLDERS for entry in store.blobs.entries(folder + part)]
    found = [
        _checked(step_id, name, lambda name=name: _fits(store, step_id, name))  # type: ignore[misc]
        for name in names
        if name != DAMAGED and kind_of(name) is not None
    ]
    needed = [IDENTITY, *([WEIGHTS] if DONE in names else [])]
    for name in needed:
        if name not in names:
            out = remedy(name, step_id)
            found.append(
                Checked(step_id=step_id, file=name, verdict="damaged", reason="there is no such file", way_out=out)
            )
    if DONE in names:
        _note(store, step_id, [one for one in found if one.file in needed])
    return found


def verify_manifests(store: Store, hashes: Iterable[str] | None = None) -> list[Checked]:
    """Read the manifests of the store, or those with these hashes."""
    wanted = None if hashes is None else {sha256[:16] for sha256 in hashes}
    found = []
    for entry in store.blobs.entries(MANIFESTS):
        name, _, sha256 = PurePosixPath(entry.key).stem.rpartition("-")
        if name and (wanted is None or sha256 in wanted):
            found.append(_checked(None, entry.key, lambda key=entry.key: _manifest_fits(store, key)))  # type: ignore[misc]
    return found


def _checked(step_id: str | None, file: str, fits: Callable[[], bool]) -> Checked:
    try:
        return Checked(step_id=step_id, file=file, verdict="verified" if fits() else "unverified")
    except Damaged as error:
        reason, way_out = error.reason, error.way_out
    except OSError as error:
        if error.errno != errno.EIO:  # others say that the store is away, or this user may not read it
            raise
        reason, way_out = "the disk cannot read it", PUT_BACK
    return Checked(step_id=step_id, file=file, verdict="damaged", reason=reason, way_out=way_out)


def _fits(store: Store, step_id: str, name: str) -> bool:
    """Whether a file of a step has a digest, or a hash elsewhere, which fits. Raises Damaged."""
    if name == WEIGHTS:
        return store.check_weights(step_id)
    key = f"runs/{step_id}/{name}"
    content, where, out = store.blobs.read(key) or b"", store.blobs.where(key), remedy(name, step_id)
    if name == LINES:
        lines = numbered_lines(content)
        for number, line in lines:
            store.parsed(step_id, name, line, part=f":{number}")
        return all(has_digest(line, where=where) for _, line in lines)
    is_verified = has_digest(content, where=where, way_out=out)
    if name.endswith(".json"):
        record = store.parsed(step_id, name, content)
        if name == IDENTITY:
            _check_id(step_id, record["full_id"], record["payload"], where=where, out=out)
    elif not is_verified:
        read = parse_arrays if name.endswith(".npz") else parse
        read(content, where=where, way_out=out)
    return is_verified


def _check_id(step_id: str, full_id: str, payload: dict[str, object], *, where: str, out: str) -> None:
    """A step's id is a hash of its payload, so an edit shows without any digest."""
    try:
        is_own = id_of(payload) == full_id and short(full_id) == step_id
    except BadInput as error:  # NaN, or another value that no payload has
        raise Damaged(where, str(error), out) from error
    if not is_own:
        raise Damaged(where, "its payload is not the one that the step's id is the hash of", out)


def _manifest_fits(store: Store, key: str) -> bool:
    where = store.blobs.where(key)
    manifest = parse_manifest(store.blobs.read(key) or b"", where=where)  # by its own hash
    if not key.endswith(f"-{manifest.sha256[:16]}.json"):
        raise Damaged(where, f"its hash is {manifest.sha256[:16]}", "rename or remove it")
    return True


def _note(store: Store, step_id: str, needed: Sequence[Checked]) -> None:
    damaged = [one for one in needed if one.verdict == "damaged"]
    with suppress(OSError, ReskdError):  # a store that may only be read
        if damaged:
            error = Damaged(f"{store.place(step_id)}/{damaged[0].file}", damaged[0].reason, damaged[0].way_out)
            store.note_damage(step_id, str(error))
        elif store.damage(step_id) is not None:
            store.forget_damage(step_id)
