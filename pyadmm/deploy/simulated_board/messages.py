"""What this process and the child with pynq tell each other, as JSON files.

The child has no cattrs, so it reads and writes these flat data classes with the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BoardConfig:
    """Which board the child simulates.

    :param family: of the processor; ``name`` is the board's.
    :param bundle: folder of the bundle that the host code reads.
    :param simulator: program of the Verilated top; None for the stand-in core.
    :param bytes_per_cycle: rate of the memory behind the layer-sequential array; None for dataflow
        designs.
    """

    family: str
    name: str
    bundle: str
    simulator: str | None
    bytes_per_cycle: float | None


@dataclass(frozen=True)
class LayerCounters:
    """Clock cycles of a layer in one run; in ``waiting`` of them the array waited for memory."""

    name: str
    cycles: int
    waiting: int


@dataclass(frozen=True)
class RunFacts:
    """What the driver reported of a run over all images and of one over the first image.

    :param batch_cycles: cycle counter for all images; ``single_cycles`` for one. None where the
        core has no clock.
    :param layers: counters of the layer-sequential array after a run of ``run_images``; empty for
        dataflow designs.
    :param load_s: wall-clock seconds to open the board; ``run_s`` for all images.
    """

    device: str
    clock_mhz: float
    batch_cycles: int | None
    single_cycles: int | None
    layers: tuple[LayerCounters, ...]
    run_images: int
    load_s: float
    run_s: float
