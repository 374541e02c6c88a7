"""``python -m pyadmm.cosim`` is now ``pyadmm cosim``; this name goes away with the next release."""

import sys

from pyadmm.cli.cosim import main

if __name__ == "__main__":
    print("note: python -m pyadmm.cosim is now called: pyadmm cosim", file=sys.stderr)
    sys.exit(main())
