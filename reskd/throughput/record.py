"""One figure of a file of `python -m reskd.throughput`, for those who write it and those who read it; no torch."""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = "reskd.throughput/1"
"""The file format's name; it gets another number when a reader of this one would go wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One path at one resolution and batch size."""

    path: str
    resolution: int
    batch_size: int
    is_best_batch: bool
    """Whether the search chose this batch size; else it was asked for."""
    engine: str
    """What ran: eager, graph or compile."""
    refusal: str | None
    """Why it is not the path's own engine."""
    dtype: str
    clips_per_s: float
    """Clips per second at the median time."""
    clips_per_s_low: float
    """Clips per second at the third quartile of the times, or at the longest of fewer than four."""
    clips_per_s_high: float
    """Clips per second at the first quartile of the times, or at the shortest."""
    repeats: int
    prepare_s: float
    """Compiling or recording, with the first forward."""
    logits_error: float
    """||logits - those of fp32|| / ||those of fp32|| of the same clips: what the path changes in the answer."""
    peak_bytes: int | None
    """Bytes of the GPU's memory."""
    roofline_clips_per_s: float | None
    roofline_share: float | None
