"""What the rest of the tree builds on. It imports nothing of the tree outside itself.

By subject: `checkpoint` (the file format, import of published files), `metrics`, `config` (command lines and YAML),
`console` (log, progress, signals), `files` (atomic writes, locks, numbered folders), `plots`. Single modules: `boxes`,
`nms`, `ema`, `device`, `memory` (work in parts where memory runs out), `registry` and plug-ins, `errors`, `tracker`
(CSV tables and TensorBoard of a run), `observers` (what `val.evaluate` feeds).
"""
