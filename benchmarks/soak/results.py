"""The files of the soaks and the table that adds them up."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.soak.attacks import ATTACKS
from benchmarks.soak.round import Findings
from reskd.files import Json, write_atomic

FAULTS = {
    "lost": "finished steps lost",
    "twice": "epochs trained twice",
    "different": "steps with other weights",
    "left_running": "MLflow runs left RUNNING",
    "unfinished": "steps not finished",
}


def record_of(seed: int, minutes: float, rounds: Iterable[tuple[str, Findings]]) -> Json:
    """What one soak leaves: its seed, its time and the findings of each round under the round's name."""
    return {
        "seed": seed,
        "minutes": minutes,
        "rounds": [{"name": name, **asdict(found), "attacks": dict(found.attacks)} for name, found in rounds],
    }


def write_record(folder: Path, record: Json) -> Path:
    """Write it as ``seed-<seed>.json``."""
    path = folder / f"seed-{record['seed']}.json"
    write_atomic(path, (json.dumps(record, indent=1) + "\n").encode())
    return path


def faults_of(record: Json) -> dict[str, int]:
    """What is on record and must be zero, added up over the rounds."""
    return {name: sum(each[name] for each in record["rounds"]) for name in FAULTS}


def table_of(records: Sequence[Json]) -> str:
    """The sums of several soaks in Markdown."""
    rounds = [each for record in records for each in record["rounds"]]
    lines = ["| attack | times | seconds without an epoch: median | longest |", "|---|---:|---:|---:|"]
    for name in ATTACKS:
        times = sum(each["attacks"].get(name, 0) for each in rounds)
        waits = [seconds for each in rounds for seconds in each["recovered_s"].get(name, ())]
        ends = (f"{statistics.median(waits):.0f}", f"{max(waits):.0f}") if waits else ("", "")
        lines.append(f"| {name} | {times} | {ends[0]} | {ends[1]} |")
    sums = {name: sum(each[name] for each in rounds) for name in FAULTS}
    lines += ["", "| found | number |", "|---|---:|"]
    lines += [f"| {words} | {sums[name]} |" for name, words in FAULTS.items()]
    longest = max((each["longest_silence_s"] for each in rounds), default=0.0)
    starts, minutes = sum(each["starts"] for each in rounds), sum(record["minutes"] for record in records)
    lines += [
        "",
        f"{len(rounds)} rounds in {minutes:.0f} minutes, seeds {', '.join(str(each['seed']) for each in records)}; "
        f"the command was typed {starts} times; longest time without a new epoch {longest:.0f} s.",
    ]
    return "\n".join(lines)
