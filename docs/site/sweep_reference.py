"""Writes docs/sweep_file.md, every key of a sweep file, from the JSON schema: `python docs/site/sweep_reference.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.spec.json_schema import sweep_schema

PAGE = Path(__file__).parents[1] / "sweep_file.md"
Schema = Mapping[str, Any]

HEAD = """# Every key of a sweep file

This page is made from the JSON schema that `reskd schema FILE` writes, with which an editor completes sweep files. The
[README](../README.md#a-sweep-file) shows a whole file. A key can be written nested (`optim: {lr: 0.02}`) or dotted
(`optim.lr: 0.02`), and changed on the command line (`--set optim.lr=0.02`).

| key of the file | meaning |
|---|---|
| `question` | what the sweep is to answer |
| `base` | [the recipe](#the-recipe) of every row, unless the row says otherwise |
| `rows` | [the rows](#rows) that the sweep compares |
| `seeds` | a list of seeds, or [`auto`](#seeds-auto) |
| `resources` | [what a job takes](#resources) |
| `cohort` | [which steps train together](#cohort) |
| `early_stopping` | [which rows may be stopped](#early_stopping) |
| `tables` | name of a table -> [its fields](#a-table) |
"""
RECIPE = """
## The recipe

These keys belong into `base` and into rows. `teacher` has all of them too, such as `teacher.model.name`: it is the base
with these changes and without distillation, and `teacher.seed` is one seed for all teachers.
"""
ROWS = """
## Rows

A row has a name, `row`, and any keys of the recipe.
"""
SECTIONS = (
    ("Resources", "resources"),
    ("CohortSpec", "cohort"),
    ("EarlyStopping", "early_stopping"),
    ("AutoSeeds", "seeds: auto"),
    ("Draws", "rows: draws"),
    ("Table", "a table"),
    ("Expect", "an expectation of a table"),
)
"""Definitions of the schema, and their headings."""


def sweep_reference() -> str:
    """The page, as Markdown."""
    schema = sweep_schema()
    known = schema["$defs"]
    return "".join([HEAD, RECIPE, *_recipe(known["Base"]["properties"]), ROWS, *_ways(schema), *_sections(known)])


def _recipe(keys: Schema) -> Iterator[str]:
    """The keys of a recipe: those of the recipe itself, then each part with a heading."""
    own = {key: value for key, value in keys.items() if key.partition(".")[0] != "teacher"}
    parts = {key for key in own if any(other.startswith(f"{key}.") for other in own)}
    yield "\n" + _table({key: value for key, value in own.items() if "." not in key and key not in parts})
    for part in sorted(parts):
        yield f"\n### {part}\n\n"
        yield _table({key: value for key, value in own.items() if key.startswith(f"{part}.")})


def _ways(schema: Schema) -> Iterator[str]:
    yield "\n" + _table(schema["properties"]["rows"]["properties"], heading="key of `rows`")


def _sections(known: Schema) -> Iterator[str]:
    for name, heading in SECTIONS:
        said = _line(known[name].get("description", ""))
        yield f"\n## {heading[0].upper() + heading[1:] if ' ' in heading else heading}\n\n"
        yield f"{said}\n\n" if said and not said.startswith(f"{name}(") else ""
        yield _table(known[name]["properties"])


def _table(keys: Schema, *, heading: str = "key") -> str:
    rows = [f"| `{key}` | {_kind(value)} | {_line(value.get('description', ''))} |\n" for key, value in keys.items()]
    return f"| {heading} | values | meaning |\n|---|---|---|\n" + "".join(rows)


def _kind(value: Schema) -> str:
    """The values that a key takes, in words."""
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "$ref" in value:
        return "mapping"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(each) for each in value["anyOf"]))
    if value.get("type") == "array":
        return f"list of {_kind(value['items'])}" if value.get("items") else "list"
    names = {"object": "mapping", "boolean": "`true`, `false`", "null": "`null`", "string": "text"}
    return names.get(value.get("type", ""), value.get("type", "any"))


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(sweep_reference(), encoding="utf-8")
