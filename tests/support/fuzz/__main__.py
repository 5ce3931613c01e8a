"""`python -m tests.support.fuzz`: mutated sweeps and annotation lists; prints the seed, counts and what went wrong."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.support.fuzz.trials import KINDS, SWEEPS, Trial, trials

MAX_ALIKE = 2
"""Failures with the same last words that are printed in full."""


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.support.fuzz", description=__doc__)
    options.add_argument("--sweeps", type=int, default=10_000, help="mutated sweeps")
    options.add_argument("--lists", type=int, default=5_000, help="mutated lists of each annotation format")
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="what is mutated")
    options.add_argument("--seed", type=int, default=None, help="draws the same inputs again; none: new ones")
    options.add_argument("--only", type=int, default=None, metavar="NUMBER", help="this input alone")
    given = options.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    if given.only is not None:
        found = [trial for kind in given.kinds for trial in trials(kind, seed=seed, first=given.only, count=1)]
        print(*found, sep="\n")
        return int(not all(trial.is_right for trial in found))
    counts = {kind: given.sweeps if kind == SWEEPS else given.lists for kind in given.kinds}
    is_right = True
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(partial(all_of, seed=seed), counts.items()):
            show(found)
            is_right = is_right and all(trial.is_right for trial in found)
    return int(not is_right)


def all_of(counted: tuple[str, int], *, seed: int) -> list[Trial]:
    kind, count = counted
    return list(trials(kind, seed=seed, count=count))


def show(found: list[Trial]) -> None:
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in Counter(t.outcome for t in found).most_common())
    slowest, largest = max(trial.seconds for trial in found), max(trial.megabytes for trial in found)
    print(f"{found[0].kind:14} {len(found):6}: {outcomes}; at most {slowest:.2f} s, {largest} MB", flush=True)
    alike: Counter[str] = Counter()
    for trial in found:
        last_words = trial.words.strip().rpartition("\n")[2][:40]
        if not trial.is_right and alike[last_words] < MAX_ALIKE:
            alike[last_words] += 1
            print(trial, flush=True)


if __name__ == "__main__":
    sys.exit(main())
