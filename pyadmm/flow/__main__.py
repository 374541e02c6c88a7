"""``python -m pyadmm.flow``."""

import sys

from pyadmm.flow.cli import main

sys.exit(main())
