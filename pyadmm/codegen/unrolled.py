"""Text of unrolled stages: adder graphs and constants as SystemVerilog and HLS C++.

Pure: a layer and its stage plan become template contexts; the templates hold no arithmetic. What is
the same for every layer lies in ``hls/rtl/unrolled_*.sv`` and ``hls/include/pyadmm_unrolled.hpp``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.adder_graph import AdderGraph, Sum, Term, adder_graph, range_bits
from pyadmm.hardware.cost import frame_in_blocks, unrolled_pace
from pyadmm.hardware.plan import StagePlan, index_width
from pyadmm.hardware.weight_image import constants_digest
from pyadmm.model import CompressedLayer, CompressedModel

MULT_BITS = 16
SHIFT_BITS = 6


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


def rtl_stage_context(
    layer: CompressedLayer,
    stage: StagePlan,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    *,
    front: Mapping[str, int],
    interval: int,
) -> dict[str, Any]:
    """The context of the template ``rtl_unrolled_stage.sv.j2``.

    :param source: the link that brings rows, with its widths; ``target``: the one that takes them.
    :param front: how rows arrive: ``IN_ROWS``, ``IN_ROW_OFFSET``, ``IN_PHASE_FIXED``.
    :param interval: cycles that the next frame takes per write.
    """
    graph = adder_graph(layer, stage.input)
    channels, height, width = stage.spec.input_shape
    outputs, out_height, out_width = stage.spec.output_shape
    kernel, stride = (1, 1) if stage.pool is None else (stage.pool.kernel, stage.pool.stride)
    columns = window_columns(stage)
    shape = {"OUT_HEIGHT": out_height, "OUT_WIDTH": out_width, "PIXELS": stage.config.pixels}
    live = ", ".join(f"16'd{channel}" for channel in reversed(graph.channels))
    return {
        "source": source,
        "target": target,
        "window_bits": len(graph.channels) * stage.spec.kernel[0] * columns * stage.input.bits,
        "acc_bits": stage.config.pixels * outputs * stage.acc_bits,
        "graph_acc_bits": outputs * stage.acc_bits,
        "front": {
            "X_BITS": stage.input.bits,
            "IN_CHANNELS": channels,
            "IN_HEIGHT": height,
            "IN_WIDTH": width,
            "KERNEL_H": stage.spec.kernel[0],
            "KERNEL_W": stage.spec.kernel[1],
            "STRIDE": stage.spec.square_stride,
            "PADDING": stage.spec.square_padding,
            **shape,
            "LIVE": len(graph.channels),
            "LIVE_CHANNELS": f"{{{live}}}",
            "BLOCK_FRAME": int(frame_in_blocks(stage)),
            "ULTRA_FRAME": int(stage.config.ultra_frame),
            "PACE": unrolled_pace(stage, interval),
            **front,
        },
        "back": {
            "OUT_CHANNELS": outputs,
            **shape,
            "TILE_ROWS": stage.tile_rows,
            "LATENCY": graph.latency,
            "ACC_BITS": stage.acc_bits,
            "Y_BITS": stage.output.bits,
            "Y_SIGNED": int(stage.output.signed),
            "POOL_KERNEL": kernel,
            "POOL_STRIDE": stride,
            "SHIFT_MIN": layer.requant.shift,
            "SHIFT_MAX": layer.requant.shift,
            "OUT_INTERVAL": interval,
            "TABLE": _record_table(layer, stage),
        },
        "copies": [
            [_tap_lsb(stage, columns, tap, pixel) for tap in reversed(graph.taps)]
            for pixel in range(stage.config.pixels)
        ],
        "x_bits": stage.input.bits,
    }


def window_columns(stage: StagePlan) -> int:
    """Columns of the window: whole beats of ``pixels * stride`` that cover it."""
    step = stage.config.pixels * stage.spec.square_stride
    span = (stage.config.pixels - 1) * stage.spec.square_stride + stage.spec.kernel[1]
    return -(-span // step) * step


def _tap_lsb(stage: StagePlan, columns: int, tap: tuple[int, int, int], pixel: int) -> int:
    """Where a tap's activation lies in the window."""
    live, row, column = tap
    place = (
        (live * stage.spec.kernel[0] + row) * columns + pixel * stage.spec.square_stride + column
    )
    return place * stage.input.bits


def _record_table(layer: CompressedLayer, stage: StagePlan) -> str:
    """The drain's records as a concatenation, channel 0 lowest."""
    channel_bits = max(index_width(stage.spec.outputs), 1)
    bits = SHIFT_BITS + MULT_BITS + stage.acc_bits + channel_bits
    words = []
    for channel, (bias, mult) in enumerate(_scales(layer)):
        word = channel | (bias & ((1 << stage.acc_bits) - 1)) << channel_bits
        word |= mult << (channel_bits + stage.acc_bits)
        word |= layer.requant.shift << (channel_bits + stage.acc_bits + MULT_BITS)
        words.append(f"{bits}'h{word:x}")
    return "{" + ", ".join(reversed(words)) + "}"


def _scales(layer: CompressedLayer) -> Iterator[tuple[int, int]]:
    """Bias and multiplier of every output channel."""
    mult = layer.requant.mult
    for channel, bias in enumerate(layer.bias.tolist()):
        yield bias, mult[channel] if len(mult) > 1 else mult[0]


def rtl_graph_context(layer: CompressedLayer, stage: StagePlan) -> dict[str, Any]:
    """The context of the template ``rtl_unrolled_graph.sv.j2``."""
    graph = adder_graph(layer, stage.input)
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
        "acc_bus_bits": stage.spec.outputs * stage.acc_bits,
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
    columns = window_columns(stage)
    return {
        "name": f"graph_{name}",
        "config": f"cfg_{name}",
        "pixels": stage.config.pixels,
        "live": len(graph.channels),
        "columns": columns,
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
        "biases": [bias for bias, _ in _scales(layer)],
        "mults": [mult for _, mult in _scales(layer)],
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
