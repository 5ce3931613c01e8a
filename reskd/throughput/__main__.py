"""`python -m reskd.throughput`: measures clips per second of a network, plain and tuned.

Needs only torch and torchvision.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from reskd.errors import BadInput
from reskd.faults import fault_of
from reskd.files import write_json
from reskd.models.catalogue import MODELS, build_model, is_model
from reskd.recipe import ModelSpec
from reskd.runtime.device import chosen_device
from reskd.throughput.paths import FREEZING, PATHS
from reskd.throughput.sheet import Plan, Sheet, fill, new_sheet, table_of

RESOLUTIONS = (224, 144, 112, 96, 72, 56)
"""Resolutions of the paper's Table 4, whose batch is 64 videos of 16 frames."""
DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the file after every measurement. Exits with 2 on bad input."""
    options = _parser().parse_args(arguments)
    sheet: Sheet | None = None
    try:
        plan, device = _plan(options), chosen_device(options.device)
        sheet = new_sheet(plan, device=device, profiles=_profiles(options.devices))
        model = build_model(ModelSpec(name=plan.model), num_classes=plan.num_classes, num_frames=plan.num_frames).eval()
        for line in fill(sheet, model, plan, device=device):
            print(line, file=sys.stderr, flush=True)
            if options.json is not None:  # after each, so that a run cut short keeps what it has
                write_json(options.json, sheet.to_dict())
    except (BadInput, TypeError) as error:
        print(f"reskd.throughput: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        if sheet is not None:
            print(table_of(sheet))  # a full disk loses no measurement
        print(f"reskd.throughput: {fault.words}", file=sys.stderr)
        sys.exit(fault.exit_code)
    print(table_of(sheet))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reskd.throughput",
        description="Clips a second of a network alone, without decoding: the paper's Table 4 on this machine.",
        epilog="Short on a CPU: --resolutions 56 --batch 2 --max-batch 0 --seconds 5 --paths fp32 tuned-eager",
    )
    add = parser.add_argument
    add("--model", default="tsn_resnet50", help="default: %(default)s")
    add("--classes", type=_count, default=200, help="default: %(default)s, ActivityNet's")
    add("--frames", type=_count, default=16, help="frames per clip; default: %(default)s")
    add("--resolutions", type=_count, nargs="+", default=RESOLUTIONS, metavar="PIXELS", help="default: the paper's six")
    add("--batch", type=_count, default=64, help="clips per batch; default: %(default)s")
    add(
        "--max-batch",
        type=_count_or_none,
        default=256,
        help="largest batch size of the search for the fastest one; 0: no search; default: %(default)s",
    )
    add("--paths", nargs="+", choices=list(PATHS), help="default: all that the device can run")
    add("--seconds", type=_seconds, default=20.0, help="longest time of one measurement; default: %(default)s")
    add("--repeats", type=_count, default=20, help="number of timings for the median; default: %(default)s")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:1; default: %(default)s")
    add(
        "--dtype",
        choices=list(DTYPES),
        default="auto",
        help="number type of the tuned paths; auto: bfloat16 if it is fast",
    )
    add("--threads", type=_count, help="torch's threads on the CPU; default: torch's own choice")
    add(
        "--compile-mode",
        choices=["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", FREEZING],
        help="default: max-autotune on a GPU, freezing on a CPU",
    )
    add(
        "--devices",
        type=Path,
        metavar="FOLDER",
        help="profiles that `reskd bench calibrate` wrote, for a GPU's roofline; default: devices/ of $RESKD_STORE, "
        "else of ./store; without one, shipped peaks",
    )
    add("--json", type=Path, metavar="FILE", help="file for the measurements, which `reskd bench import` reads")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    if not is_model(options.model):
        raise BadInput(f"--model: {options.model!r} is not a model; there are {', '.join(MODELS)}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    is_cuda = chosen_device(options.device).type == "cuda"
    torch.backends.cudnn.benchmark = True  # the fastest algorithm, on every path
    # A CUDA graph needs a GPU. If a user asks for one on a CPU, the file says why it was not used.
    paths = options.paths or [name for name, path in PATHS.items() if is_cuda or path.engine != "graph"]
    return Plan(
        model=options.model,
        num_classes=options.classes,
        num_frames=options.frames,
        resolutions=tuple(dict.fromkeys(options.resolutions)),
        batch_size=options.batch,
        max_batch=options.max_batch,
        paths=tuple(dict.fromkeys(paths)),
        seconds=options.seconds,
        repeats=options.repeats,
        dtype=DTYPES[options.dtype],
        compile_mode=options.compile_mode or ("max-autotune" if is_cuda else FREEZING),
    )


def _profiles(named: Path | None) -> Path | None:
    """The folder of device profiles: the one named, else the default store's where that is a folder."""
    if named is not None and not named.is_dir():
        raise BadInput(f"--devices: {named} is no folder; `reskd bench calibrate` prints where it wrote a profile")
    store = os.environ.get("RESKD_STORE") or "store"
    return named or (None if "://" in store else Path(store, "devices"))


def _count(text: str) -> int:
    return _at_least(text, 1)


def _count_or_none(text: str) -> int:
    return _at_least(text, 0)


def _at_least(text: str, low: int) -> int:
    if not text.isdecimal() or int(text) < low:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return value


if __name__ == "__main__":
    main()
