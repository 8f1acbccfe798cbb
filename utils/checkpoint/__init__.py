"""Checkpoints: the file format, its archive, the import of published files, and where to get them.

`save`, `load`, `facts` and `load_weights` are what the rest of the tree calls. Of the other sub-packages it may import
`files` alone.
"""

from utils.checkpoint.format import FORMAT, VERSION, facts, load, load_weights, save

__all__ = ["FORMAT", "VERSION", "facts", "load", "load_weights", "save"]
