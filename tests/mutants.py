"""How many small faults the tests notice: `python tests/mutants.py` changes one place at a time and runs its tests.

A mutant is named by what it changes (`losses.clip_kl:arithmetic:2`, the second of its kind in the function), so the
same ones can be made in another tree: `--tree`. They are drawn by the hash of their names, evenly over the modules.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib
import io
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = {
    "losses": ["test_losses.py"],
    "sampling": ["test_sampling.py"],
    "transforms": ["test_transforms.py"],
    "schedule": ["test_schedule.py"],
    "metrics": ["test_metrics.py"],
    "identity": ["test_identity.py"],
    "expand": ["test_sweep.py"],
    "plan": ["test_plan.py"],
    "lease": ["test_lease.py"],
    "estimates": ["test_build.py", "test_estimates.py"],
}
"""Module -> the files of tests that are run against its mutants."""

LOADED_ONCE = ("torch", "boto3", "moto.server", "av", "numpy", "hypothesis", "pydantic", "yaml", "scipy.stats")
"""What takes seconds to import, loaded before the processes of the mutants are forked."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}


def mutate(node: ast.AST) -> str | None:
    """Change a node in place; the kind of change, or None where there is none to make."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
        return "comparison"
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in ARITHMETIC:
        node.op = ARITHMETIC[type(node.op)]()
        return "arithmetic"
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return "boolean"
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value += 1
        return "constant"
    if isinstance(node, ast.BoolOp):
        node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        return "boolean"
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        node.value = ast.Constant(None)
        return "return"
    return None


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def places(tree: ast.AST, scope: str = "") -> Iterator[tuple[str, ast.AST]]:
    """(qualified name of the function or class, node) of all that may change; annotations are left alone."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                inside = isinstance(node, ast.FunctionDef | ast.ClassDef)
                inner = f"{scope}.{node.name}" if inside else scope
                yield inner, node
                yield from places(node, inner)


def mutants_of(name: str, source: str) -> dict[str, str]:
    """Name of each mutant of a module -> its source."""
    tree, numbers, found = ast.parse(source), Counter[str](), {}
    for index, (scope, node) in enumerate(places(tree)):
        kind = mutate(copy.deepcopy(node))
        if kind is None:
            continue
        key = f"{name}{scope}:{kind}"
        numbers[key] += 1
        changed = copy.deepcopy(tree)
        mutate(list(places(changed))[index][1])
        found[f"{key}:{numbers[key]}"] = ast.unparse(changed)
    return found


def drawn(names: list[str], *, count: int, seed: int) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count]


@dataclass(frozen=True)
class Trial:
    """The copy of a tree that one module's mutants are tried in."""

    module: Path
    tests: list[Path]
    timeout_s: float

    def outcome(self, source: str) -> str:
        """killed, survived or timeout: what the tests say of the module with this source."""
        before = self.module.read_text()
        self.module.write_text(source)
        try:
            return self._outcome()
        finally:
            self.module.write_text(before)

    def _outcome(self) -> str:
        child = os.fork()
        if child == 0:
            os.setsid()  # so that what a test has started can be stopped with it
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *map(str, self.tests)])
            os._exit(int(code))
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "timeout"


def only(paths: list[Path], name: str) -> Path:
    if len(paths) != 1:
        raise SystemExit(f"{name}: {len(paths)} files have this name, one is needed")
    return paths[0]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tree", type=Path, default=Path(__file__).parents[1], help="checkout to try")
    options.add_argument("--count", type=int, default=200, help="mutants, evenly over the modules")
    options.add_argument("--seed", type=int, default=0, help="draws other mutants")
    options.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="of one mutant's tests")
    options.add_argument("--modules", nargs="+", choices=TESTS, default=list(TESTS), help="of which mutants are made")
    options.add_argument("--tests", action="append", default=[], metavar="MODULE=FILE", help="other tests of a module")
    given = options.parse_args()
    tests = TESTS | {module: files.split(",") for module, files in (word.split("=") for word in given.tests)}
    copied = Path(tempfile.mkdtemp(prefix="mutants-"))
    try:
        for folder in ("reskd", "orchestrator", "benchmarks", "sweeps", "tests"):
            shutil.copytree(given.tree / folder, copied / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(given.tree / file, copied / file)
        try_all(copied, {name: tests[name] for name in given.modules}, given)
    finally:
        shutil.rmtree(copied, ignore_errors=True)


def try_all(copied: Path, tests: dict[str, list[str]], given: argparse.Namespace) -> None:
    os.chdir(copied)
    os.environ |= {"PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[0] = str(copied)
    for name in LOADED_ONCE:
        importlib.import_module(name)
    counts = Counter[str]()
    for name, files in tests.items():
        # A command's module may have the name of what it calls.
        rooms = [path for room in ("reskd", "orchestrator") for path in Path(room).rglob(f"{name}.py")]
        module = only([path for path in rooms if "commands" not in path.parts], name)
        found = [path for file in files for path in Path("tests").rglob(file) if path.parent.name != "benchmarks"]
        trial = Trial(module.absolute(), found, given.timeout)
        if trial.outcome(module.read_text()) != "survived":
            raise SystemExit(f"{', '.join(files)} fails without a mutant")
        mutants = mutants_of(name, module.read_text())
        for mutant in drawn(list(mutants), count=given.count // len(TESTS), seed=given.seed):
            outcome = trial.outcome(mutants[mutant])
            counts[outcome] += 1
            print(f"{outcome:8} {mutant}", flush=True)
    print(", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items())))


if __name__ == "__main__":
    main()
