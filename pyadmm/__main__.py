"""``python -m pyadmm``: the same as the command ``pyadmm``."""

import sys

from pyadmm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
