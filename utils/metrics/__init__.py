"""What is measured of detections: matching, average precision, confusion, COCO JSON, tables, and time.

`evaluate_boxes` and `Metrics` are the public names. Of the other sub-packages it may import `files` alone.
"""

from utils.metrics.average_precision import CONFIDENCES, ClassMetrics, Curves, Metrics, evaluate_boxes

__all__ = ["CONFIDENCES", "ClassMetrics", "Curves", "Metrics", "evaluate_boxes"]
