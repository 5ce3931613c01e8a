"""No message shows an error as Python's own text of the object, `BadInput('...')`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from reskd.errors import BadInput, reason_of

ROOT = Path(__file__).parents[1]


def raw_errors(tree: ast.AST) -> Iterator[int]:
    """Lines that format a caught exception with repr()."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
            continue
        for node in ast.walk(handler):
            value: ast.expr | None = None
            if isinstance(node, ast.FormattedValue) and node.conversion == ord("r"):
                value = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "repr":
                value = node.args[0]
            if isinstance(value, ast.Name) and value.id == handler.name:
                yield value.lineno


def test_no_message_shows_the_object_of_an_error() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for room in ("reskd", "orchestrator")
        for path in (ROOT / room).rglob("*.py")
        for line in raw_errors(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(), "use reskd.errors.reason_of"


def test_such_a_line_would_be_seen() -> None:
    code = "try:\n    pass\nexcept ValueError as error:\n    a = f'{error!r}'\n    b = str(error) or repr(error)\n"
    assert list(raw_errors(ast.parse(code))) == [4, 5]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BadInput("a.json: not a list"), "a.json: not a list"),
        (KeyError("train"), "'train' is missing"),
        (OSError(2, "No such file or directory", "/a"), "No such file or directory"),
        (ValueError("two\nlines"), "two lines"),
        (AttributeError(), "AttributeError"),
    ],
)
def test_the_reason_of_an_error_is_one_line(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
