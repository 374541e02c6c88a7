"""Unrolled constants (kernel family 3): the weights of a layer as a pipelined graph of adders.

The library da4ml finds the graph (distributed arithmetic with shared terms; Sun et al.,
arXiv:2507.04535); this module turns it into integers, derives their ranges, checks it against the
weights, cuts it into pipeline stages and gives both back ends one list of additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from pyadmm.hardware.plan import Constants
from pyadmm.hardware.weight_image import constants_digest
from pyadmm.model import CompressedLayer
from pyadmm.model.types import IntArray, QFormat

LEVELS_PER_STAGE = 2
"""Additions in a row between two registers; three take more than 10 ns of a 7-series part of speed
grade 1 where a sum has hundreds of loads."""
_COPY, _ADD, _SUBTRACT = -1, 0, 1
"""Operations of a da4ml graph."""


@dataclass(frozen=True)
class Term:
    """``(-1)**negative * 2**shift * value``; ``value`` counts taps first, then sums; -1 is zero."""

    value: int
    shift: int = 0
    negative: bool = False


@dataclass(frozen=True)
class Sum:
    """``(left << left_shift) ± (right << right_shift)`` with its range and place in the pipeline.

    :param level: additions from the taps to here, this one included.
    """

    left: int
    left_shift: int
    right: int
    right_shift: int
    subtract: bool
    low: int
    high: int
    level: int

    @property
    def bits(self) -> int:
        """Two's-complement width that holds every value of the sum."""
        return range_bits(self.low, self.high)

    @property
    def stage(self) -> int:
        """Pipeline stage in which it is computed."""
        return (self.level - 1) // LEVELS_PER_STAGE


def range_bits(low: int, high: int) -> int:
    """Two's-complement width that holds ``low … high``.

    >>> range_bits(0, 1), range_bits(-4, 3), range_bits(0, 0)
    (2, 3, 1)
    """
    return 1 + max(int(high).bit_length(), (-int(low) - 1).bit_length() if low < 0 else 0)


@dataclass(frozen=True)
class AdderGraph:
    """``acc[o] = sum_t codes[o, t] * x[t]`` as sums; the bias is not in it.

    :param channels: input channels with any weight, ascending.
    :param taps: ``(place in channels, window row, window column)`` of every input of the graph.
    :param sums: in an order in which every sum follows its operands.
    :param outputs: one term per output channel, for one pixel of a block after the other.
    :param input: range of the taps.
    """

    channels: tuple[int, ...]
    taps: tuple[tuple[int, int, int], ...]
    sums: tuple[Sum, ...]
    outputs: tuple[Term, ...]
    input: QFormat

    def range_of(self, value: int) -> tuple[int, int]:
        """Least and largest integer of a value."""
        if value < len(self.taps):
            return self.input.lo, self.input.hi
        found = self.sums[value - len(self.taps)]
        return found.low, found.high

    def stage_of(self, value: int) -> int:
        """Pipeline stage from which on a value is available."""
        return 0 if value < len(self.taps) else self.sums[value - len(self.taps)].stage

    @cached_property
    def latency(self) -> int:
        """Clock cycles from taps to accumulators: the outputs are registered."""
        return 1 + max((found.stage for found in self.sums), default=0)

    @cached_property
    def last_stage(self) -> dict[int, int]:
        """The last pipeline stage in which each value is used; values without a use are absent.

        The accumulators are read in stage :attr:`latency`.
        """
        last: dict[int, int] = {}
        for found in self.sums:
            for value in (found.left, found.right):
                last[value] = max(last.get(value, 0), found.stage)
        for term in self.outputs:
            if term.value >= 0:
                last[term.value] = self.latency
        return last

    @cached_property
    def luts(self) -> int:
        """Modelled LUTs: one per bit of a sum (a carry chain adds one bit per LUT)."""
        return sum(found.bits for found in self.sums)

    @cached_property
    def flip_flops(self) -> int:
        """Modelled flip-flops: every value once per pipeline register that it crosses."""
        return sum(
            range_bits(*self.range_of(value)) * (last - self.stage_of(value))
            for value, last in self.last_stage.items()
        )

    def evaluate(self, x: IntArray) -> NDArray[np.int64]:
        """Accumulators ``(O, N)`` of taps ``(T, N)``."""
        values = np.empty((len(self.taps) + len(self.sums), x.shape[1]), np.int64)
        values[: len(self.taps)] = x
        for place, found in enumerate(self.sums, len(self.taps)):
            left = values[found.left] << found.left_shift
            right = values[found.right] << found.right_shift
            values[place] = left - right if found.subtract else left + right
        acc = np.zeros((len(self.outputs), x.shape[1]), np.int64)
        for row, term in zip(acc, self.outputs, strict=True):
            if term.value >= 0:
                row[:] = shifted(values[term.value], term.shift) * (-1 if term.negative else 1)
        return acc


