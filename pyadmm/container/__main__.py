"""``python -m pyadmm.container`` is now ``pyadmm inspect``; this name goes with the next release.

``inspect FILE`` stays ``pyadmm inspect FILE``; ``verify FILE`` is ``pyadmm inspect --check FILE``.
"""

import sys

from pyadmm.cli.main import renamed

if __name__ == "__main__":
    if sys.argv[1:2] == ["inspect"]:
        del sys.argv[1]
    elif sys.argv[1:2] == ["verify"]:
        sys.argv[1] = "--check"
    sys.exit(renamed("pyadmm.container", "inspect"))
