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

from pyadmm.deploy.simulated_board.core import FaultyCore, StrangerCore
from pyadmm.deploy.simulated_board.device import SimulatedDevice
from pyadmm.deploy.simulated_board.dma import Core, Memory
from pyadmm.deploy.simulated_board.golden import golden_core
from pyadmm.deploy.simulated_board.messages import BoardConfig
from pyadmm.deploy.simulated_board.verilated import VerilatedArray, VerilatedCore
from pyadmm.eda.sequential_simulation import MemoryModel

CONFIG_VARIABLE = "PYADMM_SIMBOARD"


def install() -> SimulatedDevice:
    """The simulated board that the environment describes, as pynq's active device."""
    text = Path(os.environ[CONFIG_VARIABLE]).read_text(encoding="utf-8")
    config, memory = BoardConfig(**json.loads(text)), Memory()
    bundle = Path(config.bundle)
    core: Core
    if config.simulator is None:
        core = FaultyCore(golden_core(bundle))
    elif config.bytes_per_cycle is None:
        core = FaultyCore(VerilatedCore(Path(config.simulator), bundle))
    else:
        rate = MemoryModel(bytes_per_cycle=config.bytes_per_cycle)
        core = StrangerCore(VerilatedArray(Path(config.simulator), memory, rate))
    return SimulatedDevice.install(core, config.family, config.name, memory)


def main() -> None:
    """Run the module that the command line names."""
    install()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
