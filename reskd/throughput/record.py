"""One measurement in a file of `python -m reskd.throughput`, for its writer and its readers. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = "reskd.throughput/1"
"""Name of the file format. Give it another number if an older reader would read the file wrongly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One path at one resolution and batch size."""

    path: str
    resolution: int
    batch_size: int
    is_best_batch: bool
    """Whether the search found this batch size; otherwise it was asked for."""
    engine: str
    """The engine that ran: eager, graph or compile."""
    refusal: str | None
    """Why another engine than the path's own ran."""
    dtype: str
    clips_per_s: float
    """Clips per second at the median time."""
    clips_per_s_low: float
    """Clips per second at the third quartile of the times, or at the longest of fewer than four times."""
    clips_per_s_high: float
    """Clips per second at the first quartile of the times, or at the shortest of fewer than four times."""
    repeats: int
    prepare_s: float
    """Seconds of compiling or recording, including the first forward."""
    logits_error: float
    """||logits - fp32 logits|| / ||fp32 logits|| for the same clips: the path's error."""
    peak_bytes: int | None
    """Peak GPU memory in bytes."""
    roofline_clips_per_s: float | None
    roofline_share: float | None
