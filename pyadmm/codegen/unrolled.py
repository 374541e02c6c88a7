"""Text of unrolled stages: adder graphs and constants as SystemVerilog and HLS C++.

Pure: a layer and its stage plan become template contexts; the templates hold no arithmetic. What is
the same for every layer lies in ``hls/rtl/unrolled_*.sv`` and ``hls/include/pyadmm_unrolled.hpp``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.adder_graph import AdderGraph, Sum, Term, adder_graph, range_bits
from pyadmm.hardware.cost import frame_in_blocks
from pyadmm.hardware.plan import StagePlan
from pyadmm.hardware.unrolled import Blocks
from pyadmm.hardware.weight_image import constants_digest
from pyadmm.model import CompressedLayer, CompressedModel


def unrolled_layer(model: CompressedModel | None, stage: StagePlan) -> CompressedLayer:
    """The layer whose weights ``stage`` makes part of the hardware.

    :raises PyadmmError: without a model, or where its weights are not those of the plan.
    """
    if model is None:
        raise PyadmmError(
            f"{stage.name}: the weights of an unrolled kernel are part of the hardware; "
            "generate it with the model"
        )
    layer = model.layer(stage.name)
    if stage.constants is None or stage.constants.digest != constants_digest(layer):
        raise PyadmmError(
            f"{stage.name}: other weights than the unrolled kernel was planned for; "
            "plan the accelerator anew"
        )
    return layer


_MOST_SHARED = 4096
"""Weights of all pixels of a block up to which one graph computes them; da4ml takes some seconds."""


def shared_block(layer: CompressedLayer, shape: Blocks) -> tuple[int, int]:
    """Rows and columns of output pixels that one adder graph computes: the block, or one pixel."""
    whole = layer.nnz * shape.rows * shape.pixels <= _MOST_SHARED
    return (shape.rows, shape.pixels) if whole else (1, 1)


def rtl_stage_context(
    layer: CompressedLayer,
    stage: StagePlan,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    *,
    front: Mapping[str, int],
    blocks: bool,
) -> dict[str, Any]:
    """The context of the template ``rtl_unrolled_stage.sv.j2``.

    :param source: the link that brings rows or blocks, with its widths; ``target``: the one that
        takes them.
    :param front: how the input frame is written (``hls/rtl/unrolled_front.sv``).
    :param blocks: whether the next stage takes blocks.
    """
    shape = Blocks(stage, row_words=not blocks)
    shared = shared_block(layer, shape)
    graph = adder_graph(layer, stage.input, shared)
    outputs = stage.output_shape[0]
    return {
        "source": source,
        "target": target,
        "window_bits": len(graph.channels) * shape.kernel_rows * shape.columns * stage.input.bits,
        "acc_bits": stage.lanes * outputs * stage.acc_bits,
        "graph_acc_bits": len(graph.outputs) * stage.acc_bits,
        "front": {**_front_parameters(stage, shape, graph.channels), **front},
        "back": _back_parameters(layer, stage, shape, graph.latency, blocks=blocks),
        "copies": [
            [_tap_lsb(stage, shape, tap, row, pixel) for tap in reversed(graph.taps)]
            for row in range(0, shape.rows, shared[0])
            for pixel in range(0, shape.pixels, shared[1])
        ],
        "x_bits": stage.input.bits,
    }


def _front_parameters(stage: StagePlan, shape: Blocks, channels: Sequence[int]) -> dict[str, Any]:
    """Parameters of the part that cuts the input into windows of the active ``channels``."""
    _, height, width = stage.spec.input_shape
    live = ", ".join(f"16'd{channel}" for channel in reversed(channels))
    return {
        "X_BITS": stage.input.bits,
        "IN_HEIGHT": height,
        "IN_WIDTH": width,
        "KERNEL_ROWS": shape.kernel_rows,
        "ROW_STEP": shape.rows * stage.spec.square_stride,
        "STEP": shape.step,
        "PADDING": stage.spec.square_padding,
        "ZERO_BEATS": shape.zero_beats,
        "LAG": shape.lag,
        **_common(shape),
        "ROW_CYCLES": shape.row_cycles,
        "CLAIM_BLOCK": shape.claim_block,
        "LIVE": len(channels),
        "LIVE_CHANNELS": f"{{{live}}}",
        "BLOCK_FRAME": int(frame_in_blocks(stage)),
        "ULTRA_FRAME": int(stage.config.ultra_frame),
    }


def _back_parameters(
    layer: CompressedLayer, stage: StagePlan, shape: Blocks, latency: int, *, blocks: bool
) -> dict[str, Any]:
    """Parameters of the part that pools and requantises the sums.

    :param latency: cycles of the adder graph.
    """
    outputs, pooled_height, pooled_width = stage.output_shape
    kernel, stride = shape.pool
    mults, offsets = zip(*_scales(layer), strict=True)
    return {
        "OUT_CHANNELS": outputs,
        "ROWS": shape.rows,
        "PIXELS": shape.pixels,
        "POOL_KERNEL": kernel,
        "POOL_STRIDE": stride,
        **_common(shape),
        "LATENCY": latency,
        "ACC_BITS": stage.acc_bits,
        "Y_BITS": stage.output.bits,
        "Y_SIGNED": int(stage.output.signed),
        "SHIFT": layer.requant.shift,
        "MULTS": _concatenation(mults, 16),
        "OFFSETS": _concatenation(offsets, 64),
        "BLOCKS": int(blocks),
        "POOLED_HEIGHT": pooled_height,
        "POOLED_WIDTH": pooled_width,
        "POOLED_PIXELS": shape.pooled_pixels,
        "POOLED_GROUPS": shape.pooled_groups,
    }


def _common(shape: Blocks) -> dict[str, int]:
    """Parameters that both parts take."""
    return {"GROUPS": shape.groups, "BLOCK_ROWS": shape.block_rows}


def _tap_lsb(
    stage: StagePlan, shape: Blocks, tap: tuple[int, int, int], row: int, pixel: int
) -> int:
    """Where the activation of a tap lies in the window; its graph begins at a pixel of the block."""
    live, kernel_row, kernel_column = tap
    line = live * shape.kernel_rows + row * stage.spec.square_stride + kernel_row
    column = shape.offset + pixel * stage.spec.square_stride + kernel_column
    return (line * shape.columns + column) * stage.input.bits


def _scales(layer: CompressedLayer) -> Iterator[tuple[int, int]]:
    """Multiplier of every output channel, and its bias and rounding behind the multiplication."""
    mults = layer.requant.mult
    half = 1 << (layer.requant.shift - 1)
    for channel, bias in enumerate(layer.bias.tolist()):
        mult = mults[channel] if len(mults) > 1 else mults[0]
        yield mult, bias * mult + half


def _concatenation(values: Sequence[int], bits: int) -> str:
    """``values`` as a SystemVerilog concatenation of two's-complement words, the first lowest."""
    mask = (1 << bits) - 1
    return "{" + ", ".join(f"{bits}'h{value & mask:x}" for value in reversed(values)) + "}"


