"""``python -m pyadmm.container`` is now ``pyadmm inspect``; this name goes away with the next release."""

import sys

from pyadmm.cli.inspect import main

if __name__ == "__main__":
    print("note: python -m pyadmm.container is now called: pyadmm inspect", file=sys.stderr)
    sys.exit(main())
