"""Alias of :mod:`pyadmm.eda.parsers`; ``python -m pyadmm.reports`` is now ``pyadmm reports``."""

from __future__ import annotations

import sys

from pyadmm.eda.parsers import *  # noqa: F403
from pyadmm.eda.parsers import __all__  # noqa: F401

if __name__ == "__main__":
    from pyadmm.cli.main import renamed

    sys.exit(renamed("pyadmm.reports", "reports"))
