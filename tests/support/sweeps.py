"""Sweep files over the demo data set, whose folder stands in them as ROOT."""

TWO_ROWS = """
question: Does it help?
base:
  data: {name: demo, root: ROOT, num_frames: 4, short_side: 64, crop_size: 64, flip: false}
  model: {name: tsn_mini10, resolution: 24}
  optim: {epochs: 2, batch_size: 16}
  teacher: {model.name: tsn_mini18, model.resolution: 64}
rows:
  chain:
    - {row: baseline, kd.level: none}
    - {row: pixel, kd.level: pixel}
seeds: [0]
tables:
  levels: {rows: row, columns: [test/top1]}
"""
THREE_ROWS = """
question: Does a student of a teacher at 64 pixels beat the plain one at 24?
base:
  data: {name: demo, root: ROOT, num_frames: 4, short_side: 64, crop_size: 64, flip: false}
  model: {name: tsn_mini10, resolution: 24, dropout: 0.5}
  kd: {level: pixel, weight: 20}
  optim: {schedule: onecycle, nesterov: true, lr: .05, epochs: 100, batch_size: 16, group_size: 8}
  eval: {every: 100}
  teacher: {model.name: tsn_mini18, model.resolution: 64, optim.epochs: 6}
rows:
  chain:
    - {row: baseline, kd.level: none, optim.epochs: 2}
    - {row: frame, kd.level: frame, kd.weight: 1}
    - {row: pixel}
seeds: [0]
resources: {workers: 2, max_cpus: 2}
tables:
  levels:
    rows: row
    columns: [test/top1, GMACs]
    delta_to: baseline
    published: table5
    published_rows: {pixel: pixel-level MSE}
"""
