"""The folders that docs/datasets.md shows are those that the named recipes read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.spec.named_recipes import CONTROLLED, named_recipes
from orchestrator.store.store import Store
from reskd.data.formats.smoke import make_smoke
from reskd.recipe import DataSpec

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
RECIPES = [name for name in named_recipes() if not name.endswith(CONTROLLED)]
LISTS = ("train", "val", "classes")


def section_of(annotations: str) -> str:
    """The page's section on an annotation format."""
    found = re.findall(rf"^## [^\n]*`{annotations}`$.*?(?=^## )", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, annotations
    return found[0]


def documented(annotations: str) -> tuple[str, list[str], dict[str, Any]]:
    """(data folder, files in it, values of `data:`) that the page shows."""
    tree, block = re.findall(r"^```(?:yaml)?\n(.*?)^```", section_of(annotations), flags=re.MULTILINE | re.DOTALL)
    folder, *files = tree.splitlines()
    return folder.rstrip("/"), [line.split()[0] for line in files], yaml.safe_load(block)["data"]


def base_of(recipe: str) -> DataSpec:
    layer = named_recipes()[recipe].layers[0]["data"]
    return DataSpec(**{name: layer[name] for name in ("name", "annotations", *LISTS) if name in layer})


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_reads_the_files_of_the_page(recipe: str) -> None:
    spec = base_of(recipe)
    folder, files, data = documented(spec.annotations)
    assert (data["name"], data["annotations"], folder) == (spec.name, spec.annotations, spec.name)
    assert [data["train"], data["val"]] == [spec.train, spec.val]
    assert spec.classes in (None, data.get("classes"))
    assert {spec.train, spec.val} <= set(files)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_sweep_plans_on_the_folder_of_the_page(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small videos in the data set's own format, moved to where the page says they are."""
    spec = base_of(recipe)
    folder, _, data = documented(spec.annotations)
    made = make_smoke(tmp_path / folder, like=spec)
    for name in LISTS:
        written, wanted = getattr(made, name), data.get(name)
        if written and wanted and written != wanted and (tmp_path / folder / written).exists():
            (tmp_path / folder / wanted).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / written).rename(tmp_path / folder / wanted)
    monkeypatch.setenv("RESKD_DATA", str(tmp_path))
    path = tmp_path / "s.yaml"
    path.write_text(
        f"question: Is it found?\nbase: {{recipe: {recipe}, teacher: null, kd.level: none}}\n"
        "rows: {chain: [{row: a}]}\nseeds: [0]\n"
    )
    prepared = prepare(path, store=Store(tmp_path / "store"))
    (manifest,) = prepared.manifests.values()
    assert (len(manifest.train), len(manifest.val), prepared.unseen) == (4, 3, ())
