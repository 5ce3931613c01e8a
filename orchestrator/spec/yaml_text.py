"""Reads the YAML of sweep files: plain values only, one meaning per word, and errors of one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from orchestrator.spec.strict import shown
from reskd.errors import BadInput, reason_of
from reskd.files import read_file
from reskd.text import composed

MAX_BYTES = 200_000
"""Of a sweep file: what is read within a few seconds. The project's own have 3,000 bytes."""
MAX_DEPTH = 50
"""Of mappings and lists in each other. PyYAML takes time by the square of it."""
MAX_INTEGER = 2**63 - 1
"""Largest whole number, as in most programs. A number with thousands of digits would overflow somewhere later."""
TAGS = ("null", "bool", "int", "float", "str", "seq", "map")
"""Accepted YAML types. Others, such as binary, set and timestamp, are refused."""
WORDS = (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+."]),
)
"""Type, the words without quotes that are of it, and how they begin: YAML 1.2's core rules, decimal numbers only."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a sweep file. Raises BadInput for anything else; the caller adds the path to the message."""
    try:
        text = read_file(path, max_bytes=MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise BadInput(f"cannot be read ({reason_of(error)}); give the path of a sweep file") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"not a text file in UTF-8 (byte {error.start}); give the path of a sweep file") from error
    tree = parse_yaml(text)
    if not isinstance(tree, dict):
        raise BadInput(f"must be a mapping with question, base, rows and seeds, got {shown(tree)}")
    return tree


def parse_yaml(text: str) -> Any:
    """The plain value of a YAML text: None, bool, int, float, str, and lists and mappings of them."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise BadInput(f"{where}not a sweep in YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, KeyError) as error:  # the last two from tags such as !!bool on text
        raise BadInput(f"not a sweep in YAML: {' '.join(str(error).split())}") from error


def _text(node: Any) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in node.value):  # "\ud800" in quotes
        raise yaml.MarkedYAMLError(problem="half of a letter; write the whole one", problem_mark=node.start_mark)
    return composed(node.value)


def _integer(node: Any) -> int:
    # The length comes first: int() takes time by the square of it, and refuses more than 4,300 digits.
    if len(node.value) > 1000 or abs(number := int(node.value)) > MAX_INTEGER:
        problem = f"the number {shown(node.value)} is too large; the largest is {MAX_INTEGER}"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return number


class _Loader(yaml.SafeLoader):
    """Plain values only, read as YAML 1.2 does: `on` and 2024-01-01 are text, 010 is ten, 1e-3 is a number."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            # A few hundred bytes of nested aliases stand for gigabytes.
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"alias *{event.anchor}; write the value out again", problem_mark=event.start_mark
            )
        if self.depth == MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.peek_event().start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if not isinstance(key, str):
                problem = f"a key is read as {key!r}, not as text; put it in quotes"
            elif key in seen:
                problem = f"{key!r} is given twice; keep one"
            else:
                seen.add(key)
                continue
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_constructors = {
    tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag.split(":")[-1] in TAGS
}
_Loader.yaml_implicit_resolvers = {}
for _tag, _words, _first in WORDS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_words})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:str", lambda loader, node: _text(node))
# PyYAML's own reads 010 as eight.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: _integer(node))
