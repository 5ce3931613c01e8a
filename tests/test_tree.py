"""The order of the tests: what several of them use stands in tests/support, and every module has tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
IMPORT_OF_A_TEST = re.compile(r"^[ ]*(?:from|import) +(?:tests\.(?!(?:support|fixtures)\b)|\.)\S*", re.MULTILINE)
"""In programs that stand in a text too; a dot begins an import from the same folder."""


def test_no_file_imports_a_test() -> None:
    found = {str(path.relative_to(TESTS)): IMPORT_OF_A_TEST.findall(path.read_text()) for path in TESTS.rglob("*.py")}
    assert {name: imports for name, imports in found.items() if imports} == {}


def test_an_import_of_a_test_is_seen_wherever_it_stands() -> None:
    imports = ["from {}.reskd.test_a import b", "import {}.test_c", "    from .d import e", "from {}.support import f"]
    assert len(IMPORT_OF_A_TEST.findall("\n".join(imports).replace("{}", "tests"))) == 3


REACHED = {
    "orchestrator.__main__": "hands over to orchestrator.cli.main",
    "orchestrator.cli": "called as a person types it, by tests.support.command_line",
    "orchestrator.experiment": "what a command answers, called as a person types it",
    "orchestrator.plan": "parts of a plan, of which the tests ask the plan as a whole",
    "orchestrator.report": "parts of a page, which the tests write as a whole",
    "orchestrator.run": "inside a run, which the tests marked ray start",
    "orchestrator.spec": "parts of loading a sweep file, of which the tests load one",
    "orchestrator.store": "parts of a record, which the tests write and read",
    "orchestrator.tables": "parts of a table, which the tests build",
    "orchestrator.tracking": "parts of what is published, which the tests read from MLflow",
    "reskd.cost": "types of what the tests compute",
    "reskd.distill": "parts of a level's term, which the tests compute",
    "reskd.methods": "fields of a recipe, which the tests make",
    "reskd.data": "chosen by its name: a format by the annotations, a backend by data.decode",
    "reskd.models": "chosen by its name in reskd.models.catalogue, or by a file's own form",
    "reskd.throughput": "types of what the tests measure",
    "reskd.training": "parts of a training, which the tests run",
}
"""Room or module -> how the tests reach those of its modules that none of them imports."""
MAX_REACHED = 55
"""How many these are at most, commands left out: a new module comes with a test that imports it."""


def test_every_module_is_imported_by_a_test_or_it_is_said_how_it_is_reached() -> None:
    paths = [path.relative_to(ROOT) for room in ("reskd", "orchestrator") for path in (ROOT / room).rglob("*.py")]
    modules = {".".join(path.with_suffix("").parts) for path in paths if path.name != "__init__.py"}
    reached = modules - {name for path in TESTS.rglob("*.py") for name in imported(path)}
    rooms = {module: [room for room in REACHED if f"{module}.".startswith(f"{room}.")] for module in reached}
    assert [module for module, found in rooms.items() if not found] == []
    assert set(REACHED) == {room for found in rooms.values() for room in found}, "these have no such module any more"
    counted = sorted(module for module in reached if not module.startswith("orchestrator.cli."))
    assert len(counted) <= MAX_REACHED, counted


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