def shifted(values: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """``values * 2**shift``; a negative shift drops bits that are zero."""
    return values << shift if shift >= 0 else values >> -shift


def full_codes(layer: CompressedLayer) -> NDArray[np.int64]:
    """Codes ``(O, C, KH, KW)`` over all input channels: convolution groups are zeros elsewhere."""
    spec = layer.spec
    codes = np.zeros((spec.outputs, spec.input_shape[0], *spec.kernel), np.int64)
    parts = np.split(layer.window_codes.astype(np.int64), spec.groups)
    for part, block in enumerate(parts):
        first = part * spec.kernel_channels
        rows = slice(part * len(block), (part + 1) * len(block))
        codes[rows, first : first + spec.kernel_channels] = block
    return codes


def block_codes(codes: NDArray[np.int64], stride: int, block: tuple[int, int]) -> NDArray[np.int64]:
    """The kernels ``(R * P * O, C, H, W)`` of all pixels of a block, in the window that it needs.

    :param codes: ``(O, C, KH, KW)``.
    :param block: rows and columns of output pixels, ``(R, P)``.

    >>> block_codes(np.array([[[[1, 2]]]]), 1, (1, 2)).tolist()
    [[[[1, 2, 0]]], [[[0, 1, 2]]]]
    """
    outputs, channels, height, width = codes.shape
    rows, columns = block
    size = (rows - 1) * stride + height, (columns - 1) * stride + width
    found = np.zeros((rows, columns, outputs, channels, *size), np.int64)
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride, column * stride
            found[row, column, :, :, top : top + height, left : left + width] = codes
    return found.reshape(-1, channels, *size)


def adder_graph(
    layer: CompressedLayer, source: QFormat, block: tuple[int, int] = (1, 1)
) -> AdderGraph:
    """The adder graph of ``layer`` for taps of the format ``source``; found once per layer.

    :param block: rows and columns of output pixels that one graph computes: its taps are places of
        the window that they need, and they share sums.
    """
    codes = block_codes(full_codes(layer), layer.spec.square_stride, block)
    return _solved(codes.tobytes(), codes.shape, source)


@lru_cache(maxsize=64)
def _solved(data: bytes, shape: tuple[int, int, int, int], source: QFormat) -> AdderGraph:
    codes = np.frombuffer(data, np.int64).reshape(shape)
    live = np.flatnonzero(np.any(codes != 0, axis=(0, 2, 3)))
    places = np.argwhere(np.any(codes[:, live] != 0, axis=0))
    taps = tuple((int(k), int(h), int(w)) for k, h, w in places)
    kernel = codes[:, live][(slice(None), *places.T)]
    # Outputs without weights stay out: da4ml takes much longer for many outputs, also empty ones.
    used = np.flatnonzero(np.any(kernel != 0, axis=1))
    outputs = [Term(-1)] * len(codes)
    sums: tuple[Sum, ...] = ()
    if taps:
        sums, found = _convert(kernel[used], source)
        for place, term in zip(used, found, strict=True):
            outputs[place] = term
    channels = tuple(int(c) for c in live) or (0,)
    graph = AdderGraph(channels, taps, sums, tuple(outputs), source)
    unit = np.eye(len(taps), dtype=np.int64)
    assert np.array_equal(graph.evaluate(unit), kernel), "the adder graph is not the kernel"
    return graph


def _convert(
    kernel: NDArray[np.int64], source: QFormat
) -> tuple[tuple[Sum, ...], tuple[Term, ...]]:
    """da4ml's graph of ``kernel`` ``(O, T)`` as integer sums.

    da4ml computes with fractions: a value there is ``(-1)**negative * integer * 2**shift``, and
    that is the term kept for it here.
    """
    interval = (float(source.lo), float(source.hi), 1.0)
    # The simulated board's environment has an older numpy, for which there is no da4ml.
    from da4ml.cmvm import solve  # noqa: PLC0415

    matrix = np.ascontiguousarray(kernel.T, np.float32)  # It reads rows, whatever the strides.
    pipeline = solve(matrix, qintervals=[interval] * kernel.shape[1])
    builder = _Builder(source, kernel.shape[1])
    terms = [Term(t) for t in range(kernel.shape[1])]
    for logic in pipeline.solutions:
        values: list[Term] = []
        for op in logic.ops:
            if op.opcode == _COPY:
                values.append(_scaled(terms[op.id0], logic.inp_shifts[op.id0]))
            else:
                assert op.opcode in (_ADD, _SUBTRACT), op
                right = _scaled(values[op.id1], op.data, op.opcode == _SUBTRACT)
                values.append(builder.add(values[op.id0], right))
        outputs = zip(logic.out_idxs, logic.out_shifts, logic.out_negs, strict=True)
        terms = [
            Term(-1) if place < 0 else _scaled(values[place], shift, bool(negative))
            for place, shift, negative in outputs
        ]
    return tuple(builder.sums), tuple(terms)


def _scaled(term: Term, shift: int, negate: bool = False) -> Term:
    """``term * 2**shift``, negated where asked."""
    return Term(term.value, term.shift + int(shift), term.negative != negate)


class _Builder:
    """Sums in the order in which they are made."""

    def __init__(self, source: QFormat, taps: int) -> None:
        self.ranges = [(source.lo, source.hi)] * taps
        self.levels = [0] * taps
        self.sums: list[Sum] = []

    def add(self, left: Term, right: Term) -> Term:
        """The term ``left + right``: the common power of two and a common sign stay outside."""
        if left.value < 0 or right.value < 0:
            return right if left.value < 0 else left
        if left.negative and not right.negative:
            left, right = right, left
        base = min(left.shift, right.shift)
        shifts = left.shift - base, right.shift - base
        subtract = left.negative != right.negative
        (a_low, a_high), (b_low, b_high) = (
            (low << shift, high << shift)
            for (low, high), shift in zip(
                (self.ranges[left.value], self.ranges[right.value]), shifts, strict=True
            )
        )
        low, high = (
            (a_low - b_high, a_high - b_low) if subtract else (a_low + b_low, a_high + b_high)
        )
        level = 1 + max(self.levels[left.value], self.levels[right.value])
        found = Sum(left.value, shifts[0], right.value, shifts[1], subtract, low, high, level)
        self.sums.append(found)
        self.ranges.append((low, high))
        self.levels.append(level)
        return Term(len(self.ranges) - 1, base, left.negative)


def constants(layer: CompressedLayer, source: QFormat) -> Constants:
    """The facts that a plan holds of these weights."""
    graph = adder_graph(layer, source)
    return Constants(
        digest=constants_digest(layer),
        channels=len(graph.channels),
        sums=len(graph.sums),
        luts=graph.luts,
        flip_flops=graph.flip_flops,
    )
