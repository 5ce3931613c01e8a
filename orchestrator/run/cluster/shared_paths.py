"""Refuses paths that would mean different things on different machines of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.spec.identity import is_weights_file
from orchestrator.spec.overrides import apply_changes, split_changes
from orchestrator.spec.yaml_text import read_yaml
from orchestrator.store.open import is_bucket
from orchestrator.store.store import STORE_VARIABLE
from reskd.data.annotations import DATA_VARIABLE
from reskd.errors import BadInput


def refuse_relative_store(folder: str | None) -> None:
    """Raise BadInput unless --store, else $RESKD_STORE, is an absolute path."""
    chosen = folder or os.environ.get(STORE_VARIABLE)
    if chosen is None:
        raise BadInput(
            f"no store is named, and ./store would be a folder of one machine of the cluster; set --store or "
            f"{STORE_VARIABLE} to a folder that all its machines share, such as /shared/reskd"
        )
    if not is_bucket(chosen) and not Path(chosen).is_absolute():
        raise BadInput(
            f"--store {chosen}: a relative path means another folder on every machine of a cluster; give the absolute "
            f"path of a folder that all its machines share, such as /shared/reskd"
        )


def refuse_relative_paths(path: Path, changes: Sequence[str]) -> None:
    """Raise BadInput if the sweep file or a change has a relative path for data, weights or a checkpoint."""
    for key, value in _paths(apply_changes(split_changes(changes), read_yaml(path))):
        if not Path(value).is_absolute():
            raise BadInput(
                f"{path}: '{key}' is {value!r}, which is not on the cluster: only the sweep file is uploaded; give "
                f"the absolute path of a folder that all its machines share (for videos: --set data.root=/shared/..., "
                f"or leave data.root out and set {DATA_VARIABLE} on the cluster)"
            )


def _paths(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every path in the file, in any notation: nested, dotted, in a list of rows, or as values of an axis."""
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield from _paths(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for inner in tree:
            yield from _paths(inner, key)
    elif isinstance(tree, str) and _is_path(f".{key}", tree):
        yield key, tree


def _is_path(key: str, value: str) -> bool:
    return key.endswith((".data.root", ".checkpoint")) or (key.endswith(".model.weights") and is_weights_file(value))
