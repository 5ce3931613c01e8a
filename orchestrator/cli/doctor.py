"""Checks that this machine has what reskd needs. Each check really uses the thing; a failed check says what to do."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from orchestrator.run.ray_address import VARIABLE as RAY_VARIABLE
from orchestrator.run.ray_address import cluster_address, settled_address
from orchestrator.store.open import CACHE_VARIABLE, address_of, is_bucket, store_at, store_of
from orchestrator.store.store import STORE_VARIABLE
from orchestrator.tracking.settings import URI_VARIABLE, refuse_files
from reskd.data.annotations import DATA_VARIABLE
from reskd.errors import BadInput
from reskd.passwords import without_passwords

PYTHONS = ((3, 11), (3, 14))
"""Supported Python versions, as in pyproject.toml: at least the first, below the second."""
MIN_FREE_GIB = 5.0
"""Free disk space that a store needs. A demo store is below 1 GiB; a ResNet-50 sweep of the paper's size keeps two
checkpoints of 0.3 GiB for each step."""
IMPORT_TIMEOUT_S = 120.0
INSTALL = "make a new environment with `make demo`, or: pip install -c constraints.txt -e ."
OTHER_STORE = "name another store with --store or RESKD_STORE"
PLACES = (STORE_VARIABLE, DATA_VARIABLE, CACHE_VARIABLE, RAY_VARIABLE, URI_VARIABLE, "http_proxy", "https_proxy")
"""Variables that say where something is. docs/cluster.md lists all that have an effect."""

SIDE = 64
BRIGHTNESSES = tuple(range(32, 224, 24))
"""Brightness of each frame of the clip with which the decoders are tested."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of one check."""

    what: str
    verdict: Literal["ok", "note", "missing"]
    """note: reskd works without it; missing: reskd needs it."""
    found: str
    do: str = ""


def examine(store: str | None) -> list[Finding]:
    """All checks, in the order in which their failures should be corrected. ``store`` is what --store gives."""
    return [
        _python(),
        _tried("torch", _torch, do=INSTALL),
        _cuda(),
        *_decoders(),
        _imports("Ray", "ray"),
        _imports("MLflow", "mlflow"),
        *store_findings(store),
        *environment_findings(),
        _memory(),
        loader_memory(),
    ]


def _python() -> Finding:
    version, (least, below) = sys.version_info[:2], PYTHONS
    is_right = least <= version < below
    names = f"Python {least[0]}.{least[1]} to {below[0]}.{below[1] - 1}"
    return Finding(
        what="Python",
        verdict="ok" if is_right else "missing",
        found=f"{platform.python_version()} at {sys.executable}",
        do="" if is_right else f"use {names}",
    )


def _tried(what: str, attempt: Callable[[], str], *, do: str) -> Finding:
    """The attempt's message, or the error with which it failed. Any exception is an answer here."""
    try:
        return Finding(what=what, verdict="ok", found=attempt())
    except Exception as error:
        return Finding(what=what, verdict="missing", found=_one_line(error), do=do)


def _torch() -> str:
    import torch
    import torchvision

    if not torch.equal(torch.ones(2, 2) @ torch.ones(2, 2), torch.full((2, 2), 2.0)):
        raise ValueError(f"torch {torch.__version__} multiplies wrongly")
    return f"{torch.__version__}, torchvision {torchvision.__version__}, {torch.get_num_threads()} threads"


def _cuda() -> Finding:
    do = "set resources.gpus_per_worker: 0 to train on CPUs, or install NVIDIA's driver"
    try:
        import torch

        if not torch.cuda.is_available():
            return Finding(
                what="CUDA", verdict="note", found=f"no GPU that torch can use (built for {_built()})", do=do
            )
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        torch.ones(2, device="cuda").sum().item()
        return Finding(what="CUDA", verdict="ok", found=f"{len(names)} GPU(s): {', '.join(names)}")
    except Exception as error:
        return Finding(what="CUDA", verdict="note", found=_one_line(error), do=do)


def _built() -> str:
    import torch

    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs only"


def _decoders() -> list[Finding]:
    """Check the decoders: pyav is needed, the others are optional."""
    try:
        from reskd.data.decode.dispatch import BACKENDS
    except Exception as error:
        return [Finding(what="decoders", verdict="missing", found=_one_line(error), do=INSTALL)]
    found = [_tried(f"decoder {name}", partial(_read_back, name), do=INSTALL) for name in BACKENDS]
    return [
        finding
        if finding.verdict == "ok" or finding.what == "decoder pyav"
        else replace(finding, verdict="note", do="leave data.decode at pyav, or install it")
        for finding in found
    ]


