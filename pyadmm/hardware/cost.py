"""Analytic cycles and resources of the kernels: a *modelled* basis, never shown as measured.

Cycles follow from the schedule in ``docs/kernels.md`` and leave out pipeline fill (some ten cycles
an image). Resources are first-order counts of 7-series primitives (6-input LUT, RAM32M/RAM64M,
RAMB18E1, DSP48E1; AMD UG474, UG473, UG479), accurate enough to compare mappings of one layer;
results of synthesis replace them where there are some.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pyadmm.hardware.elementwise_stage import ElementwisePlan
from pyadmm.hardware.group_balance import group_loads
from pyadmm.hardware.plan import AcceleratorPlan, Constants, StagePlan, index_width
from pyadmm.hardware.unrolled import Blocks
from pyadmm.hardware.weight_image import Positions, needed_capacities
from pyadmm.model import CompressedLayer
from pyadmm.model.types import Resources

BASIS = "modelled"
_LUTRAM_DEPTH = 64
"""Memories up to this depth count as LUT RAM: 4 LUTs hold 64 words of 3 bits or 32 of 6."""
_BRAM18_SHAPES = (1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512)
"""Widths of a RAMB18E1 and the words that it holds then (UG473, table 1-8)."""
_URAM_DEPTH = 4096
_URAM_PORT_BITS = 72
_LUT_PRODUCT_BITS = 10
"""Products whose operands have no more bits together are taken to be built of LUTs, not DSPs."""
_DSP_PORT_BITS = 18
_MULT_BITS = 16
_DRAIN_PIPELINE = 3
_DRAIN_SHARE = 0.75
# LUTs of synthesised parts (Yosys, xc7): of a product, per bit and radix-4 digit; of a comparison
# of the pool, per bit; of a requantiser's barrel shifter, per accumulator bit; of control.
_LUTS_PER_DIGIT_BIT = 1.05
_LUTS_PER_COMPARED_BIT = 1.55
_BARREL_LUTS = 6
_ENGINE_LUTS, _GROUP_LUTS, _LUTS_PER_BANK = 130, 60, 14
_DRAIN_LUTS, _LUTS_PER_PICK = 120, 8
TOP_RESOURCES = Resources(lut=900, ff=1000)
"""Streams, registers, weight port and the frame of the logits."""
_PART_COLUMNS, _PART_CONTROLS = 8, 6
_UNROLLED_LUTS = 150
"""Control of an unrolled stage."""
_CLAMP_LUTS = 10
"""Of a requantiser whose product is in a DSP block: the clamp."""


@dataclass(frozen=True)
class StageCycles:
    """Cycles of a stage for one image, by the part that spends them; they work in parallel."""

    engine: int
    drain: int

    @property
    def initiation_interval(self) -> int:
        """Cycles between two images."""
        return max(self.engine, self.drain)


def sparse_engine_cycles(layer: CompressedLayer, stage: StagePlan) -> int:
    """``T * max over groups of entries``."""
    loads = Positions.of(layer).entries_per_output(stage.config.index_bits)
    return stage.tiles * int(group_loads(loads, stage.groups).max())


def balanced_engine_cycles(layer: CompressedLayer, stage: StagePlan) -> int:
    """``T * steps`` of all slots."""
    return stage.tiles * needed_capacities(layer, stage)[0]


def dense_engine_cycles(stage: StagePlan) -> int:
    """``ceil(O / G) * K * T``."""
    return -(-stage.spec.outputs // stage.groups) * stage.window * stage.tiles


def stage_cycles(layer: CompressedLayer, stage: StagePlan) -> StageCycles:
    """Modelled cycles of ``stage`` for one image."""
    if stage.constants is not None:
        return StageCycles(Blocks(stage).cycles, 0)
    return drained_cycles(stage, _engine_cycles(layer, stage))


def _engine_cycles(layer: CompressedLayer, stage: StagePlan) -> int:
    if stage.config.family == "dense":
        return dense_engine_cycles(stage)
    if stage.config.family == "balanced":
        return balanced_engine_cycles(layer, stage)
    return sparse_engine_cycles(layer, stage)


def drained_cycles(stage: StagePlan, engine: int) -> StageCycles:
    """Cycles of a stage whose engine takes ``engine`` cycles."""
    stride = 1 if stage.pool is None else stage.pool.stride
    steps = -(-stage.tile_rows // stride)
    return StageCycles(engine, stage.spec.outputs * stage.tiles * steps)


def most_beats(stage: StagePlan, write_cycles: Callable[[int], int] = lambda beats: 1) -> int:
    """The most parts per tile at which the drain keeps well ahead of the stage's engine.

    :param write_cycles: cycles that the next frame takes per write, by the parts of a tile.
    """
    engine_cycles = _DRAIN_SHARE * stage.entry_capacity
    parts = (beats for beats in range(2, stage.tile_rows + 1) if stage.tile_rows % beats == 0)
    fitting = (n for n in parts if stage.spec.outputs * n * write_cycles(n) <= engine_cycles)
    return max(fitting, default=1)


def input_cycles(plan: AcceleratorPlan) -> int:
    """Cycles that unpacking one image takes."""
    return plan.input_steps


def initiation_interval(plan: AcceleratorPlan, cycles: dict[str, StageCycles]) -> int:
    """Modelled cycles between two images of the whole accelerator: its slowest part."""
    stages = (cycles[stage.name].initiation_interval for stage in plan.stages)
    rows = (row.steps for row in plan.rows)
    return max(input_cycles(plan), plan.logits, *stages, *rows)


def storage_impl(depth: int) -> Literal["lutram", "bram"]:
    """Primitive that a memory of ``depth`` words is built of."""
    return "lutram" if depth <= _LUTRAM_DEPTH else "bram"


def memory_resources(depth: int, bits: int, block: bool = False) -> Resources:
    """One memory of ``depth`` words of ``bits`` bits with one write and one read port.

    :param block: in block RAM, however small it is.

    >>> memory_resources(50, 6).lut, memory_resources(2048, 9).bram18
    (8, 1)
    """
    if bits == 0:
        return Resources()
    if storage_impl(depth) == "lutram" and not block:
        return Resources(lut=4 * -(-bits // (6 if depth <= _LUTRAM_DEPTH // 2 else 3)))
    return Resources(
        bram18=min(-(-bits // width) * -(-depth // words) for width, words in _BRAM18_SHAPES)
    )


def ultra_resources(depth: int, bits: int) -> Resources:
    """One memory of ``depth`` words of ``bits`` bits in UltraRAM, 4,096 x 72 bits each (UG573).

    >>> ultra_resources(2048, 128).uram
    2
    """
    return Resources(uram=-(-depth // _URAM_DEPTH) * -(-bits // _URAM_PORT_BITS))


def multiplier_resources(a_bits: int, b_bits: int) -> Resources:
    """One pipelined product of ``a_bits`` x ``b_bits``."""
    if a_bits + b_bits <= _LUT_PRODUCT_BITS:
        return Resources(lut=a_bits * b_bits)
    return Resources(dsp=-(-max(a_bits, b_bits) // (_DSP_PORT_BITS + 6)))


def stage_resources(stage: StagePlan) -> Resources:
    """Modelled resources of ``stage``: frame, engines, weight memories, drain."""
    if stage.constants is not None:
        return unrolled_resources(stage, stage.constants)
    return kernel_resources(stage) + _drain(stage)


def kernel_resources(stage: StagePlan) -> Resources:
    """Modelled resources of frame, engines and weight memories, without the drain."""
    return _frame(stage) + _engines(stage)


def frame_words(stage: StagePlan) -> int:
    """Row words of one image in one bank of the RTL's input frame, which stores no padding."""
    return stage.frame_banks[1] // 2


