"""The tests' own order: what several of them use stands in tests/support."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
IMPORT_OF_A_TEST = re.compile(r"^[ ]*(?:from|import) +(?:tests\.(?!support\b)|\.)\S*", re.MULTILINE)
"""In programs that stand in a text too; a dot begins an import from the same folder."""


def test_no_file_imports_a_test() -> None:
    found = {str(path.relative_to(TESTS)): IMPORT_OF_A_TEST.findall(path.read_text()) for path in TESTS.rglob("*.py")}
    assert {name: imports for name, imports in found.items() if imports} == {}


def test_an_import_of_a_test_is_seen_wherever_it_stands() -> None:
    imports = ["from {}.reskd.test_a import b", "import {}.test_c", "    from .d import e", "from {}.support import f"]
    assert len(IMPORT_OF_A_TEST.findall("\n".join(imports).replace("{}", "tests"))) == 3
