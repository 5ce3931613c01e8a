"""torch.compile of a network, tried once before the training needs it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from reskd.models.video_model import ClipOutput, VideoModel

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], ClipOutput]
MAX_VARIANTS = 64
"""Most compiled forms of one forward; torch's own limit is 8. Members differ in size and resolution, and torch counts
them together."""


def compiled(model: VideoModel, *, trial: Callable[[Forward], object], who: str) -> Forward:
    """The network as torch.compile runs it; the network itself where that fails, with the reason in the log.

    trial calls what it is given as the training will, so that it compiles, or fails, now: later a failure might come
    in the middle of a step. Random draws are those of the network itself. Running out of memory is no such failure.
    """
    torch._dynamo.config.recompile_limit = MAX_VARIANTS
    made: Forward = torch.compile(model, dynamic=False, options={"fallback_random": True})
    try:
        trial(made)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler, or the lack of one, comes up with
        reason = str(error).strip().splitlines() or [""]
        logger.warning("%s goes on without torch.compile: %s: %s", who, type(error).__name__, reason[0])
        return model
    return made
