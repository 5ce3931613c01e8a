"""Tensors and arrays as the bytes of a file with its digest, and back. Nothing in such a file can run code."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from reskd.digest import PUT_BACK, has_digest, with_digest
from reskd.errors import Damaged
from reskd.files import Json


def serialise(value: Json) -> bytes:
    """Bytes that `parse` can read."""
    import torch  # here and below, since reading a folder's records does not need torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return with_digest(buffer.getvalue())


def parse(content: bytes, *, where: str, way_out: str = PUT_BACK) -> Json:
    """The dict that `serialise` wrote. Raises Damaged for anything else; ``where`` names its source in the message."""
    import torch

    if not has_digest(content, where=where, way_out=way_out):
        _check_members(content, where=where, way_out=way_out)
    try:
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises pickle, zip, runtime and EOF errors for damaged files alike
        raise Damaged(where, str(error).partition(".")[0], way_out) from error
    if not isinstance(value, dict):
        raise Damaged(where, f"it holds a {type(value).__name__}, not a dict", way_out)
    return value


def _check_members(content: bytes, *, where: str, way_out: str) -> None:
    """Compare the checksums (CRC) of the members, all that files of earlier versions have: torch does not read them."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            wrong = archive.testzip()
    except Exception as error:  # of a damaged archive, zipfile raises errors of its own, of struct and of zlib
        raise Damaged(where, str(error).partition(".")[0], way_out) from error
    if wrong is not None:
        raise Damaged(where, f"its part {wrong} does not fit its checksum", way_out)


def array_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an .npz file with these arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return with_digest(buffer.getvalue())


def parse_arrays(content: bytes, *, where: str, way_out: str = PUT_BACK) -> dict[str, np.ndarray]:
    """The arrays that `array_bytes` wrote. Raises Damaged if they cannot be read."""
    has_digest(content, where=where, way_out=way_out)
    try:
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays)
    except MemoryError:
        raise
    except Exception as error:  # numpy raises zip, zlib, value and EOF errors for damaged files alike
        raise Damaged(where, str(error).partition(".")[0], way_out) from error
