"""``python -m pyadmm.breakeven`` is now ``pyadmm breakeven``; this name goes away with the next release."""

import sys

from pyadmm.cli.breakeven import main

if __name__ == "__main__":
    print("note: python -m pyadmm.breakeven is now called: pyadmm breakeven", file=sys.stderr)
    sys.exit(main())
