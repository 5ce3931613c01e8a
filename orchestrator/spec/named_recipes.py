"""Named recipes: files with the paper's settings, from which a sweep's base or a row can start.

``recipes/<name>.yaml`` has the official recipe under ``official``. Under ``controlled`` it has the changes that make
the variant ``<name>_controlled``. The values are plain; they are checked like those of a sweep when they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.spec.strict import did_you_mean, shown
from orchestrator.spec.yaml_text import parse_yaml
from reskd.errors import BadInput

FOLDER = Path(__file__).with_name("recipes")
CONTROLLED = "_controlled"


@dataclass(frozen=True, slots=True)
class NamedRecipe:
    """A recipe in the form of a sweep's base."""

    about: str
    """The first sentences of the comment in its file."""
    layers: tuple[Mapping[str, Any], ...]
    """Trees of values. Each one changes those before it."""
    text: str
    """The content of the file."""


@cache
def named_recipes() -> Mapping[str, NamedRecipe]:
    """All recipes by name. Each controlled variant comes after its official recipe."""
    found: dict[str, NamedRecipe] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        tree = parse_yaml(text)
        lines = [line.removeprefix("#").strip() for line in text.partition("official:")[0].splitlines()]
        about = " ".join(lines).partition(". ")[0].strip()
        found[path.stem] = NamedRecipe(about + ".", (tree["official"],), text)
        alike = f"{path.stem} with one budget, fixed targets and the same statistics for every row."
        found[path.stem + CONTROLLED] = NamedRecipe(alike, (tree["official"], tree["controlled"]), text)
    return MappingProxyType(found)


def find(name: str) -> NamedRecipe:
    """The recipe with this name. Raises BadInput, with the nearest name, if there is none."""
    if name not in named_recipes():
        raise BadInput(f"'recipe' is {shown(name)}, which is not a named recipe{did_you_mean(name, named_recipes())}")
    return named_recipes()[name]
