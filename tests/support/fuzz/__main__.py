"""`python -m tests.support.fuzz`: mutated sweeps and annotation lists; prints the seed, counts and what went wrong."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.support.fuzz.trials import KINDS, SWEEPS, Trial, trials

MAX_SHOWN = 5
"""Failures of one kind that are printed in full."""


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
    counts = {kind: given.sweeps if kind == SWEEPS else given.lists for kind in given.kinds}
    if given.only is not None:
        for kind in given.kinds:
            print(*trials(kind, seed=seed, first=given.only, count=1))
        return 0

    def all_of(kind: str) -> list[Trial]:
        return list(trials(kind, seed=seed, count=counts[kind]))

    is_right = True
    with ThreadPoolExecutor(2) as pool:
        for kind, found in zip(counts, pool.map(all_of, counts), strict=True):
            wrong = [trial for trial in found if not trial.is_right]
            outcomes = ", ".join(f"{n} {outcome}" for outcome, n in sorted(Counter(t.outcome for t in found).items()))
            slowest, largest = max(t.seconds for t in found), max(t.megabytes for t in found)
            print(f"{kind:14} {len(found)}: {outcomes}; at most {slowest:.2f} s, {largest} MB", flush=True)
            shown: Counter[str] = Counter()
            for trial in wrong:
                alike = trial.words.strip().rpartition("\n")[2][:40]
                shown[alike] += 1
                if shown[alike] <= 2 and len(shown) <= 40:
                    print(trial, flush=True)
            is_right = is_right and not wrong
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