def rtl_graph_context(layer: CompressedLayer, stage: StagePlan) -> dict[str, Any]:
    """The context of the template ``rtl_unrolled_graph.sv.j2``."""
    graph = adder_graph(layer, stage.input, shared_block(layer, Blocks(stage)))
    bits = {value: range_bits(*graph.range_of(value)) for value in graph.last_stage}
    taps = len(graph.taps)
    sums = [
        {
            "name": _wire(taps + place, found.stage),
            "bits": found.bits,
            "text": _rtl_sum(found, graph),
        }
        for place, found in enumerate(graph.sums)
        if taps + place in bits
    ]
    inputs = [
        {
            "name": _wire(tap, 0),
            "bits": bits[tap],
            "lsb": tap * stage.input.bits,
            "signed": stage.input.signed,
        }
        for tap in range(taps)
    ]
    registers = [
        {"name": _wire(value, at), "source": _wire(value, at - 1), "bits": bits[value]}
        for value, last in sorted(graph.last_stage.items())
        for at in range(graph.stage_of(value) + 1, last + 1)
    ]
    return {
        "x_bits": stage.input.bits,
        "taps_bits": max(taps, 1) * stage.input.bits,
        "tap_bits": stage.input.bits,
        "acc_bits": stage.acc_bits,
        "acc_bus_bits": len(graph.outputs) * stage.acc_bits,
        "outputs": [_rtl_output(term, graph, stage.acc_bits) for term in graph.outputs],
        "inputs": inputs,
        "sums": sums,
        "registers": registers,
        "empty": not registers,
    }