def _read_back(backend: str) -> str:
    """Encode a clip of known brightness with pyav and read it back as training does."""
    import av
    import numpy as np

    from reskd.data.decode.dispatch import read_frames

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.width = stream.height = SIDE
            stream.pix_fmt = "yuv420p"
            for brightness in BRIGHTNESSES:
                image = np.full((SIDE, SIDE, 3), brightness, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        frames = read_frames(path, range(len(BRIGHTNESSES)), backend=backend)
    means = [round(float(frame.mean())) for frame in frames]
    if len(means) != len(BRIGHTNESSES) or any(abs(a - b) > 6 for a, b in zip(means, BRIGHTNESSES, strict=True)):
        raise ValueError(f"frames of brightness {list(BRIGHTNESSES)} came back as {means}")
    return f"{len(means)} frames encoded with av {av.__version__} and read back"


def _imports(what: str, module: str) -> Finding:
    """Import a module in a separate process, so that a crash or hang is reported and nothing stays loaded."""
    code = f"import {module}; print({module}.__version__)"
    try:
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=IMPORT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(what=what, verdict="missing", found=f"no import within {IMPORT_TIMEOUT_S:.0f} s", do=INSTALL)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        return Finding(what=what, verdict="missing", found=last, do=INSTALL)
    return Finding(what=what, verdict="ok", found=result.stdout.strip().splitlines()[-1])


def store_findings(named: str | None) -> list[Finding]:
    """Free space at the place of the store, which need not exist yet. For a bucket: whether it answers, and free space
    in its cache on this machine."""
    try:
        address = address_of(named)
    except BadInput as error:
        return [Finding(what="store", verdict="missing", found=_one_line(error), do=OTHER_STORE)]
    if not is_bucket(address):
        folder = Path(address)
        if folder.is_dir():  # then its parts may be closed to this user
            try:
                store_at(address)
            except BadInput as error:
                return [Finding(what="store", verdict="missing", found=_one_line(error), do=OTHER_STORE)]
        return [_disk("store", folder, do="another folder with --store or RESKD_STORE")]
    bucket = _tried("store", lambda: f"{store_at(address).address} answers and heeds conditions", do=OTHER_STORE)
    return [bucket, _disk("cache", store_of(address).home, do=f"another folder with {CACHE_VARIABLE}")]


def environment_findings() -> list[Finding]:
    """What the environment decides: the variables that name places, and whether they name something that answers."""
    taken = {name: without_passwords(os.environ[name]) for name in PLACES if os.environ.get(name)}
    listed = ", ".join(f"{name}={value}" for name, value in taken.items()) or "names no place"
    findings = [Finding(what="environment", verdict="ok", found=listed)]
    cluster, uri = cluster_address(), os.environ.get(URI_VARIABLE)
    if cluster is not None:
        join = partial(settled_address, cluster, where=RAY_VARIABLE)
        findings.append(_tried(RAY_VARIABLE, lambda: f"a Ray answers at {join()}", do="as it says"))
    if uri:
        try:
            refuse_files(uri)
        except BadInput as error:
            findings.append(Finding(what=URI_VARIABLE, verdict="missing", found=_one_line(error), do="as it says"))
    return findings


def _disk(what: str, place: Path, *, do: str) -> Finding:
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free_gib = shutil.disk_usage(there).free / 2**30
    found = f"{free_gib:.1f} GiB free at {place}"
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "cannot be written" if there.is_dir() else "is no folder"
        return Finding(what=what, verdict="missing", found=f"{there} {why}", do=f"name {do}")
    if free_gib < MIN_FREE_GIB:
        return Finding(what=what, verdict="note", found=found, do=f"free {MIN_FREE_GIB:.0f} GiB, or name {do}")
    return Finding(what=what, verdict="ok", found=found)


def _memory() -> Finding:
    import psutil

    free_gib, cores = psutil.virtual_memory().available / 2**30, os.cpu_count() or 1
    found = f"{free_gib:.1f} GiB free, {cores} cores"
    if free_gib < 4:
        do = "Ray with two workers takes about 4 GiB; close something, or set resources.workers: 1"
        return Finding(what="memory", verdict="note", found=found, do=do)
    return Finding(what="memory", verdict="ok", found=found)


def loader_memory() -> Finding:
    """How loader processes hand clips over. Either way needs no room in /dev/shm, which Docker makes small."""
    what = "loader memory"
    try:
        from reskd.runtime.handover import has_anonymous_memory

        is_anonymous = has_anonymous_memory()
    except Exception as error:
        return Finding(what=what, verdict="missing", found=_one_line(error), do=INSTALL)
    if is_anonymous:
        return Finding(what=what, verdict="ok", found="clips go through memory without a file; /dev/shm is not needed")
    do = "allow memfd_create in the container, if loading is what a job waits for"
    return Finding(what=what, verdict="note", found="clips go through pipes, which takes longer", do=do)


def _one_line(error: Exception) -> str:
    said = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())


def is_fit(findings: Sequence[Finding]) -> bool:
    """Whether nothing needed is missing."""
    return all(finding.verdict != "missing" for finding in findings)
