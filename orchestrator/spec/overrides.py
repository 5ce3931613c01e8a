"""Changes of a sweep file from the command line: --set key=value."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.spec.expand import Flat, check_keys, flatten, merge
from orchestrator.spec.yaml_text import parse_yaml
from reskd.errors import BadInput

SECTIONS = ("resources", "cohort", "early_stopping")
"""Sections of a sweep file that say how it runs. They never change what a step trains."""

Changes = dict[str, str]
"""Key -> value in YAML, as it was typed."""


def split_changes(texts: Iterable[str]) -> Changes:
    """``["optim.lr=0.02"]`` -> ``{"optim.lr": "0.02"}``; so does ``base.optim.lr=0.02``, as the file has it."""
    changes: Changes = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals):
            raise BadInput(f"--set {text!r}: write it as key=value, such as optim.lr=0.02")
        key = key.removeprefix("base.")
        if key in changes:
            raise BadInput(f"--set {key} is given twice; keep one")
        changes[key] = value
    return changes


def apply_changes(changes: Changes, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The sweep file's tree with the changes. A key outside of SECTIONS and `seeds` changes the base."""
    tree = dict(tree)
    # What replaces the whole teacher comes before what changes it, in whatever order they were typed.
    for key, text in sorted(changes.items(), key=lambda change: change[0] not in ("teacher", "teacher.checkpoint")):
        section, _, field = key.partition(".")
        if key in ("seeds", *SECTIONS):
            tree[key] = parse_yaml(text)
        elif section in SECTIONS:
            inner = tree.get(section) or {}
            tree[section] = {**inner, field: parse_yaml(text)} if isinstance(inner, dict) else inner
        elif section == "seeds":
            tree[section] = _with_rule(tree.get(section), field, text)
        elif isinstance(tree.get("base"), dict):
            tree["base"] = merge(flatten(tree["base"]), check_keys(flatten({key: parse_yaml(text)})))
    return tree


def _with_rule(seeds: object, field: str, text: str) -> object:
    """The tree with a change such as `seeds.auto.limit=5`. Raises BadInput unless the file has `seeds: {auto: ...}`."""
    rule, _, name = field.partition(".")
    if not isinstance(seeds, dict) or not isinstance(seeds.get(rule), dict) or not name:
        raise BadInput(
            f"--set seeds.{field}: not a field of 'seeds.auto' in the sweep file; add that to the file, "
            f"or write --set seeds=[0,1,2]"
        )
    return {**seeds, rule: {**seeds[rule], name: parse_yaml(text)}}


def name_of_changes(changes: Changes) -> str:
    """The part of a sweep's name for its changes: all that may change results. It has no slash, since it names
    folders."""
    named = [
        f"+{key}={value}".replace("/", "_")
        for key, value in changes.items()
        if key.split(".")[0] not in ("resources", "cohort") and key.removeprefix("teacher.") != "data.root"
    ]
    return "".join(sorted(named))


def shell_name(sweep_name: str) -> str:
    """A sweep's name for files and folders: as it is, or `demo~3f2a1c` if its changes are not typed in a shell as they
    are.

    Brackets, blanks and quotes need quoting there, and many changes are long.
    """
    stem, plus, changes = sweep_name.partition("+")
    if re.fullmatch(r"[\w.,:@%=+-]{0,48}", changes):
        return sweep_name
    return f"{stem}~{hashlib.sha256((plus + changes).encode()).hexdigest()[:6]}"


def refuse_idle(changes: Changes, rows: Sequence[tuple[str, Flat]]) -> None:
    """Raise BadInput for a change of the base that has no effect, because every row sets the same key."""
    for key in changes:
        if all(key in row_changes for _, row_changes in rows):
            raise BadInput(f"--set {key} would change nothing, since every row sets {key!r} itself; edit the rows")
