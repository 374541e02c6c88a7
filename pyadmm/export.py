"""``python -m pyadmm.export`` is now ``pyadmm export``; this name goes away with the next release."""

import sys

from pyadmm.cli.main import renamed

if __name__ == "__main__":
    sys.exit(renamed("pyadmm.export", "export"))
