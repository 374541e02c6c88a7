"""``python -m pyadmm.export`` is now ``pyadmm export``; this name goes away with the next release."""

import sys

from pyadmm.cli.export import main

if __name__ == "__main__":
    print("note: python -m pyadmm.export is now called: pyadmm export", file=sys.stderr)
    sys.exit(main())
