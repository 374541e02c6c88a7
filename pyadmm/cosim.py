"""``python -m pyadmm.cosim`` is now ``pyadmm cosim``; this name goes away with the next release."""

import sys

from pyadmm.cli.main import renamed

if __name__ == "__main__":
    sys.exit(renamed("pyadmm.cosim", "cosim"))
