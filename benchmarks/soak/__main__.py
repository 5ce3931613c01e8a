"""Attacks runs for an hour and counts what breaks: `python -m benchmarks.soak --minutes 60 --seed 1`.

Each round trains one small sweep into an empty store, on two CPU cores, and attacks it at moments that the seed draws.
Rounds take turns: a folder on a small disk (where the machine allows to mount one), a folder with an MLflow server, a
bucket (moto). What is compared at the end: docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.soak.results import FAULTS, faults_of, record_of, table_of, write_record
from benchmarks.soak.round import Findings, Round, hashes_of
from benchmarks.soak.servers import BucketServer, MlflowServer
from benchmarks.soak.sweep import write_sweep
from reskd.data.synthetic import make_demo

DISK_MB = 48


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="how long rounds begin (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=150, help="of the students (default: %(default)d)")
    parser.add_argument("--out", type=Path, default=Path("docs/reliability"), help="folder of the results")
    parser.add_argument("--table", action="store_true", help="only print the table of the results that are there")
    options = parser.parse_args(arguments)
    if options.table:
        print(table_of([json.loads(path.read_text()) for path in sorted(options.out.glob("seed-*.json"))]))
        return 0
    draw, started = random.Random(options.seed), time.monotonic()
    rounds: list[tuple[str, Findings]] = []
    until = started + 60 * options.minutes
    with ExitStack() as beside:
        work = Path(beside.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        make_demo(work / "data", num_train=36, num_val=7)
        sweep = write_sweep(work / "soak.yaml", root=work / "data", epochs=options.epochs)
        calm = Round(sweep, str(work / "calm"), draw=draw, log=work / "calm.log")
        if calm.start().wait() != 0:
            print((work / "calm.log").read_text()[-2000:])
            return 1
        hashes = hashes_of(calm.prepared())
        print(f"{len(hashes)} steps, undisturbed in {time.monotonic() - started:.0f} s", flush=True)
        while time.monotonic() < until:
            kind = ROUNDS[len(rounds) % len(ROUNDS)]
            with kind(work / f"round-{len(rounds)}", sweep, draw) as one:
                one.run(until=until)
                found = one.compare(hashes)
            rounds.append((kind.__name__.removesuffix("_round"), found))
            _tell(rounds[-1], work / f"round-{len(rounds) - 1}", options.out)
            record = record_of(options.seed, (time.monotonic() - started) / 60, rounds)
            write_record(options.out, record)
    print(table_of([record]))
    return int(any(faults_of(record).values()))


@contextmanager
def folder_round(folder: Path, sweep: Path, draw: random.Random) -> Iterator[Round]:
    """A folder, on a disk that is small enough to be filled where one can be mounted, and MLflow's database in it."""
    store = folder / "store"
    store.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", store], capture_output=True, check=False
    )
    has_disk = mounted.returncode == 0
    try:
        yield Round(sweep, str(store), draw=draw, log=folder / "run.log", disk=store if has_disk else None)
    finally:
        if has_disk:
            subprocess.run(["umount", "-l", store], check=False)


@contextmanager
def server_round(folder: Path, sweep: Path, draw: random.Random) -> Iterator[Round]:
    """A folder, and an MLflow server."""
    server = MlflowServer(folder / "mlflow")
    server.start()
    try:
        yield Round(sweep, str(folder / "store"), draw=draw, log=folder / "run.log", mlflow=server)
    finally:
        server.kill()


@contextmanager
def bucket_round(folder: Path, sweep: Path, draw: random.Random) -> Iterator[Round]:
    """A bucket, with MLflow's database in the machine's cache."""
    server = BucketServer(folder / "moto.log")
    server.start()
    settings = {**server.settings(), "RESKD_CACHE": str(folder / "cache")}
    with _environment(settings):
        try:
            url = server.empty_bucket("store")
            yield Round(sweep, url, draw=draw, log=folder / "run.log", environment=settings, bucket=server)
        finally:
            server.kill()


ROUNDS = (folder_round, server_round, bucket_round)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """The variables in this process too, which reads the store."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _tell(ended: tuple[str, Findings], folder: Path, out: Path) -> None:
    name, found = ended
    faults = ", ".join(f"{words} {getattr(found, key)}" for key, words in FAULTS.items())
    print(f"{name}: {found.attacks.total()} attacks, {found.starts} starts; {faults}", flush=True)
    if any(getattr(found, key) for key in FAULTS):
        kept = out / "failed" / f"{folder.name}.log"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes((folder / "run.log").read_bytes())
        print(f"what the command printed: {kept}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
