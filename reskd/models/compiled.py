"""Compiles a network with torch.compile, and tests it once before the training needs it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from reskd.models.video_model import ClipOutput, VideoModel

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], ClipOutput]
MAX_VARIANTS = 64
"""Most compiled variants of one forward; torch's default is 8. Members differ in size and resolution, and torch counts
them together."""


def compiled(model: VideoModel, *, trial: Callable[[Forward], object], who: str) -> Forward:
    """The network compiled by torch.compile. If this fails, the network itself, and the log says why.

    ``trial`` calls the result as the training will, so that it compiles, or fails, now and not during a training step.
    Random draws stay those of the network itself. Out-of-memory errors are raised.
    """
    torch._dynamo.config.recompile_limit = MAX_VARIANTS
    made: Forward = torch.compile(model, dynamic=False, options={"fallback_random": True})
    try:
        trial(made)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers, and missing ones, raise many types
        reason = str(error).strip().splitlines() or [""]
        logger.warning("%s goes on without torch.compile: %s: %s", who, type(error).__name__, reason[0])
        return model
    return made
