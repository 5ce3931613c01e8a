"""Named recipes: the paper's columns as files, from which a sweep's base or a row can start.

``recipes/<name>.yaml`` holds the official recipe under ``official`` and, under ``controlled``, what its variant
``<name>_controlled`` changes in it. Values are plain here; whoever uses them checks them as a sweep's own.
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
    """A recipe as a person writes it in a sweep's base."""

    about: str
    """The first sentences of its file's comment."""
    layers: tuple[Mapping[str, Any], ...]
    """Trees of values, each changing the one before."""
    text: str
    """The file."""


@cache
def named_recipes() -> Mapping[str, NamedRecipe]:
    """Every recipe by its name, the controlled variant after its official one."""
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
    """The recipe of that name; BadInput with the nearest where there is none."""
    if name not in named_recipes():
        raise BadInput(f"'recipe' is {shown(name)}, which is not a named recipe{did_you_mean(name, named_recipes())}")
    return named_recipes()[name]
