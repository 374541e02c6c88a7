"""``python -m pyadmm.report`` is now ``pyadmm report``; this name goes away with the next release."""

import sys

from pyadmm.cli.report import main

if __name__ == "__main__":
    print("note: python -m pyadmm.report is now called: pyadmm report", file=sys.stderr)
    sys.exit(main())
