"""All that has to be seen on a GPU, in one command that may be cut short: `make gpu`, or `python -m benchmarks.gpu`.

It needs torch and torchvision alone. The parts (benchmarks/gpu_parts.py) take under a minute each on an H100, about
half an hour together. After each of them its figures, its goals and its seconds, or its error, are written to
docs/gpu/<device>.json; called again, it goes on with what is not there, and tries what failed again at the end.
With another device, torch or CUDA it begins anew.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_parts import Part, Setting, parts
from reskd.checkpoint import file_name_of
from reskd.errors import BadInput
from reskd.files import Json, read_json, write_json
from reskd.runtime.determinism import CUBLAS_VARIABLE, CUBLAS_WORKSPACE
from reskd.runtime.device import chosen_device, device_name

FOLDER = Path(__file__).parent.parent / "docs" / "gpu"
CUT_SHORT = "did not end: the process was stopped in it"


def head_of(setting: Setting) -> Json:
    """What two files must agree in to be of the same measurement."""
    return {
        "device": device_name(setting.device),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if setting.device.type == "cuda" else None,
        "quick": setting.is_quick,
    }


def file_of(setting: Setting, folder: Path) -> Path:
    quick = "-quick" if setting.is_quick else ""
    return folder / f"{file_name_of(device_name(setting.device))}{quick}.json"


def begun(path: Path, head: Json) -> dict[str, Any]:
    """The file's content where it is of this device and torch, else an empty one."""
    before = read_json(path)
    if before is not None and all(before.get(key) == value for key, value in head.items()):
        return before
    return {**head, "date": time.strftime("%Y-%m-%d"), "parts": {}}


def left_to_do(named: Mapping[str, Part], done: Mapping[str, Json]) -> list[str]:
    """Parts without figures: those never tried first, so that one that ends the process keeps nobody waiting twice."""
    return sorted((name for name in named if "error" in done.get(name, {"error": ""})), key=lambda name: name in done)


def run(named: Mapping[str, Part], setting: Setting, path: Path) -> Iterator[str]:
    """Run what is left, write the file after each part, and give a line for each of its figures or for its error."""
    content = begun(path, head_of(setting))
    done = content["parts"]
    for name in left_to_do(named, done):
        done[name] = {"error": CUT_SHORT}
        write_json(path, content)
        started = time.perf_counter()
        try:
            figures = named[name](setting)
            done[name] = {"figures": [asdict(figure) for figure in figures]}
            lines = [figure.line for figure in figures]
        except Exception as error:  # of whatever kind: the other parts are worth having
            done[name] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            lines = [f"FAILED: {done[name]['error']}"]
        done[name]["seconds"] = round(time.perf_counter() - started, 1)
        write_json(path, content)
        yield from (f"{name} [{done[name]['seconds']:.0f} s] {line}" for line in lines)
        _free(setting.device)


def _free(device: torch.device) -> None:
    """RuntimeError where the device answers no more: a fault of a kernel's is the whole process's."""
    gc.collect()
    torch.compiler.reset()
    if device.type == "cuda":
        try:
            torch.cuda.empty_cache()
            torch.cuda.synchronize(device)
        except RuntimeError as error:
            raise RuntimeError(f"{device} answers no more in this process; the same command goes on") from error


def main(arguments: Sequence[str] | None = None, *, named: Mapping[str, Part] | None = None) -> int:
    """Run the parts; 1 where one failed. ``named``: other parts than those of benchmarks/gpu_parts.py."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small networks: shows that it runs, and nothing of speed")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the file; default: docs/gpu")
    options = parser.parse_args(arguments)
    os.environ.setdefault(CUBLAS_VARIABLE, CUBLAS_WORKSPACE)  # before the GPU's first use
    try:
        device = chosen_device(options.device)
    except BadInput as error:
        parser.error(str(error))
    setting = Setting(device, is_quick=options.quick)
    chosen = parts(setting) if named is None else named
    path = file_of(setting, options.out)
    for line in run(chosen, setting, path):
        print(line, flush=True)
    content = begun(path, head_of(setting))
    failed = left_to_do(chosen, content["parts"])
    print(f"{len(chosen) - len(failed)} of {len(chosen)} parts have figures: {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
