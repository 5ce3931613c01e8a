"""A sweep file whose videos nobody has: it plans, by the numbers that are assumed, and never runs."""

from __future__ import annotations

from pathlib import Path

SWEEP = """
question: {question}
base:
  data: {{name: nowhere_to_be_seen, num_frames: 4, short_side: 64, crop_size: 64}}
  model: {{name: tsn_mini10, resolution: 24}}
  optim: {{epochs: 2, batch_size: 16}}
  teacher: {{model.name: tsn_mini18, model.resolution: 64}}
rows:
  chain: [{rows}]
seeds: [0, 1]
"""
PIXEL = "{row: pixel, kd.level: pixel}"
SAME = "{row: ours, kd.level: pixel}"
"""The training of PIXEL under another name."""


def write_unseen(path: Path, *rows: str) -> Path:
    """A sweep of these rows, its question the file's name."""
    path.write_text(SWEEP.format(question=path.stem, rows=", ".join(rows)))
    return path
