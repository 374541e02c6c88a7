"""A simulated board: the real pynq and the unmodified host code, with a model as the hardware.

:func:`run` classifies images with the wheel of a deploy folder. The host code runs in a child
process, in a Python with pynq (:mod:`pyadmm.deploy.simulated_board.environment`); there, :mod:`.device` is the
pynq device, :mod:`.dma` its AXI DMA, and the core is the Verilated top (:mod:`.verilated`) or, for
quick tests of the driver, a stand-in that runs the golden model (:mod:`.core`).
"""

from pyadmm.deploy.simulated_board.run import LIMIT_S, SimulatedMeasurement, run

__all__ = ["LIMIT_S", "SimulatedMeasurement", "run"]
