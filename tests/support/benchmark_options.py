"""Options that make a benchmark small."""

from __future__ import annotations

SMALL_COHORT = [
    *("--teacher", "tsn_mini18", "--student", "tsn_mini10", "--crop", "32", "--resolution", "24", "--frames", "2"),
    *("--resolutions", "32", "24", "--sizes", "2", "--rounds", "1", "--threads", "1"),
]
