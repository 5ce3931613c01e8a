"""Facts about networks that follow from their code alone, kept in a file of the cache folder.

To compute one, torch and torchvision are loaded and a network is built on shapes, which takes seconds. Commands that
only read, such as `plan` and `status`, find them here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import reskd
from orchestrator.store.open import cache_folder
from reskd.errors import BadInput
from reskd.files import read_json, write_atomic

PACKAGES = ("torch", "torchvision", "timm")
CODE = ("cost", "models", "recipe.py")
"""Parts of reskd that the facts follow from."""


def remembered(key: str, compute: Callable[[], Any]) -> Any:
    """The value that ``compute`` returned for this key once, with this code and these packages; a value of JSON.

    Errors of ``compute`` are raised and not kept. A file that cannot be read or written costs time only.
    """
    known = _known()
    if key not in known:
        known[key] = compute()
        with suppress(OSError):
            write_atomic(_file(), json.dumps(known))
    return known[key]


@cache
def _known() -> dict[str, Any]:
    try:
        return read_json(_file()) or {}
    except (OSError, BadInput):
        return {}


@cache
def _file() -> Path:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.read_bytes())
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            digest.update(f"{package} {version(package)}".encode())
    return cache_folder() / f"networks-{digest.hexdigest()[:16]}.json"


def _sources() -> Iterator[Path]:
    root = Path(reskd.__file__).parent
    for name in CODE:
        yield from sorted((root / name).rglob("*.py")) if (root / name).is_dir() else [root / name]
