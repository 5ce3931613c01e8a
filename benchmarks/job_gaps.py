"""What a short job pays beside its training: seconds from one job's end to the next one's first step.

    python -m benchmarks.job_gaps STORE     # of a run with one job at a time; it reads the store and trains nothing

A job's first step begins when its steps' `start.json` says, since networks and videos are ready then. Its end is the
last `finished_ms` of its steps' `DONE.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from orchestrator.plan.cost_inputs import trained_together
from orchestrator.store.open import store_of
from orchestrator.store.store import Store


def gaps(store: Store) -> list[float]:
    """Seconds between jobs, in the order of their starts. Jobs that overlap have no gap between them."""
    records = {step_id: record for step_id in store.step_ids() if (record := store.done(step_id))}
    jobs = sorted(
        (int(records[members[0]]["started_ms"]), max(int(records[member]["finished_ms"]) for member in members))
        for members in trained_together(records)
    )
    return [(start - end) / 1000 for (_, end), (start, _) in pairwise(jobs) if start >= end]


def main(arguments: Sequence[str] | None = None) -> None:
    (address,) = sys.argv[1:] if arguments is None else arguments
    found = gaps(store_of(address))
    if not found:
        sys.exit(f"{address}: no two jobs that ran one after the other")
    print("  ".join(f"{gap:.1f}" for gap in found))
    print(f"median {median(found):.1f} s over {len(found)} gaps between jobs")


if __name__ == "__main__":
    main()
