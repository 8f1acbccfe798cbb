"""The pictures a run leaves. Importing this package does not import matplotlib; drawing does.

Of the other sub-packages it may import `files` alone.
"""

from utils.plots.confusion import confusion
from utils.plots.curves import curves
from utils.plots.labels import labels
from utils.plots.pictures import pictures
from utils.plots.results import results

__all__ = ["confusion", "curves", "labels", "pictures", "results"]
