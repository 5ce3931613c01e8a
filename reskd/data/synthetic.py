"""The demo data set: real H.264 files. The label is a fine detail in a small region of some frames.

A clip shows a round patch with a sine grating. The patch drifts over a smooth background with moving boxes. The class
is the orientation of the grating. The patch is visible in two of four segments, so a teacher can tell in which frame
and where. Low resolution blurs or aliases the grating; distillation has to close this gap.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reskd.errors import BadInput
from reskd.files import write_atomic

CLASSES = tuple(f"orient{degrees:03d}" for degrees in range(0, 180, 30))
SIZE = 64
NUM_FRAMES = 8
NUM_SEGMENTS = 4
FRAMES_PER_S = 4
PATCH = 24
PERIODS = (7.0, 11.0)
CRF = 23
DRAWING = 1
"""Version of the drawing code. Raise it by hand when the same seed draws other clips than before."""

README = """\
Demo data set of reskd: {num_train} training and {num_val} validation clips, seed {seed}.

Drawn by reskd; nothing was filmed. Each clip is {frames} frames of {size} x {size} pixels
at {rate} frames/s, H.264 (crf {crf}). The class is the orientation of a sine grating (30 degrees apart) in a round
patch of {patch} pixels, which drifts and shows in two of the clip's four segments. A mirror image swaps classes: train
with data.flip false. train.csv and val.csv name the clips and their classes; demo.json says that the set is complete.
"""


def make_demo(folder: Path, *, seed: int = 0, num_train: int = 360, num_val: int = 300) -> None:
    """Write the data set into ``folder``: train/ and val/ with mp4 files, train.csv, val.csv, README.txt, demo.json.

    The same arguments give the same bytes. A complete folder stays as it is; a partial one is completed. Raises
    BadInput for a folder with other content or with a demo of other arguments.
    """
    parameters = {"drawing": DRAWING, "seed": seed, "num_train": num_train, "num_val": num_val}
    claim = json.dumps(parameters)
    begun, complete = folder / "demo.partial.json", folder / "demo.json"
    _check_ours(folder, claim, markers=(complete, begun))
    if not complete.exists():
        _write_once(begun, claim)
    for split_number, (split, num_clips) in enumerate((("train", num_train), ("val", num_val))):
        labels = np.random.default_rng([seed, split_number]).permutation(np.arange(num_clips) % len(CLASSES))
        names = [f"{split}/{number:04d}.mp4" for number in range(num_clips)]
        for number, (name, label) in enumerate(zip(names, labels, strict=True)):
            if not (folder / name).exists():
                rng = np.random.default_rng([seed, split_number, number])
                _write_once(folder / name, encode(draw_clip(int(label), rng=rng)))
        rows = (f"{name},{CLASSES[label]}\n" for name, label in zip(names, labels, strict=True))
        _write_once(folder / f"{split}.csv", "path,label\n" + "".join(rows))
    facts = {"frames": NUM_FRAMES, "size": SIZE, "rate": FRAMES_PER_S, "crf": CRF, "patch": PATCH}
    _write_once(folder / "README.txt", README.format(**parameters, **facts))
    _write_once(complete, claim)
    begun.unlink(missing_ok=True)


def draw_clip(label: int, *, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one clip of the class: uint8 (T, H, W, 3) RGB. One unit of contrast is 40 grey levels, around 128."""
    background = 0.5 * _smooth_noise(rng)
    # (height, width), (top, left), colour
    boxes = [(rng.integers(4, 12, 2), rng.integers(0, SIZE - 12, 2), rng.normal(0, 1.2, 3)) for _ in range(3)]
    shown = rng.permutation(NUM_SEGMENTS)[: NUM_SEGMENTS // 2]
    start = rng.integers(4, SIZE - PATCH - 4, 2)
    drift = rng.uniform(-2.5, 2.5, 2)
    colour = rng.normal(0, 1, 3)
    colour *= 2.2 / np.linalg.norm(colour)
    period = rng.uniform(*PERIODS)
    frames = np.empty((NUM_FRAMES, SIZE, SIZE, 3))
    for t, frame in enumerate(frames):
        frame[:] = background + rng.normal(0, 0.25, frame.shape)
        for (height, width), corner, shade in boxes:
            top, left = np.clip(corner + rng.integers(-2, 3, 2), 0, (SIZE - height, SIZE - width))
            frame[top : top + height, left : left + width] += shade
        if t * NUM_SEGMENTS // NUM_FRAMES in shown:
            top, left = np.clip(start + drift * t, 0, SIZE - PATCH).astype(int)
            _draw_grating(frame[top : top + PATCH, left : left + PATCH], label, period, colour, rng)
    return np.clip(frames * 40 + 128, 0, 255).astype(np.uint8)


def encode(frames: NDArray[np.uint8], *, container: str = "mp4") -> bytes:
    """Encode (T, H, W, 3) RGB frames as H.264, or as VP9 in webm. The bytes are the same in every process."""
    import av

    buffer = io.BytesIO()
    # Without this flag, Matroska and webm files have a random number in their header.
    options = {} if container == "mp4" else {"fflags": "+bitexact"}
    with av.open(buffer, "w", format=container, options=options) as file:
        stream = file.add_stream("libvpx-vp9" if container == "webm" else "libx264", rate=FRAMES_PER_S)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        # With its macroblock tree, x264 gives different bytes for the same frames in different processes.
        stream.options = {"crf": str(CRF)} if container == "webm" else {"crf": str(CRF), "x264-params": "mbtree=0"}
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return buffer.getvalue()


def _smooth_noise(rng: np.random.Generator) -> NDArray[np.float64]:
    """A (H, W, 3) image: a 9 x 9 grid of random colours with smoothstep interpolation."""
    grid = rng.normal(0, 1, (9, 9, 3))
    place = np.linspace(0, 8, SIZE, endpoint=False)
    near, t = place.astype(int), place % 1
    share = t * t * (3 - 2 * t)
    rows = grid[near] + share[:, None, None] * (grid[near + 1] - grid[near])
    blended: NDArray[np.float64] = rows[:, near] + share[:, None] * (rows[:, near + 1] - rows[:, near])
    return blended


def _draw_grating(
    square: NDArray[np.float64], label: int, period: float, colour: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Draw the round patch into a (P, P, 3) part of a frame, at about the class's angle and with a random phase."""
    down, right = np.mgrid[0:PATCH, 0:PATCH]
    angle = np.pi * label / len(CLASSES) + rng.normal(0, 0.08)  # 0.08 rad: about 5 degrees
    along = right * np.cos(angle) + down * np.sin(angle)
    wave = np.sin(2 * np.pi * along / period + rng.uniform(0, 2 * np.pi))
    noise = rng.normal(0, 0.2, square.shape)
    is_inside = np.hypot(right - PATCH / 2, down - PATCH / 2) < PATCH / 2
    square[is_inside] = (wave[..., None] * colour + noise)[is_inside]


def _check_ours(folder: Path, claim: str, *, markers: tuple[Path, ...]) -> None:
    """Raise BadInput if the folder holds anything but this demo or a part of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for marker in markers:
        if marker.exists():
            if marker.read_text(encoding="utf-8") != claim:
                raise BadInput(
                    f"{marker}: says {marker.read_text(encoding='utf-8')}, not {claim}; delete {folder} or name another"
                )
            return
    if any(folder.iterdir()):
        raise BadInput(f"{folder}: not empty, and not a demo data set; name a new folder")


def _write_once(path: Path, content: bytes | str) -> None:
    """Write the file atomically, unless it exists."""
    if not path.exists():
        write_atomic(path, content)
