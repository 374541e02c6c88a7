"""In the Python with pynq: install the simulated board, then run a module of the host code.

``python -m pyadmm.deploy.simulated_board.child MODULE [ARGUMENT …]``; the environment's ``PYADMM_SIMBOARD``
names the JSON file that says which board.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

from pyadmm.deploy.simulated_board.core import FaultyCore
from pyadmm.deploy.simulated_board.device import SimulatedDevice
from pyadmm.deploy.simulated_board.golden import golden_core
from pyadmm.deploy.simulated_board.verilated import VerilatedCore

CONFIG_VARIABLE = "PYADMM_SIMBOARD"


def install() -> SimulatedDevice:
    """The simulated board that the environment describes, as pynq's active device."""
    config = json.loads(Path(os.environ[CONFIG_VARIABLE]).read_text(encoding="utf-8"))
    bundle, program = Path(config["bundle"]), config["simulator"]
    core = golden_core(bundle) if program is None else VerilatedCore(Path(program), bundle)
    return SimulatedDevice.install(FaultyCore(core), config["family"], config["name"])


def main() -> None:
    """Run the module that the command line names."""
    install()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
