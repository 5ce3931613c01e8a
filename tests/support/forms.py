"""One check in many forms: a light form in every run of the tests, the others in `make test-all` alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def forms(every: Iterable[Any], *, light: Collection[Any]) -> list[Any]:
    """For pytest.mark.parametrize: each of `every`, marked slow unless it is one of `light`; all of those must be."""
    found = list(every)
    missing = [form for form in light if form not in found]
    assert not missing, f"no such forms: {missing}"
    return [form if form in light else _slow(form) for form in found]


def _slow(form: Any) -> Any:
    values = form if isinstance(form, tuple) else (form,)
    return pytest.param(*values, marks=pytest.mark.slow)
