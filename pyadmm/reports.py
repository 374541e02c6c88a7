"""Alias of :mod:`pyadmm.eda.parsers`; ``python -m pyadmm.reports`` is now ``pyadmm reports``."""

from __future__ import annotations

import sys

from pyadmm.eda.parsers import *  # noqa: F403
from pyadmm.eda.parsers import __all__  # noqa: F401

if __name__ == "__main__":
    from pyadmm.cli.vendor_reports import main

    print("note: python -m pyadmm.reports is now called: pyadmm reports", file=sys.stderr)
    sys.exit(main())
