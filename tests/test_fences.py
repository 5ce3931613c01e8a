"""The library stands alone, and modules load no more than they need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def answer_of(program: str, *arguments: str) -> str:
    """What a Python process of its own prints."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADED = """
import importlib, json, sys
for modules, heavy in json.loads(sys.argv[1]):
    for module in modules:
        importlib.import_module(module)
        print("".join(f"{module} loads {name}. " for name in heavy if name in sys.modules), end="")
"""
NOT_YET = [
    (["orchestrator", "reskd"], ["torch", "torchvision", "av", "ray", "mlflow", "pandas", "numpy"]),
    # A sweep file is checked by the catalogues alone.
    (["reskd.models.catalogue"], ["torch", "torchvision", "av", "ray", "mlflow", "pandas"]),
    (
        ["orchestrator.cli.main", "orchestrator.experiment.bound_sweep"],
        ["torch", "torchvision", "av", "ray", "mlflow", "pandas"],
    ),
    (
        [
            "orchestrator.experiment.build_tables",
            "orchestrator.experiment.check_networks",
            "orchestrator.tables.class_gain",
            "orchestrator.cli.show_plan",
        ],
        ["torch", "torchvision", "av", "ray", "mlflow", "pandas"],
    ),
    # What a trial loads, where nothing is trained: pandas comes with Ray Train.
    (["orchestrator.run.lanes.trial"], ["torch", "torchvision", "av", "mlflow"]),
]
"""Modules in the order in which one process loads them all, and what is not loaded after each of them."""


def test_a_module_does_not_load_what_only_others_need() -> None:
    """Seconds of every command and of every job: torch takes two of a core, torchvision and mlflow two more each."""
    assert answer_of(LOADED, json.dumps(NOT_YET)) == ""


LEAVES_ALL = """
import ast, importlib, logging, os, pkgutil, sys, warnings

def load_what_others_made(names):
    for name in names:
        tree = ast.parse(open(importlib.util.find_spec(name).origin).read())
        at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.Try)]
        for node in (inner for outer in at_once for inner in ast.walk(outer)):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            if start.startswith(("reskd.", "orchestrator.")) or node.names[0].name in ("reskd", "orchestrator"):
                continue
            for alias in node.names:  # what other people's packages change is theirs
                try:
                    importlib.import_module(start + alias.name)
                except ModuleNotFoundError:  # no module but a name in one
                    getattr(importlib.import_module(node.module), alias.name)

def state():
    root = logging.getLogger()
    filters = sorted(map(str, warnings.filters))  # other people's packages load more of themselves, which moves them
    return dict(os.environ), root.level, list(root.handlers), list(root.filters), filters

count = 0
for room in ("reskd", "orchestrator"):
    own = importlib.import_module(room)
    names = [module.name for module in pkgutil.walk_packages(own.__path__, own.__name__ + ".")]
    names = [name for name in names if name != "orchestrator.__main__"]
    load_what_others_made(names)
    before = state()
    for name in names:
        importlib.import_module(name)
    print([(was, now) for was, now in zip(before, state()) if was != now])
    if room == "reskd":
        print(sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[1:])))
    count += len(names)
import orchestrator, reskd
for package in (orchestrator, reskd):
    for name in package.PUBLIC:
        assert getattr(package, name).__name__ == name
try:
    reskd.no_such_name
except AttributeError as error:
    print(error)
print(count)
"""
ANOTHER_ROOMS = [
    "ray",
    "mlflow",
    "pandas",
    "pydantic",
    "orchestrator",
    "decord",
    "torchcodec",
    "sklearn",
    "matplotlib",
    "onnxruntime",
    "timm",
]


@pytest.mark.slow  # it loads everything that there is
def test_importing_each_module_changes_nothing_outside_the_library_loads_no_others_and_public_names_resolve() -> None:
    """Nothing: no environment, root logger or warnings filter. One process, since each takes seconds to load all."""
    of_reskd, others, of_orchestrator, unknown, count = answer_of(LEAVES_ALL, *ANOTHER_ROOMS).splitlines()
    assert (of_reskd, of_orchestrator) == ("[]", "[]")
    assert others == "[]"
    assert "public are" in unknown
    assert int(count) > 100