def frame_in_blocks(stage: StagePlan) -> bool:
    """Whether the input frame's banks, which hold two images, are block RAM."""
    if stage.config.ultra_frame:
        return False
    return stage.config.block_frame or storage_impl(2 * frame_words(stage)) == "bram"


def _frame(stage: StagePlan) -> Resources:
    """The input frame: both images of every bank of every copy."""
    banks, words, bits = stage.frame_banks
    if stage.config.ultra_frame:
        bank = ultra_resources(words, bits)
    else:
        bank = memory_resources(words, bits, block=stage.config.block_frame)
    return bank.scaled(banks * stage.frame_copies) + Resources(lut=60, ff=2 * stage.row_bits)


def _engines(stage: StagePlan) -> Resources:
    """Operand selection of every copy; lanes, weight memory and decoder of every group."""
    kernel_rows, kernel_columns = stage.spec.kernel
    selection = stage.tile_rows * stage.row_bits * _mux_luts(min(kernel_rows, stage.banks))
    balanced = stage.config.family == "balanced"
    columns = stage.sub_windows if balanced else kernel_columns
    selection += stage.lanes * stage.input.bits * _mux_luts(columns)
    address = _LUTS_PER_BANK * stage.banks if stage.banks > 1 else 0
    # What the frame's banks give, and the activations selected from it.
    window = (stage.lanes * stage.input.bits) + stage.banks * stage.row_bits
    fetch = Resources(lut=selection + address + _ENGINE_LUTS, ff=window + 2 * address)
    group = memory_resources(stage.entry_capacity, stage.weight_word_bits) + Resources(
        lut=_GROUP_LUTS, ff=_GROUP_LUTS
    )
    dsp_groups = stage.config.dsp_groups
    tiles = Resources(ff=stage.lanes * stage.acc_bits + _shared_copies(stage))
    tiles = tiles.scaled(stage.groups)
    fabric = fabric_lane(stage).scaled(stage.lanes * (stage.groups - dsp_groups))
    if balanced:
        choice = stage.lanes * stage.input.bits * _mux_luts(stage.config.window)
        bits = stage.balanced_format.bits - stage.balanced_format.entry_bits
        program = memory_resources(stage.entry_capacity, bits).scaled(stage.config.walkers)
        tiles += Resources(lut=choice).scaled(stage.groups) + program
    blocks = Resources(dsp=stage.group_dsps * dsp_groups)
    return fetch.scaled(stage.frame_copies) + group.scaled(stage.groups) + tiles + fabric + blocks


