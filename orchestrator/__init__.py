"""From a sweep file to tables: the only place for ray, mlflow and pandas."""

from __future__ import annotations

from importlib import import_module
from typing import Any

PUBLIC = {
    "load_step": "orchestrator.experiment.load_step",
    "results": "orchestrator.experiment.results",
}
"""Public name -> the module that has it, loaded when the name is first asked for."""


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public are {', '.join(PUBLIC)}")
