"""On a process's PYTHONPATH: a device that has room for one member of a cohort, and says so in the second epoch."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any


class _Narrow(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "reskd.training.cohort":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_narrow(module: Any) -> None:
            load(module)
            _make_narrow(module.Cohort)

        spec.loader.exec_module = load_narrow  # type: ignore[method-assign]
        return spec


def _make_narrow(cohort: Any) -> None:
    step = cohort.step

    def narrow_step(self: Any, number: int, groups: Any) -> Any:
        import torch

        members = self.live(number)
        if len(members) > 1 and number >= members[0].steps_per_epoch:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return step(self, number, groups)

    cohort.step = narrow_step


sys.meta_path.insert(0, _Narrow())
