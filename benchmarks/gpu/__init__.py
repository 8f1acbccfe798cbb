"""The proof on a GPU: one command runs all that only a GPU can show, see `docs/speed.md`.

`command` runs the parts of `parts` one after the other, each in a process of its own (`child`) and within its time;
figures go to a file as they are found (`findings`), are judged (`bars`) and shown (`report`).
"""
