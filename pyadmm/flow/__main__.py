"""``python -m pyadmm.flow``: the same as ``pyadmm run``."""

import sys

from pyadmm.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
