"""Options that make a benchmark small."""

from __future__ import annotations

import torch

SMALL_COHORT = [
    *("--teacher", "tsn_mini18", "--student", "tsn_mini10", "--crop", "64", "--resolution", "24", "--frames", "2"),
    *("--resolutions", "32", "24", "--sizes", "2", "--rounds", "1", "--threads", str(torch.get_num_threads())),
]
