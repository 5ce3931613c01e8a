"""The walks of docs/extending.md do what they say: each is written into a copy of the package and tried there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
PACKAGES = ("reskd", "orchestrator")
MOST_LINES = 40
"""Lines of code that a walk may take, those that try it not counted."""
COUNTS = {"One": 1, "Two": 2, "Three": 3, "Four": 4}
"""How a walk begins: `Two files: ...`, those that it touches."""
QUICK = ("An annotation format",)
"""The walks that every run of the tests tries, without torch; `make test-all` tries them all."""
BLOCK = re.compile(r"^```python\n# (?P<place>.*)\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE)
PLACE = re.compile(r"(?P<file>\S+\.\w+)(?:, (?P<how>below|above|instead of): (?P<line>.+))?")


@dataclass(frozen=True)
class Walk:
    """One section of the page: (place, code) of each block to write, and the code that tries them."""

    num_files: int
    """As its first sentence says."""
    edits: tuple[tuple[str, str], ...]
    trial: str


def walks() -> dict[str, Walk]:
    """The page's walks by heading; a heading with nothing under it is none yet."""
    _, *sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {}
    for section in sections:
        heading, _, text = section.partition("\n")
        if text.strip():
            *edits, (last, trial) = [match.group("place", "code") for match in BLOCK.finditer(text)]
            assert text.count("```python") == len(edits) + 1, f"{heading}: a block does not begin with its place"
            assert last == "try", f"{heading}: the last block must be `# try`"
            says = re.match(r"\s*(\w+) files?:", text)
            assert says, f"{heading}: the text must begin with the number of files: `Two files: ...`"
            found[heading] = Walk(COUNTS[says[1]], tuple(edits), trial)
    return found


def write(folder: Path, place: str, code: str) -> None:
    """One block into the copy; the line that it names must be there once. What stands above one is a function."""
    parts = PLACE.fullmatch(place)
    assert parts, f"{place!r}: neither `<file>` nor `<file>, below|above|instead of: <beginning of a line>`"
    path, how = folder / parts["file"], parts["how"]
    if how is None:
        assert not path.exists(), f"{place}: is there already"
        path.write_text(code, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    hits = [number for number, line in enumerate(lines) if line.strip().startswith(parts["line"])]
    assert len(hits) == 1, f"{place}: {len(hits)} lines begin so"
    first, last = {"below": (hits[0] + 1, hits[0] + 1), "above": (hits[0], hits[0])}.get(how, (hits[0], hits[0] + 1))
    lines[first:last] = [code, "\n\n"] if how == "above" else [code]
    path.write_text("".join(lines), encoding="utf-8")


def in_a_new_process(program: str, *, folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "heading",
    [
        heading if heading in QUICK else pytest.param(heading, marks=pytest.mark.slow)  # each loads torch
        for heading in walks()
    ],
)
def test_a_walk_adds_what_its_last_block_finds(heading: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    walk = walks()[heading]
    run = in_a_new_process if heading in QUICK else request.getfixturevalue("warm_python").run
    assert sum(code.count("\n") for _, code in walk.edits) < MOST_LINES
    assert len({place.partition(",")[0] for place, _ in walk.edits}) == walk.num_files
    (tmp_path / "without").mkdir()
    without = run(walk.trial, folder=tmp_path / "without", path=ROOT)
    assert without.returncode != 0, "the last block must fail where the walk has not been done"
    copy = tmp_path / "with"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package)
    for place, code in walk.edits:
        write(copy, place, code)
    done = run(walk.trial, folder=copy, path=copy)
    assert done.returncode == 0, done.stdout + done.stderr
