"""The library stands alone: importing all of it loads nothing of the orchestrator's."""

from __future__ import annotations

import subprocess
import sys

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
