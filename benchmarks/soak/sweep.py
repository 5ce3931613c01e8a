"""The small sweep that is attacked: a teacher, then two students that learn beside a plain one."""

from __future__ import annotations

from pathlib import Path

SWEEP = """
question: Does a run that is attacked end where it would have ended?
base:
  data: {{name: soak, root: "{root}", num_frames: 2, short_side: 32, crop_size: 32, flip: false}}
  model: {{name: tsn_mini10, resolution: 24, dropout: 0.5}}
  kd: {{level: pixel, weight: 20}}
  optim: {{lr: .05, epochs: {epochs}, batch_size: 16, group_size: 8}}
  eval: {{every: 100}}
  teacher: {{model.name: tsn_mini10, model.resolution: 32, optim.epochs: {teacher_epochs}}}
rows:
  chain:
    - {{row: baseline, kd.level: none}}
    - {{row: pixel}}
seeds: [0]
resources: {{workers: 2, max_cpus: 2}}
tables: {{one: {{rows: row, columns: [test/top1]}}}}
"""


def write_sweep(path: Path, *, root: Path, epochs: int) -> Path:
    """The sweep file over the demo data at ``root``; the teacher trains a quarter of the students' epochs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SWEEP.format(root=root, epochs=epochs, teacher_epochs=max(1, epochs // 4)), encoding="utf-8")
    return path
