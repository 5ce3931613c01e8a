"""Exports a trained model as one file for other programs: torch.export's archive or ONNX. It is checked first."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from reskd.deploy.card import CARD_KEY, Card, Exported, PixelNetwork, Trained, card_from_json
from reskd.errors import BadInput, ReskdError
from reskd.files import write_atomic

Format = Literal["pt2", "onnx"]

TOLERANCE = 1e-4
"""Largest allowed difference of a logit, as a share of the largest absolute logit (at least 1)."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export(trained: Trained, path: Path, *, format: Format) -> float:
    """Write the model to ``path``. Returns the largest absolute difference between its logits and the model's.

    Before writing, the exported bytes are loaded and their logits compared on noise and on smooth moving pictures, in
    batches of one and three. If they differ, it raises ReskdError and writes no file. Raises BadInput if a package is
    missing.
    """
    if format == "onnx":
        require_onnx()
    clips = [made for batch in (1, 3) for made in (_noise(trained.card, batch), _pictures(trained.card, batch))]
    expected = [trained.logits(made) for made in clips]
    network = PixelNetwork(trained).eval()
    content = _to_pt2(network, trained.card) if format == "pt2" else _to_onnx(network, trained.card)
    logits, _ = (_read_pt2 if format == "pt2" else _read_onnx)(content, source=path)
    largest = 0.0
    for made, own in zip(clips, expected, strict=True):
        difference = float(np.abs(logits(made) - own).max())
        limit = TOLERANCE * max(1.0, float(np.abs(own).max()))
        if not difference <= limit:  # nan too
            raise ReskdError(
                f"{path}: not written: the exported {format} gives logits that differ from the model's by "
                f"{difference:.3g}, more than {limit:.3g}; try the other format, or another version of torch or onnx"
            )
        largest = max(largest, difference)
    write_atomic(path, content)
    return largest


def open_exported(path: Path) -> Exported:
    """Open a .pt2 or .onnx file of `export` to run on the CPU. Raises BadInput for any other file."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file; `reskd export` makes one")
    if path.suffix == ".onnx":
        require_onnx()
    content = path.read_bytes()  # read first, so that a file-system error stays an OSError
    return (_read_onnx if path.suffix == ".onnx" else _read_pt2)(content, source=path)


def require_onnx() -> None:
    """Raise BadInput with the install command if the optional packages are not installed."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = " ".join(missing)
        raise BadInput(
            f"ONNX needs packages that are not installed; run: pip install {names} (or reskd's extra 'onnx')"
        )


def _noise(card: Card, batch: int) -> Tensor:
    shape = (batch, card.num_frames, 3, card.crop_size, card.crop_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(batch))


def _pictures(card: Card, batch: int) -> Tensor:
    """Smooth pictures that move some pixels per frame, as in a video. Noise alone tests a resize badly."""
    generator = torch.Generator().manual_seed(100 + batch)
    coarse = torch.rand((batch, 3, 6, 6), generator=generator) * 255
    picture = F.interpolate(coarse, size=(card.crop_size, card.crop_size), mode="bicubic", align_corners=False)
    frames = [picture.roll(shifts=(2 * frame, 3 * frame), dims=(-2, -1)) for frame in range(card.num_frames)]
    return torch.stack(frames, dim=1).clamp(0, 255).to(torch.uint8)


def _to_pt2(network: PixelNetwork, card: Card) -> bytes:
    batch = {"clips": {0: torch.export.Dim("batch", min=1)}}
    with torch.no_grad(), _quiet():
        program = torch.export.export(network, (_noise(card, 2),), dynamic_shapes=batch)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it names files of this machine
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={CARD_KEY: card.to_json()})
    return buffer.getvalue()


def _read_pt2(content: bytes, *, source: Path) -> Exported:
    extra = {CARD_KEY: ""}
    try:
        with _quiet():
            module = torch.export.load(io.BytesIO(content), extra_files=extra).module()
    except Exception as error:  # damaged or foreign files raise zip, json, pickle and schema errors
        raise BadInput(
            f"{source}: not a file of torch.export that opens ({_first_line(error)}); export again"
        ) from error
    card = card_from_json(extra[CARD_KEY], source=source)

    def logits(clips: Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            result: NDArray[np.float32] = module(clips).numpy()
        return result

    return Exported(logits, card)


def _to_onnx(network: PixelNetwork, card: Card) -> bytes:
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            network,
            (_noise(card, 2),),
            dynamo=True,
            dynamic_shapes={"clips": {0: torch.export.Dim("batch", min=1)}},
            input_names=["clips"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # stack traces with paths of this machine
    program.model.metadata_props[CARD_KEY] = card.to_json()
    content: bytes = program.model_proto.SerializeToString()
    return content


def _read_onnx(content: bytes, *, source: Path) -> Exported:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise BadInput(f"{source}: not an ONNX file that opens ({_first_line(error)}); export again") from error
    card = card_from_json(session.get_modelmeta().custom_metadata_map.get(CARD_KEY, ""), source=source)

    def logits(clips: Tensor) -> NDArray[np.float32]:
        result: list[Any] = session.run(["logits"], {"clips": clips.numpy()})
        return result[0]

    return Exported(logits, card)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings and logs. Errors are still raised."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
