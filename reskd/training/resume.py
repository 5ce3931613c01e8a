"""Finds the epoch from which a cohort resumes, and checks that all workers start with equal weights."""

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
    """The newest epoch with an undamaged checkpoint of every step; 0 if there is none. Newer checkpoints are removed.

    Only one worker may call it. An OSError is raised, so that no checkpoint is removed when a file share is offline.
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
    """Raise BadInput unless all workers hold equal weights. A collective call.

    Workers exchange gradients only, so different start weights would stay different without any error.
    """
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
