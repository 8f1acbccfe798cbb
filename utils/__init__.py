"""Leaves that know nothing of the rest: registry, configuration, boxes, metrics, checkpoints, plots, log."""
