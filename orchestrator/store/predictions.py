"""What a finished step predicted for each clip of its final test, as CSV."""

from __future__ import annotations

import csv
import io

import numpy as np

from orchestrator.store.evaluations import stored_arrays
from orchestrator.store.store import Store
from reskd.data.manifest import Manifest
from reskd.errors import BadInput
from reskd.evaluation.metrics import softmax

TOP = 5
"""Classes for each clip, most likely first."""


def predictions_csv(store: Store, step_id: str, *, protocol: str, manifest: Manifest) -> str:
    """One line for each clip: path, label, predicted, probability, then class and probability of ranks 2 to 5.

    A clip with several labels has them separated by `|`. Raises BadInput if the evaluation cannot be read or does not
    fit the manifest.
    """
    logits, targets, indices = stored_arrays(store, step_id, protocol)
    clips, classes = manifest.val, manifest.classes
    if logits.shape[1] != len(classes) or (len(indices) and int(indices.max()) >= len(clips)):
        raise BadInput(
            f"{store.place(step_id)}/eval/{protocol}.npz: {logits.shape[1]} classes, and clips up to number "
            f"{indices.max(initial=0)}; the manifest has {len(classes)} and {len(clips)}; `reskd eval` the step again"
        )
    probabilities = softmax(logits)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]  # (N, TOP or all)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(2, best.shape[1] + 1)
    further = [f"{what}_{rank}" for rank in ranks for what in ("class", "probability")]
    writer.writerow(["path", "label", "predicted", "probability", *further])
    for number, target, ranked, shares in zip(indices.tolist(), targets, best, probabilities, strict=True):
        label = "|".join(classes[each] for each in np.flatnonzero(target))
        cells = [cell for each in ranked for cell in (classes[each], f"{shares[each]:.6f}")]
        writer.writerow([clips[number].path, label, *cells])
    return text.getvalue()
