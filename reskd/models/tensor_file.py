"""Reads files of tensors that other programs saved. Nothing in them can run code."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reskd.digest import has_digest
from reskd.errors import BadInput
from reskd.files import open_file

_makers: list[Any] = [np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]]
"""numpy's own functions that make a number and an array of what a file holds."""
HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *_makers,
    *((maker, f"numpy.core.multiarray.{maker.__name__}") for maker in _makers),  # their names before numpy 2
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdSU"},
]
"""Numbers, arrays and their types in numpy, which training programs leave in a file's metadata, such as a best score.
An array of objects is not among them."""
STARTS = (b"PK", b"\x80")
"""How files of torch.save begin, of today and of before 1.6. Others, such as a disk's empty image, may be too large for
the memory."""
REFUSED = re.compile(r"(?:GLOBAL |but got <class ')([\w.]+)")
"""torch's words about an object that it does not open."""


def read_tensor_file(path: Path, *, field: str) -> tuple[Mapping[Any, Any], str]:
    """The content of a file that torch.save wrote, on the CPU, and the sha256 of its bytes as hex.

    field: what names the file, for messages. Raises BadInput if there is no such file, if it is damaged or no mapping,
    or if it holds objects that could run code.
    """
    if not path.is_file():
        raise BadInput(f"{field}: {str(path)!r} is no file here; give an existing file")
    with open_file(path) as file:  # read first, so that a file-system error stays an OSError
        start = file.peek(max(map(len, STARTS)))
        if not start.startswith(STARTS):
            raise BadInput(f"{path}: {field}: {_why(f'it begins with {start[:4]!r}', path)}")
        data = file.read()
    has_digest(data, where=f"{path}: {field}")  # of a weights.pt of ours
    try:
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch.load's errors for damaged or foreign files have no common type
        raise BadInput(f"{path}: {field}: {_why(str(error), path)}") from error
    if not isinstance(content, Mapping):
        raise BadInput(
            f"{path}: {field}: holds a {type(content).__name__}, not a state dict; give a file of one, "
            "or of a dict with the state dict under 'model' or 'state_dict'"
        )
    return content, hashlib.sha256(data).hexdigest()


def _why(error: str, path: Path) -> str:
    refused = REFUSED.search(error)
    if refused is None:
        reason = re.split(r"\. |\n", error, maxsplit=1)[0]  # what follows advises to run whatever the file holds
        return (
            f"torch.load(weights_only=True) does not read it ({reason}); give a file of tensors that torch.save wrote "
            "(of a .safetensors file: torch.save(safetensors.torch.load_file(...), 'tensors.pth'))"
        )
    save = f"torch.save({{'state_dict': torch.load({path.name!r}, weights_only=False)['state_dict']}}, 'tensors.pth')"
    return (
        f"holds a {refused[1]}, which could run code, so it is not opened (weights_only); if you trust the file, save "
        f"its tensors alone where that library is installed: {save}"
    )
