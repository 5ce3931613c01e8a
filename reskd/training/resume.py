"""Where a cohort goes on from, and that all its workers start there alike."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection

from reskd.checkpoint import Sink, state_hash
from reskd.errors import BadInput
from reskd.runtime.workers import Workers
from reskd.training.cohort import Cohort

logger = logging.getLogger(__name__)


def newest_common(sink: Sink, step_ids: Collection[str]) -> int:
    """The newest epoch that all steps hold undamaged, 0 for none; what they hold beyond it is forgotten.

    For one worker alone; a file system's error passes, so that a share that is gone costs no checkpoint.
    """
    epoch = 0
    for candidate in sorted(set.intersection(*(set(sink.epochs(step_id)) for step_id in step_ids)), reverse=True):
        try:
            for step_id in step_ids:
                sink.load(step_id, candidate)
        except BadInput as error:
            logger.warning("%s; going back to the epoch before", error)
            continue
        epoch = candidate
        break
    for step_id in step_ids:
        sink.rewind(step_id, epoch)
    return epoch


def check_same_weights(cohort: Cohort, workers: Workers) -> None:
    """Only gradients are added up, so workers that start apart would stay apart without an error. A collective."""
    models = {member.step_id: member.model for member in cohort.members}
    if cohort.teacher is not None:
        models["the teacher"] = cohort.teacher.model
    hashes = {name: state_hash(model.state_dict()) for name, model in models.items()}
    for rank, (host, found) in enumerate(workers.gather((socket.gethostname(), hashes))):
        differing = sorted(name for name in hashes if found[name] != hashes[name])
        if differing:
            raise BadInput(
                f"worker {rank} on {host} starts {differing[0]} from other weights than worker {workers.rank}; "
                f"give all nodes the same weights files and the same kind of CPU"
            )
