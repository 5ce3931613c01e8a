"""The JSON schema of sweep files for editors, made from the dataclasses that the strict checks use.

It has every key, nested and dotted, with its type and its description. A schema cannot express every rule. `reskd plan`
checks the rest: how values fit together, whether rows repeat, whether a key is given both nested and dotted.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from orchestrator.spec.draws import NUM_BOUNDS, Draws
from orchestrator.spec.expand import IMPORTED, RECIPE
from orchestrator.spec.named_recipes import named_recipes
from orchestrator.spec.strict import json_schema
from orchestrator.spec.sweep import SeedRule, SweepFile, TableSpec
from reskd.models.backbones.timm_names import PREFIX as TIMM_PREFIX
from reskd.models.catalogue import MODELS
from reskd.recipe import Recipe

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NOT_SET_HERE = ("data_seed", "model_seed")
"""Fields of a recipe that `seeds` sets."""


def sweep_schema() -> Schema:
    """The complete JSON schema of a sweep file, with its definitions."""
    top, recipe = json_schema(SweepFile), json_schema(Recipe)
    definitions: Schema = {**top.pop("$defs", {}), **recipe.pop("$defs", {})}
    definitions["Table"] = _table(json_schema(TableSpec), definitions)
    fields = _fields(recipe, definitions)
    named = {RECIPE: {"enum": list(named_recipes()), "description": "The named recipe that this changes."}}
    changes = {**_with_teacher(fields), **named}
    row = {"row": {"type": "string", "minLength": 1, "description": "The row's name."}}
    axes = {key: _axis(value) for key, value in changes.items()}
    names = {"row": {"type": "array", "items": row["row"], "minItems": 1, "description": "The rows' names."}}
    seed = {"teacher.seed": {"type": "integer", "minimum": 0, "description": "One seed for all teachers."}}
    definitions |= {
        "Draws": _draws(json_schema(Draws), changes),
        "Base": _closed(
            _without_imported({**_with_teacher(fields, seed={"seed": seed["teacher.seed"]}), **seed, **named})
        ),
        "Row": {**_closed({**changes, **row}), "required": ["row"]},
        "Grid": {**_closed(axes), "minProperties": 1},
        "Zip": {**_closed({**axes, **names}), "minProperties": 1},
    }
    ways = {
        "chain": {"type": "array", "items": _ref("Row"), "minItems": 1, "description": "Rows one by one."},
        "grid": {**_ref("Grid"), "description": "The product of axes: key -> list of values."},
        "zip": {**_ref("Zip"), "description": "Axes of one length, in step."},
        "draws": {**_ref("Draws"), "description": "Drawn at random from Ray Tune's search spaces."},
    }
    top["properties"] |= {
        "base": {**_ref("Base"), "description": "The recipe of every row, unless the row says otherwise."},
        "rows": {**_closed(ways), "minProperties": 1},
        "seeds": {**top["properties"]["seeds"], **_seeds(definitions)},
        "tables": {"type": "object", "additionalProperties": _ref("Table")},
    }
    used = _reached(top, definitions)
    return {
        "$schema": DIALECT,
        **top,
        "title": "reskd sweep",
        "$defs": {name: definitions[name] for name in sorted(used)},
    }


def _fields(recipe: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Every key of a recipe except the teacher's, nested and dotted: `optim`, `optim.lr`, `precision`."""
    fields: Schema = {}
    for name, value in recipe["properties"].items() if "properties" in recipe else _own(recipe, definitions):
        if name in (*NOT_SET_HERE, "teacher"):
            continue
        spec = _definition(value, definitions)
        if spec is None:
            fields[name] = _plain(value)
            continue
        inner = {key: _plain(field) for key, field in spec["properties"].items()}
        if name == "model":
            by_name = [{"enum": sorted(MODELS)}, {"pattern": f"^{TIMM_PREFIX}."}]
            inner["name"] = {**inner["name"], "anyOf": by_name}
        fields[name] = {**_closed(inner), "description": spec.get("description", "")}
        fields |= {f"{name}.{key}": field for key, field in inner.items()}
    return fields


def _own(recipe: Schema, definitions: Mapping[str, Schema]) -> Any:
    """The schema of a dataclass. pydantic gives a reference instead if the dataclass contains itself."""
    definition = _definition(recipe, definitions)
    assert definition is not None, f"no properties in the schema of Recipe: {sorted(recipe)}"
    return definition["properties"].items()


