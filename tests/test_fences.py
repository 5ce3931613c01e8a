"""The library stands alone, and modules load no more than they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import importlib, pkgutil, sys
import reskd
for module in pkgutil.walk_packages(reskd.__path__, "reskd."):
    importlib.import_module(module.name)
print(sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[1:])))
"""


def test_importing_all_of_reskd_loads_no_library_of_another_room() -> None:
    banned = [
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
    done = subprocess.run([sys.executable, "-c", PROGRAM, *banned], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LOADED = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(sorted(set(sys.modules) & set(sys.argv[2:])))
"""


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("orchestrator.cli.main", ["torch", "torchvision", "av", "ray", "mlflow", "pandas"]),
        ("orchestrator.experiment.bound_sweep", ["torch", "torchvision", "av", "ray", "mlflow", "pandas"]),
        ("orchestrator.experiment.build_tables", ["torch", "torchvision", "av", "ray", "mlflow", "pandas"]),
        ("orchestrator.cli.show_plan", ["torch", "torchvision", "av", "ray", "mlflow", "pandas"]),
        # A sweep file is checked by the catalogues alone.
        ("reskd.models.catalogue", ["torch", "torchvision"]),
        # What Ray loads in each trial and in each of its controllers, where no network is built.
        ("orchestrator.run.launch", ["torchvision", "av", "mlflow"]),
        ("orchestrator.run.worker", ["torchvision", "av", "mlflow"]),
    ],
)
def test_a_module_does_not_load_what_only_others_need(module: str, heavy: list[str]) -> None:
    """Seconds of every command and of every job: torch takes two of a core, torchvision and mlflow two more each."""
    done = subprocess.run([sys.executable, "-c", LOADED, module, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LEAVES_ALL = """
import ast, importlib, logging, os, pkgutil, sys, warnings
import orchestrator, reskd

names = []
for own in (reskd, orchestrator):
    names += [module.name for module in pkgutil.walk_packages(own.__path__, own.__name__ + ".")]
names.remove("orchestrator.__main__")
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

before = state()
for name in names:
    importlib.import_module(name)
print([(was, now) for was, now in zip(before, state()) if was != now], len(names))
"""


def test_importing_a_module_changes_no_environment_no_root_logger_and_no_warnings_filter() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVES_ALL], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] "), done.stdout
    assert int(done.stdout.split()[-1]) > 100
