"""``pyadmm breakeven-cosim BREAKEVEN.json``: the kernels of a break-even, simulated.

A break-even divides the cycles of two schedules. Here the dense kernel and the sparse kernel of a
record run as RTL, on the same pruned weights and images: their outputs must be the integer model's
and the cycles in which their engines work those of the schedule. A layer of the reference networks
takes too many cycles to be simulated whole, so fewer output channels are: every channel takes the
same schedule, and kernel, input and window stay as they are. All weights are on chip here; loading
them from DDR while the layer runs is not in the RTL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pyadmm.breakeven import BreakEven, LayerCase
from pyadmm.breakeven.kernels import busy_cycles, one_group
from pyadmm.codegen.rtl import generate_rtl
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir
from pyadmm.eda.rtl_simulation import cosim
from pyadmm.eda.verilator import build_simulator
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.cost import dense_engine_cycles
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import KernelConfig, selects_products
from pyadmm.hardware.weight_image import Positions, weight_image
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import QFormat

FILL_CYCLES = 16
"""An engine's pipeline: cycles from its start to its first tile beyond those of the schedule."""


@dataclass(frozen=True)
class SimulatedKernel:
    """Counted cycles of one kernel, and those of its schedule.

    :param busy_cycles: per image, in which the engines work; pipeline fill counted.
    :param interval_cycles: between two images; more where the input stream, a byte per cycle for
        odd widths, takes longer than the few output channels.
    """

    config: KernelConfig
    scheduled_cycles: int
    busy_cycles: float
    interval_cycles: float

    @property
    def as_scheduled(self) -> bool:
        """Whether the engines work as long as the schedule says."""
        return 0 <= self.busy_cycles - self.scheduled_cycles <= FILL_CYCLES


@dataclass(frozen=True)
class SimulatedPair:
    """A dense and a sparse kernel with equal, right outputs.

    :param outputs: output channels simulated, of ``whole`` in the layer (or convolution group).
    """

    layer: str
    board: str
    pruned: float
    outputs: int
    whole: int
    images: int
    dense: SimulatedKernel
    sparse: SimulatedKernel

    def text(self) -> str:
        """Lines for a terminal."""
        lines = [
            f"{self.layer} on {self.board}, {self.pruned:.0%} pruned, {self.outputs} of "
            f"{self.whole} output channels: {self.images} images, all outputs equal the model's"
        ]
        for kernel in (self.dense, self.sparse):
            config = kernel.config
            lines.append(
                f"  {config.family} {config.groups} x {config.tile_rows}: schedule "
                f"{kernel.scheduled_cycles:,} cycles, counted {kernel.busy_cycles:,.1f}, between "
                f"images {kernel.interval_cycles:,.1f}"
            )
        scheduled = self.dense.scheduled_cycles / self.sparse.scheduled_cycles
        counted = self.dense.busy_cycles / self.sparse.busy_cycles
        lines.append(f"  dense over sparse: schedule {scheduled:.3f}, counted {counted:.3f}")
        return "\n".join(lines)


def simulate_pair(
    case: LayerCase,
    record: BreakEven,
    pruned: float,
    outputs: int,
    images: int = 3,
) -> SimulatedPair:
    """Simulate the kernels that ``record`` compares at one pruned portion.

    :param pruned: a portion on the record's curve.
    :param outputs: output channels to simulate, at most those of a convolution group.
    :param images: at least 2, back to back, of random bytes.
    :raises PyadmmError: where the record has no sparse kernel there, or outputs differ.
    """
    board = load_board(record.board)
    block = one_group(case.spec)
    if not 0 < outputs <= block.outputs:
        raise PyadmmError(
            f"cosim of {record.layer}: outputs must be 1 to {block.outputs}, not {outputs}"
        )
    if images < 2:
        raise PyadmmError(f"cosim of {record.layer}: images must be at least 2, not {images}")
    point = next((p for p in record.curve if abs(p.pruned - pruned) < 1e-9), None)
    if point is None or point.sparse is None:
        raise PyadmmError(
            f"cosim of {record.layer}: the record has no sparse kernel at {pruned:.0%} pruned"
        )
    spec = replace(block, weight_shape=(outputs, *block.weight_shape[1:]))
    small = replace(case, spec=spec)
    layer = replace(small.pruned_layer(pruned), output=QFormat(small.acc_bits, signed=True))
    source = InputSpec(spec.input_shape, QFormat(case.activation_bits, signed=False))
    model = CompressedModel(spec.name, source, (layer,))
    kernels = [
        _simulated(model, board, config, images)
        for config in (record.dense.config, point.sparse.config)
    ]
    return SimulatedPair(
        record.layer, record.board, pruned, outputs, block.outputs, images, *kernels
    )


def _simulated(
    model: CompressedModel, board: Board, config: KernelConfig, count: int
) -> SimulatedKernel:
    (layer,) = model.layers
    plan = plan_accelerator(model, board, {layer.name: config})
    (stage,) = plan.stages
    muxed = selects_products(stage)
    build = generate_rtl(plan, model=model)
    simulator = build_simulator(build, plan, cache_dir() / "verilator")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *model.input.shape)).astype(np.uint8)
    result = cosim(simulator, weight_image(model, plan), images)
    if not np.array_equal(result.logits, model.run(images)):
        raise PyadmmError(
            f"cosim of {layer.name}: the {config.family} kernel's outputs are not the model's"
        )
    if config.family == "sparse":
        counts = Positions.of(layer).entries_per_output(config.index_bits)
        scheduled = stage.tiles * max(busy_cycles(counts, config.groups, muxed))
    else:
        scheduled = dense_engine_cycles(stage)
    assert result.interval_cycles is not None
    return SimulatedKernel(
        config, scheduled, result.busy_cycles[layer.name], result.interval_cycles
    )
