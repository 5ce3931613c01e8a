"""The digest at the end of a file: what it is, what stays readable without it, and that no flipped bit passes."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reskd.digest import has_digest, with_digest
from reskd.errors import Damaged
from reskd.files import parse_json, record_bytes
from reskd.tensor_bytes import array_bytes, parse, parse_arrays, serialise

RUNS = Path(__file__).parents[1] / "fixtures" / "store_6431d69" / "store" / "runs"
OLD_WEIGHTS = (RUNS / "e030dd2bc5c5416e" / "weights.pt").read_bytes()
OLD_CHECKPOINT = (RUNS / "807759fa482e32c8" / "checkpoints" / "epoch_0002.pt").read_bytes()
OLD_RECORD = (RUNS / "e030dd2bc5c5416e" / "DONE.json").read_bytes()
ARRAYS = {"logits": np.linspace(-3, 3, 60, dtype=np.float32).reshape(12, 5), "indices": np.arange(12)}


def read_tensors(content: bytes) -> Any:
    return parse(content, where="here")


def read_record(content: bytes) -> Any:
    return parse_json(content, where="here")


def read_arrays(content: bytes) -> Any:
    return parse_arrays(content, where="here")


KINDS: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "weights": (serialise(parse(OLD_WEIGHTS, where="")), read_tensors),
    "checkpoint": (serialise(parse(OLD_CHECKPOINT, where="")), read_tensors),
    "record": (record_bytes(json.loads(OLD_RECORD)), read_record),
    "line": (with_digest(json.dumps({"epoch": 1, "time_ms": 7, "metrics": {"val/top1": 0.5}}).encode()), read_record),
    "logits": (array_bytes(ARRAYS), read_arrays),
}
"""Kind of file -> an undamaged one, and its reader."""


def plain(value: Any) -> Any:
    """The value with its tensors and arrays as bytes, so that == compares every bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


GOOD = {kind: plain(read(content)) for kind, (content, read) in KINDS.items()}


def is_found_or_harmless(kind: str, content: bytes) -> bool:
    """Whether the reader refuses the content, or gives what was written, as if only the digest had been hit.

    A digest under another name is one more member of a record, which nobody asks for.
    """
    try:
        found = plain(KINDS[kind][1](content))
    except Damaged:
        return True
    return bool({key: found.get(key) for key in GOOD[kind]} == GOOD[kind])


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_gives_another_value(kind: str) -> None:
    content = KINDS[kind][0]
    num_bits = 8 * len(content)
    drawn = random.Random(f"0 {kind}")
    # The last bits are those of the digest itself and of its marks.
    bits = [*(drawn.randrange(num_bits) for _ in range(40)), *(num_bits - drawn.randrange(1, 1200) for _ in range(20))]
    assert [bit for bit in bits if not is_found_or_harmless(kind, flipped(content, bit))] == []


@given(kind=st.sampled_from(sorted(KINDS)), place=st.floats(0, 1, exclude_max=True))
def test_no_flipped_bit_anywhere_gives_another_value(kind: str, place: float) -> None:
    content = KINDS[kind][0]
    assert is_found_or_harmless(kind, flipped(content, int(place * 8 * len(content))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.97, 0.999])
def test_a_file_that_was_cut_or_whose_end_is_zeros_is_found(kind: str, share: float) -> None:
    content, read = KINDS[kind]
    kept = content[: int(share * len(content))]
    for rest in (kept, kept.ljust(len(content), b"\0")):
        assert is_found_or_harmless(kind, rest)
    with pytest.raises(Damaged):
        read(kept[:-100])


def test_the_digest_is_the_sha256_of_what_is_before_it() -> None:
    assert record_bytes({"epoch": 1}) == (
        b'{\n "epoch": 1,\n "digest": "sha256:' + hashlib.sha256(b'{\n "epoch": 1').hexdigest().encode() + b'"\n}'
    )
    content = KINDS["weights"][0]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        comment = archive.comment
    assert content.endswith(comment)
    assert comment == b"sha256:" + hashlib.sha256(content[: -len(comment) - 2]).hexdigest().encode()


def test_other_programs_read_the_files_as_before() -> None:
    assert torch.load(io.BytesIO(KINDS["weights"][0]), weights_only=True).keys() == GOOD["weights"].keys()
    with np.load(io.BytesIO(KINDS["logits"][0])) as arrays:
        np.testing.assert_array_equal(arrays["logits"], ARRAYS["logits"])
    assert json.loads(record_bytes({"epoch": 1}))["epoch"] == 1


def test_files_of_earlier_versions_are_read_and_have_no_digest() -> None:
    for content in (OLD_WEIGHTS, OLD_CHECKPOINT, OLD_RECORD):
        assert not has_digest(content, where="here")
    assert read_record(OLD_RECORD) == json.loads(OLD_RECORD)


def test_of_tensors_of_an_earlier_version_the_checksums_of_the_archive_are_compared() -> None:
    """They cover the tensors, and not every field of the archive's own list: a digest is better."""
    drawn, good = random.Random(0), plain(read_tensors(OLD_CHECKPOINT))
    for start in (OLD_CHECKPOINT.index(b"archive/data/0") + 64, len(OLD_CHECKPOINT) // 2):
        for _ in range(20):
            bit = 8 * start + drawn.randrange(8 * 400)
            try:
                assert plain(read_tensors(flipped(OLD_CHECKPOINT, bit))) == good
            except Damaged:
                continue


def test_an_edited_record_is_found_also_if_it_is_laid_out_anew() -> None:
    content = record_bytes({"optim": {"lr": 0.1}})
    assert read_record(content) == {"optim": {"lr": 0.1}}
    assert read_record(content + b"\n") == {"optim": {"lr": 0.1}}  # as editors end a file
    for edited in (content.replace(b"0.1", b"0.2"), json.dumps(json.loads(content), indent=4).encode()):
        with pytest.raises(Damaged, match=r"^here: .*; put a good copy back$"):
            read_record(edited)
