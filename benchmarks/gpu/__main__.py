"""Everything a GPU has to show, in one command: `python -m benchmarks.gpu --out FOLDER`, see `docs/speed.md`."""

from __future__ import annotations

import sys

from benchmarks.gpu import packages

if __name__ == "__main__":
    packages.report_missing()  # before the imports that would fail for want of one
    from benchmarks.gpu.command import main

    sys.exit(main())
