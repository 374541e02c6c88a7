"""Analytic cycles and resources of the kernels: a *modelled* basis, never shown as measured.

Cycles follow from the schedule in ``docs/kernels.md`` and leave out pipeline fill (some ten cycles
an image). Resources are first-order counts of 7-series primitives (6-input LUT, RAM32M/RAM64M,
RAMB18E1, DSP48E1; AMD UG474, UG473, UG479), good for comparing mappings of one layer with each
other; synthesis replaces them wherever it has been run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyadmm.layout import Positions, group_loads
from pyadmm.model import CompressedLayer
from pyadmm.plan import AcceleratorPlan, StagePlan, index_width
from pyadmm.rowstage import RowStagePlan
from pyadmm.spec import Resources

BASIS = "modelled"
_LUTRAM_DEPTH = 64
"""Memories up to this depth count as LUT RAM: 4 LUTs hold 64 words of 3 bits (RAM64M)."""
_BRAM18_BITS = 18 * 1024
_BRAM18_PORT_BITS = 36
_LUT_PRODUCT_BITS = 10
"""Products whose operands have no more bits together are taken to be built of LUTs, not DSPs."""
_DSP_PORT_BITS = 18
_MULT_BITS = 16
_DRAIN_PIPELINE = 3


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


def dense_engine_cycles(stage: StagePlan) -> int:
    """``ceil(O / G) * K * T``."""
    return -(-stage.spec.outputs // stage.groups) * stage.window * stage.tiles


def stage_cycles(layer: CompressedLayer, stage: StagePlan) -> StageCycles:
    """Modelled cycles of ``stage`` for one image."""
    dense = stage.config.family == "dense"
    engine = dense_engine_cycles(stage) if dense else sparse_engine_cycles(layer, stage)
    return drained_cycles(stage, engine)


def drained_cycles(stage: StagePlan, engine: int) -> StageCycles:
    """Cycles of a stage whose engine takes ``engine`` cycles."""
    channels, rows, _ = stage.spec.output_shape
    return StageCycles(engine, channels * rows)


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


def memory_resources(depth: int, bits: int) -> Resources:
    """One memory of ``depth`` words of ``bits`` bits with one write and one read port.

    >>> memory_resources(50, 6).lut, memory_resources(2048, 9).bram18
    (8, 1)
    """
    if bits == 0:
        return Resources()
    if storage_impl(depth) == "lutram":
        return Resources(lut=4 * -(-bits // 3))
    by_width = -(-bits // _BRAM18_PORT_BITS)
    by_bits = -(-depth * bits // _BRAM18_BITS)
    return Resources(bram18=max(by_width, by_bits))


def multiplier_resources(a_bits: int, b_bits: int) -> Resources:
    """One pipelined product of ``a_bits`` x ``b_bits``."""
    if a_bits + b_bits <= _LUT_PRODUCT_BITS:
        return Resources(lut=a_bits * b_bits)
    return Resources(dsp=-(-max(a_bits, b_bits) // (_DSP_PORT_BITS + 6)))


def stage_resources(stage: StagePlan) -> Resources:
    """Modelled resources of ``stage``: lanes, operand selection, memories, drain."""
    parts = (
        _lane(stage).scaled(stage.lanes * stage.groups),
        _selection(stage).scaled(stage.frame_copies),
        memory_resources(stage.frame_depth, stage.row_bits).scaled(
            2 * stage.banks * stage.frame_copies
        ),
        _group_memories(stage).scaled(stage.groups),
        _drain(stage),
    )
    return sum(parts, Resources())


def _lane(stage: StagePlan) -> Resources:
    """One multiply-accumulate: product, adder, accumulator and its copy in the tile FIFO."""
    product = multiplier_resources(stage.weight_bits + 1, stage.input.bits)
    return product + Resources(lut=2 * stage.acc_bits, ff=2 * stage.acc_bits)


def _selection(stage: StagePlan) -> Resources:
    """Multiplexers from row words to lanes: ``KH`` banks, then ``KW`` columns."""
    rows, columns = stage.spec.kernel
    row_words = stage.tile_rows * stage.row_bits * _mux_luts(min(rows, stage.banks))
    operands = stage.lanes * stage.input.bits * _mux_luts(columns)
    address = 2 * index_width(max(stage.frame_depth, 2)) * stage.banks
    return Resources(lut=row_words + operands + address, ff=stage.lanes * stage.input.bits)


def _mux_luts(inputs: int) -> int:
    """6-input LUTs of a one-bit multiplexer: four inputs each."""
    return -(-(inputs - 1) // 3)


def _group_memories(stage: StagePlan) -> Resources:
    """Weight memory, slot table and the walk's counters of one group."""
    slot_bits = index_width(stage.spec.outputs) + stage.acc_bits + _MULT_BITS + 6
    counters = index_width(max(stage.entry_capacity, 2)) + index_width(max(stage.tiles, 2))
    return (
        memory_resources(stage.entry_capacity, stage.weight_word_bits)
        + memory_resources(stage.slot_capacity, slot_bits)
        + Resources(lut=4 * counters, ff=4 * counters + slot_bits)
    )


def _drain(stage: StagePlan) -> Resources:
    """The tile at work, pool comparators and lines, one requantiser per pooled column."""
    _, _, columns = stage.output_shape
    tile_bits = stage.lanes * stage.acc_bits
    select = stage.spec.output_shape[2] * stage.acc_bits * _mux_luts(stage.tile_rows)
    tile = Resources(lut=tile_bits * _mux_luts(stage.groups) + select, ff=tile_bits)
    requantise = multiplier_resources(stage.acc_bits, _MULT_BITS) + Resources(
        lut=6 * stage.acc_bits, ff=_DRAIN_PIPELINE * stage.acc_bits
    )
    pool = Resources()
    if stage.pool is not None:
        lines = -(-stage.pool.kernel // stage.pool.stride)
        compare = stage.spec.output_shape[2] * stage.acc_bits * 2
        pool = Resources(lut=compare, ff=stage.groups * lines * columns * stage.acc_bits)
    return tile + requantise.scaled(columns) + pool


def row_resources(row: RowStagePlan) -> Resources:
    """Modelled resources of a stage without weights: frames, column selection, lanes, one row."""
    channels, height, width = row.shape
    memories = (
        memory_resources(frames * row.frame_depth, width * form.bits)
        for frames, form in zip(row.frames, row.inputs, strict=True)
    )
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
    return sum((stage_resources(stage) for stage in plan.stages), sum(rows, Resources()))