def _with_teacher(fields: Schema, seed: Schema | None = None) -> Schema:
    """The fields, and `teacher`: null, or changes of the base that give the teacher; also in dotted form."""
    changes = {key: value for key, value in fields.items() if key.split(".")[0] != "kd"}
    file = "A finished step's weights.pt, alone; or the file of a model that was trained elsewhere, with its `model`."
    changes["checkpoint"] = {"type": "string", "description": file}
    teacher = {
        "anyOf": [{"type": "null"}, _closed({**changes, **(seed or {})})],
        "description": "The base with these changes, trained without distillation; null: none.",
    }
    return {
        **fields,
        "teacher": teacher,
        **{f"teacher.{key}": value for key, value in changes.items()},
    }


def _without_imported(base: Schema) -> Schema:
    """The keys that a base may have: a file holds one model, so that its keys belong to a row or a teacher."""
    return {key: value for key, value in base.items() if key not in IMPORTED}


def _draws(draws: Schema, changes: Schema) -> Schema:
    """`rows.draws`: any recipe key, each with one of Ray Tune's distributions."""
    bounds = {
        kind: {"type": "array", "minItems": num or 1, **({"maxItems": num} if num else {})}
        for kind, num in NUM_BOUNDS.items()
    }
    distribution = {**_closed(bounds), "minProperties": 1, "maxProperties": 1}
    space = {**_closed(dict.fromkeys(changes, distribution)), "minProperties": 1}
    own = {key: _plain(value) for key, value in draws["properties"].items()}
    return {**_closed({**own, "space": space}), "required": ["num", "space"]}


def _axis(value: Schema) -> Schema:
    """A list of values; for a nested key, a mapping of lists."""
    branches = [branch for branch in value.get("anyOf", [value]) if branch.get("type") != "null"]
    nested = next((branch for branch in branches if "properties" in branch), None)
    listed: Schema = {"type": "array", "items": value, "minItems": 1}
    if nested is None:
        return listed
    return {"anyOf": [listed, _closed({key: _axis(inner) for key, inner in nested["properties"].items()})]}


def _seeds(definitions: Schema) -> Schema:
    rule = json_schema(SeedRule)
    definitions |= rule.pop("$defs", {})
    compare = definitions["AutoSeeds"]["properties"]["compare"]
    compare |= {"minItems": 2, "maxItems": 2, "uniqueItems": True}
    listed = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True}
    return {"anyOf": [listed, rule]}


def _table(schema: Schema, definitions: Schema) -> Schema:
    definitions |= schema.pop("$defs", {})
    rows = schema["properties"]["rows"]
    schema["properties"]["rows"] = {"anyOf": [{"const": "row"}, rows], "description": "`row`, the default: all rows."}
    plot = schema["properties"]["plot"]
    schema["properties"]["plot"] = {"anyOf": [{"type": "null"}, plot["items"], plot], **_described(plot)}
    schema["required"] = [name for name in schema["required"] if name != "rows"]
    return schema


def _described(schema: Schema) -> Schema:
    return {"description": schema["description"]} if "description" in schema else {}


def _plain(value: Schema) -> Schema:
    """The schema without pydantic's titles and defaults.

    A field that a row leaves out has the base's value, not the default.
    """
    return {key: inner for key, inner in deepcopy(value).items() if key not in ("title", "default")}


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _definition(value: Schema, definitions: Mapping[str, Schema]) -> Schema | None:
    name = value.get("$ref", "").rpartition("/")[2]
    return definitions.get(name)


def _reached(schema: Any, definitions: Mapping[str, Schema], found: set[str] | None = None) -> set[str]:
    """Names of the definitions that a schema uses."""
    found = set() if found is None else found
    if isinstance(schema, Mapping):
        name = schema.get("$ref", "")
        name = name.rpartition("/")[2] if isinstance(name, str) else ""
        if name and name not in found:
            found.add(name)
            _reached(definitions[name], definitions, found)
        for value in schema.values():
            _reached(value, definitions, found)
    elif isinstance(schema, list):
        for value in schema:
            _reached(value, definitions, found)
    return found