def _shared_copies(stage: StagePlan) -> int:
    """Flip-flops of a group that hold copies of signals that its lanes share."""
    digits = (stage.weight_bits + 1) // 2
    controls = _PART_CONTROLS + 3 * digits + index_width(stage.spec.kernel[1])
    parts = stage.tile_rows * -(-stage.spec.output_shape[2] // _PART_COLUMNS)
    window = 0 if stage.config.family == "sparse" else stage.lanes * stage.input.bits
    return parts * controls + window


def fabric_lane(stage: StagePlan) -> Resources:
    """One multiply-accumulate in LUTs: radix-4 digits of the weight, adders, accumulator."""
    digits = (stage.weight_bits + 1) // 2
    product = stage.weight_bits + stage.input.bits
    return Resources(
        lut=stage.acc_bits + _LUTS_PER_DIGIT_BIT * digits * product, ff=stage.acc_bits + product
    )


def unrolled_resources(stage: StagePlan, constants: Constants) -> Resources:
    """Modelled resources of an unrolled stage whose frame takes row words."""
    blocks = Blocks(stage)
    lines = constants.channels * blocks.kernel_rows
    steps = -(-stage.spec.input_shape[2] // blocks.step)
    choice = lines * blocks.step * stage.input.bits * _mux_luts(steps)
    front = Resources(
        lut=choice + _UNROLLED_LUTS, ff=lines * blocks.columns * stage.input.bits + _UNROLLED_LUTS
    )
    graph = Resources(lut=constants.luts, ff=constants.flip_flops).scaled(stage.lanes)
    return _frame(stage) + front + graph + _unrolled_back(stage, blocks)


def _unrolled_back(stage: StagePlan, blocks: Blocks) -> Resources:
    """Pool inside a block, a requantiser per channel and pooled pixel, pool over blocks, rows."""
    outputs, _, width = stage.output_shape
    lanes = outputs * blocks.pooled_pixels
    inside = outputs * stage.lanes - lanes
    acc, bits = stage.acc_bits, stage.output.bits
    scale = Resources(lut=_CLAMP_LUTS, ff=2 * acc + bits, dsp=1).scaled(lanes)
    later = (blocks.later_rows[0] - 1) + (blocks.later_columns[0] - 1)
    pool = Resources(lut=_LUTS_PER_COMPARED_BIT * (acc * inside + bits * lanes * later))
    row = outputs * width * bits
    return scale + pool + Resources(lut=width * bits * _mux_luts(outputs), ff=2 * row)


def _drain(stage: StagePlan) -> Resources:
    """Choice of a group's tile, pool comparators, one requantiser per pooled column and row."""
    _, _, columns = stage.spec.output_shape
    _, _, pooled_columns = stage.output_shape
    acc, beats = stage.acc_bits, most_beats(stage)
    rows = stage.tile_rows // beats
    kernel, stride = (1, 1) if stage.pool is None else (stage.pool.kernel, stage.pool.stride)
    pooled = pooled_columns * -(-rows // stride)
    comparisons = (kernel - 1) * (rows * pooled_columns + pooled)
    pick = rows * columns * acc * (beats * _mux_luts(stage.groups) + _mux_luts(beats))
    lane = multiplier_resources(acc, _MULT_BITS) + Resources(lut=2 * acc + 4, ff=2 * acc)
    if stage.shift_range is None:
        lane += Resources(lut=_BARREL_LUTS * acc)
    control = Resources(
        lut=_DRAIN_LUTS + _LUTS_PER_PICK * stage.groups, ff=2 * rows * columns * acc
    )
    pool = Resources(lut=_LUTS_PER_COMPARED_BIT * acc * comparisons, ff=2 * pooled * acc)
    pairs = rows * (columns // 2) if stage.paired and stage.config.dsp_groups else 0
    return Resources(lut=pick + pairs * acc) + lane.scaled(pooled) + pool + control


def _mux_luts(inputs: int) -> int:
    """6-input LUTs of a one-bit multiplexer: four inputs each."""
    return -(-(inputs - 1) // 3)


def row_resources(row: ElementwisePlan) -> Resources:
    """Modelled resources of a stage without weights: frames, column selection, lanes, one row."""
    channels, height, width = row.shape
    memory = ultra_resources if row.storage == "uram" else memory_resources
    memories = (memory(depth, bits) for depth, bits in row.rings)
    select = sum(form.bits for form in row.inputs) * _mux_luts(width)
    multipliers = [form.bits for form in row.inputs] if row.kind == "add" else [row.sum_bits]
    scale = Resources()
    if row.scales:
        products = (multiplier_resources(bits, _MULT_BITS) for bits in multipliers)
        shifter = Resources(lut=6 * row.sum_bits, ff=_DRAIN_PIPELINE * row.sum_bits)
        scale = sum(products, shifter)
    window = Resources(lut=select + row.sum_bits, ff=select + row.sum_bits)
    place = index_width(max(row.frames) * row.frame_depth + 1) + index_width(channels * height + 1)
    row_register = Resources(lut=4 * place, ff=row.output_shape[2] * row.output.bits + 4 * place)
    return sum(memories, (window + scale).scaled(row.lanes) + row_register)


def plan_resources(plan: AcceleratorPlan) -> Resources:
    """Modelled resources of the whole accelerator."""
    rows = (row_resources(row) for row in plan.rows)
    return sum((stage_resources(stage) for stage in plan.stages), sum(rows, TOP_RESOURCES))
