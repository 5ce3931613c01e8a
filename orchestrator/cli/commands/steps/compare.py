"""`reskd compare`: compares two finished steps clip by clip, from their stored logits."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from orchestrator.cli.commands.steps.shared import ProtocolName, StepId, stored_judgement_of
from orchestrator.cli.console import console
from orchestrator.cli.inputs import open_store
from orchestrator.cli.options import AsJson, StoreFolder
from reskd.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.store.evaluations import StoredJudgement


def compare(
    first: StepId, second: StepId, protocol: ProtocolName = None, store: StoreFolder = None, as_json: AsJson = False
) -> None:
    """Compare two finished steps clip by clip: accuracies, their difference with an interval, McNemar's exact test."""
    from reskd.evaluation.paired_tests import compare as compare_correct
    from reskd.evaluation.paired_tests import correct

    home = open_store(store)
    pair = [stored_judgement_of(home, prefix, protocol) for prefix in (first, second)]
    rows = _shared_clips(*pair)
    right = [correct(one.logits, one.targets)[row] for one, row in zip(pair, rows, strict=True)]
    paired = compare_correct(right[0], right[1])
    left_out = [len(one.indices) - len(row) for one, row in zip(pair, rows, strict=True)]
    if as_json:
        steps = [one.step_id for one in pair]
        print(json.dumps({"steps": steps, "protocol": pair[0].protocol, "left_out": left_out, **asdict(paired)}))
        return
    table = Table("step", "top-1 (%)", "alone right", title=f"{paired.num_clips} clips, {pair[0].protocol}")
    table.add_row(pair[0].step_id, f"{100 * paired.accuracy_first:.1f}", str(paired.only_first))
    table.add_row(pair[1].step_id, f"{100 * paired.accuracy_second:.1f}", str(paired.only_second))
    console.print(table)
    console.print(
        f"difference {100 * paired.difference:+z.1f} points, 95 % interval {100 * paired.low:+z.1f} to "
        f"{100 * paired.high:+z.1f} (bootstrap over clips); McNemar's exact test p = {paired.p_value:.3g}"
    )
    console.print("Both cover the choice of clips for these two models, not the choice of seeds.")
    if any(left_out):
        console.print(f"Left out, since the other step skipped them: {left_out[0]} and {left_out[1]} clips.")


def _shared_clips(first: StoredJudgement, second: StoredJudgement) -> tuple[np.ndarray, np.ndarray]:
    """Positions, in each step's logits, of the clips that both have. Raises BadInput if the steps cannot be
    compared."""
    if first.manifest_sha256 != second.manifest_sha256:
        raise BadInput(
            f"steps {first.step_id} and {second.step_id} have different data, so their clips cannot be paired"
        )
    if first.protocol != second.protocol:
        raise BadInput(
            f"step {first.step_id} was tested by {first.protocol}, {second.step_id} by {second.protocol}; "
            "name one for both with --protocol, after `reskd eval` if it is missing"
        )
    shared, rows_first, rows_second = np.intersect1d(first.indices, second.indices, return_indices=True)
    if len(shared) == 0:
        raise BadInput(f"steps {first.step_id} and {second.step_id} have no clip in common under {first.protocol}")
    return rows_first, rows_second