def _wire(value: int, stage: int) -> str:
    """Name of a value in a pipeline stage."""
    return f"v{value}_{stage}"


def _rtl_sum(found: Sum, graph: AdderGraph) -> str:
    left = _rtl_operand(found.left, found.left_shift, found)
    right = _rtl_operand(found.right, found.right_shift, found)
    return f"{left} {'-' if found.subtract else '+'} {right}"


def _rtl_operand(value: int, shift: int, found: Sum) -> str:
    wide = f"{found.bits}'({_wire(value, found.stage)})"
    return f"({wide} <<< {shift})" if shift else wide


def _rtl_output(term: Term, graph: AdderGraph, acc_bits: int) -> str:
    """Expression of an accumulator, from registered values."""
    if term.value < 0:
        return f"{acc_bits}'d0"
    wire = _wire(term.value, graph.latency)
    bits = range_bits(*graph.range_of(term.value))
    if term.shift < 0:
        wide = f"{acc_bits}'({wire} >>> {-term.shift})"
    else:
        wide = f"{acc_bits}'({wire})" if bits != acc_bits else wire
        wide = f"({wide} <<< {term.shift})" if term.shift else wide
    return f"-{wide}" if term.negative else wide


def hls_context(layer: CompressedLayer, stage: StagePlan, name: str) -> dict[str, Any]:
    """What the HLS templates name of one unrolled stage."""
    graph = adder_graph(layer, stage.input)
    taps = len(graph.taps)
    shape = Blocks(stage)
    mult = layer.requant.mult
    return {
        "name": f"graph_{name}",
        "config": f"cfg_{name}",
        "pixels": stage.config.pixels,
        "live": len(graph.channels),
        "columns": shape.columns,
        "offset": shape.offset,
        "rows": shape.kernel_rows,
        "channels": graph.channels,
        "taps": [
            {"name": f"v{i}", "live": k, "row": h, "column": w}
            for i, (k, h, w) in enumerate(graph.taps)
        ],
        "sums": [
            {
                "name": f"v{taps + place}",
                "bits": found.bits,
                "text": _cpp_sum(found),
            }
            for place, found in enumerate(graph.sums)
            if taps + place in graph.last_stage
        ],
        "outputs": [_cpp_output(term) for term in graph.outputs],
        "biases": layer.bias.tolist(),
        "mults": mult if len(mult) > 1 else mult * stage.spec.outputs,
        "shift": layer.requant.shift,
    }


def _cpp_sum(found: Sum) -> str:
    left = _cpp_operand(found.left, found.left_shift, found.bits)
    right = _cpp_operand(found.right, found.right_shift, found.bits)
    return f"{left} {'-' if found.subtract else '+'} {right}"


def _cpp_operand(value: int, shift: int, bits: int) -> str:
    wide = f"pyadmm::Int<{bits}>(v{value})"
    return f"{wide} * {1 << shift}" if shift else wide


def _cpp_output(term: Term) -> str:
    if term.value < 0:
        return "0"
    text = f"Acc(v{term.value})" if term.shift >= 0 else f"(v{term.value} >> {-term.shift})"
    text = f"{text} * {1 << term.shift}" if term.shift > 0 else text
    return f"-({text})" if term.negative else text
