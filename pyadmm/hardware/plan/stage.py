"""One weighted layer on its kernel: checks, sizes, memories, the RTL parameters of its engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.plan.kernel import (
    WORD_BITS,
    BalancedFormat,
    EntryFormat,
    KernelConfig,
    index_width,
)
from pyadmm.model import INPUT
from pyadmm.model.types import LayerSpec, QFormat

ACCUMULATOR_BITS_LIMIT = 32
"""Accumulators of the kernels are at most this wide: a bias is one word of the weight image."""
HEADER_WORDS = 2
_DSP_OPERAND_BITS = 24
"""Magnitude bits of the wider operand of a 7-series DSP block."""
SLOT_WORDS = 3


@dataclass(frozen=True)
class Pool:
    """Max-pool fused into a stage: ``kernel`` x ``kernel`` windows at distance ``stride``."""

    kernel: int
    stride: int

    def output(self, size: int) -> int:
        """Rows (or columns) that ``size`` rows give."""
        return (size - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class Constants:
    """Facts of weights that are part of the hardware (family ``unrolled``).

    :param digest: SHA-256 of codes, biases and scales: no other weights run on this hardware.
    :param channels: input channels with any weight: row words fetched per row of the map.
    :param sums: additions of one copy of the adder graph.
    :param luts: modelled LUTs of one copy.
    :param flip_flops: modelled flip-flops of one copy.
    """

    digest: str
    channels: int
    sums: int
    luts: int
    flip_flops: int


@dataclass(frozen=True)
class StagePlan:
    """One weighted layer on its kernel, with the max-pool that follows it.

    :param output: format of the results in hardware (:func:`pyadmm.hardware.weight_image.hardware_output`).
    :param node: name of the model's node whose integers leave the stage (the pool's or layer's).
    :param entry_capacity: resolved entries (sparse) or weights (dense) per group.
    :param slot_capacity: resolved output channels per group.
    :param source: name of the node whose frame the stage reads.
    :param shift_range: least and largest requantising shift of the models that it runs; ``None``:
        any. A range of :func:`free_shifts` costs no hardware, any shift a barrel shifter per lane.
    :param constants: of a stage of family ``unrolled``; ``None`` elsewhere.
    """

    spec: LayerSpec
    config: KernelConfig
    input: QFormat
    output: QFormat
    weight_bits: int
    acc_bits: int
    pool: Pool | None
    node: str
    entry_capacity: int
    slot_capacity: int
    source: str = INPUT
    shift_range: tuple[int, int] | None = None
    constants: Constants | None = None

    def __post_init__(self) -> None:
        name, config, spec = self.name, self.config, self.spec
        if self.acc_bits > ACCUMULATOR_BITS_LIMIT:
            raise PyadmmError(
                f"{name}: an accumulator of {self.acc_bits} bits exceeds "
                f"{ACCUMULATOR_BITS_LIMIT}; use fewer weight or activation bits"
            )
        if self.output.bits + (not self.output.signed) > WORD_BITS:
            raise PyadmmError(
                f"{name}: outputs of {self.output.bits} bits do not fit a signed word of "
                f"{WORD_BITS} bits; requantise to fewer"
            )
        if config.tile_rows > spec.output_shape[1]:
            raise PyadmmError(
                f"{name}: tile_rows must be at most the {spec.output_shape[1]} output rows, "
                f"not {config.tile_rows}"
            )
        if config.groups > spec.outputs:
            raise PyadmmError(
                f"{name}: groups must be at most the {spec.outputs} output channels, "
                f"not {config.groups}"
            )
        if (config.family == "unrolled") != (self.constants is not None):
            raise PyadmmError(f"{name}: an unrolled kernel, and no other, holds constants")
        if config.family != "unrolled" and config.pixels != 1:
            raise PyadmmError(f"{name}: only an unrolled kernel takes {config.pixels} pixels")
        if config.family != "balanced" and config.window != 1:
            raise PyadmmError(f"{name}: only a balanced kernel has a window of {config.window}")
        if config.family != "balanced" and config.walkers != 1:
            raise PyadmmError(f"{name}: only a balanced kernel has {config.walkers} walkers")
        checks = {
            "dense": self._check_dense,
            "sparse": self._check_sparse,
            "balanced": self._check_balanced,
            "unrolled": self._check_unrolled,
        }
        checks[config.family]()

    def _check_dense(self) -> None:
        per_group = self.spec.outputs // self.spec.groups
        if self.spec.groups > 1 and per_group % self.config.groups:
            raise PyadmmError(
                f"{self.name}: groups of a dense kernel must divide the {per_group} channels of "
                f"a convolution group, not {self.config.groups}"
            )

    def _check_unrolled(self) -> None:
        outputs, _, width = self.spec.output_shape
        config = self.config
        if config.groups != outputs:
            raise PyadmmError(
                f"{self.name}: an unrolled kernel computes all {outputs} output channels at once, "
                f"not {config.groups}"
            )
        if config.pixels > width:
            raise PyadmmError(
                f"{self.name}: pixels must be at most the {width} output columns, "
                f"not {config.pixels}"
            )
        pool = self.pool or Pool(1, 1)
        whole = pool.kernel == pool.stride
        if config.tile_rows > 1 and not (whole and config.tile_rows == pool.stride):
            raise PyadmmError(
                f"{self.name}: tile_rows of an unrolled kernel must be 1 or the rows of a max-pool "
                f"whose windows do not overlap, not {config.tile_rows}"
            )
        if config.pixels > 1 and not (whole and config.pixels % pool.stride == 0):
            raise PyadmmError(
                f"{self.name}: pixels must be 1 or whole windows of a max-pool that do not "
                f"overlap, not {config.pixels}"
            )

    def _check_balanced(self) -> None:
        spec, window = self.spec, self.config.window
        if spec.groups > 1:
            raise PyadmmError(
                f"{self.name}: a balanced kernel takes no convolution groups, but the layer has "
                f"{spec.groups}; use a sparse or dense kernel"
            )
        if window > 1 and spec.square_stride > 1:
            raise PyadmmError(
                f"{self.name}: a window of {window} needs stride 1, not {spec.square_stride}; use window 1"
            )
        most = spec.input_shape[0] if self.fold > 1 else spec.kernel[1]
        if window > most:
            raise PyadmmError(
                f"{self.name}: window must be at most the {most} places of a row, not {window}"
            )
        self._check_index_bits(self.window_channels)
        if self.balanced_format.bits > WORD_BITS:
            raise PyadmmError(
                f"{self.name}: an entry of {self.balanced_format.bits} bits exceeds {WORD_BITS}; "
                "lower index_bits or use a dense kernel"
            )

    def _check_index_bits(self, channels: int) -> None:
        limit = index_width(channels)
        if self.config.index_bits > limit or (self.config.index_bits == 0 and channels > 1):
            raise PyadmmError(
                f"{self.name}: index_bits must be {min(1, limit)} to {limit} for {channels} input "
                f"channels, not {self.config.index_bits}"
            )

    def _check_sparse(self) -> None:
        self._check_index_bits(self.spec.input_shape[0])
        if self.entry_format.bits > WORD_BITS:
            raise PyadmmError(
                f"{self.name}: an entry of {self.entry_format.bits} bits exceeds {WORD_BITS}; "
                "lower index_bits or use a dense kernel"
            )

    @property
    def name(self) -> str:
        """The name of the layer that the stage computes."""
        return self.spec.name

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes whose frames the stage reads."""
        return (self.source,)

    @property
    def groups(self) -> int:
        """Number of groups of lanes, ``G``."""
        return self.config.groups

    @property
    def tile_rows(self) -> int:
        """Output rows of a tile, ``R``."""
        return self.config.tile_rows

    @property
    def lanes(self) -> int:
        """``V = R * W_out``, multiply-accumulates of a group per cycle; pixels, where unrolled."""
        if self.constants is not None:
            return self.tile_rows * self.config.pixels
        return self.tile_rows * self.spec.output_shape[2]

    @property
    def tiles(self) -> int:
        """``T = ceil(H_out / R)``."""
        return -(-self.spec.output_shape[1] // self.tile_rows)

    @property
    def banks(self) -> int:
        """``B = R * S``, banks of the input frame; one where unrolled."""
        if self.constants is not None:
            return 1
        return self.tile_rows * self.spec.square_stride

    @property
    def bank_height(self) -> int:
        """``HB``, row words of one channel in one bank."""
        return -(-(self.spec.input_shape[1] + 2 * self.spec.square_padding) // self.banks)

    @property
    def frame_depth(self) -> int:
        """Row words in one bank."""
        return self.spec.input_shape[0] * self.bank_height

    @property
    def frame_copies(self) -> int:
        """Copies of the input frame: one read port per sparse group or balanced walker, one for all
        dense groups."""
        return self.groups if self.config.family == "sparse" else self.config.walkers

    @property
    def lockstep(self) -> int:
        """Groups of a balanced kernel that run in lock step."""
        return self.groups // self.config.walkers

    @property
    def row_bits(self) -> int:
        """Width of a row word of the input frame."""
        return self.spec.input_shape[2] * self.input.bits

    @property
    def paired(self) -> bool:
        """Whether a DSP block can serve two neighbouring lanes (``hls/rtl/mac_group.sv``)."""
        fits = self.input.bits <= self.acc_bits <= _DSP_OPERAND_BITS - self.input.bits
        return fits and not self.input.signed

    @property
    def group_dsps(self) -> int:
        """DSP blocks of a group whose lanes multiply in them."""
        columns = self.spec.output_shape[2]
        return self.tile_rows * (-(-columns // 2) if self.paired else columns)

    @property
    def window(self) -> int:
        """``K``, weights of one output channel."""
        return math.prod(self.spec.window_shape[1:])

    @property
    def entry_format(self) -> EntryFormat:
        """Field widths of a sparse entry."""
        rows, columns = self.spec.kernel
        return EntryFormat(
            self.weight_bits, index_width(columns), index_width(rows), self.config.index_bits
        )

    @property
    def fold(self) -> int:
        """``F``: channels that a balanced kernel sees as one row; 1 where rows are rows."""
        single = self.config.family == "balanced" and self.spec.input_shape[1:] == (1, 1)
        return self.config.window if single and self.spec.kernel == (1, 1) else 1

    @property
    def window_channels(self) -> int:
        """Input channels as a balanced kernel counts them, ``ceil(C / F)``."""
        return -(-self.spec.input_shape[0] // self.fold)

    @property
    def sub_windows(self) -> int:
        """Windows of one kernel row of a balanced kernel."""
        return 1 if self.fold > 1 else -(-self.spec.kernel[1] // self.config.window)

    @property
    def balanced_format(self) -> BalancedFormat:
        """Field widths of a balanced entry."""
        return BalancedFormat(
            self.weight_bits,
            index_width(self.config.window + 1),
            index_width(self.sub_windows),
            index_width(self.spec.kernel[0]),
            self.config.index_bits,
        )

    @property
    def weight_word_bits(self) -> int:
        """Width of the group's weight memory: an entry, or a two's-complement dense weight.

        Of a balanced kernel: of the groups without the program.
        """
        if self.config.family == "dense":
            return self.weight_bits + 1
        if self.config.family == "balanced":
            return self.balanced_format.entry_bits
        return self.entry_format.bits

    @property
    def frame_banks(self) -> tuple[int, int, int]:
        """Memories of one copy of the RTL's input frame, and each one's words (of both images)
        and bits."""
        if self.fold > 1:
            return self.fold, 2 * self.window_channels, self.input.bits
        if self.constants is not None:  # Of every live channel, one per row of the window.
            rows = (self.tile_rows - 1) * self.spec.square_stride + self.spec.kernel[0]
            return rows * self.constants.channels, 2 * self.spec.input_shape[1], self.row_bits
        channels, height, _ = self.spec.input_shape
        return self.banks, 2 * channels * -(-height // self.banks), self.row_bits

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """``(O, rows, columns)`` that leave the stage, after the pool."""
        channels, height, width = self.spec.output_shape
        if self.pool is None:
            return channels, height, width
        return channels, self.pool.output(height), self.pool.output(width)

    @property
    def group_words(self) -> int:
        """Words of the weight image for one group."""
        return HEADER_WORDS + self.entry_capacity + SLOT_WORDS * self.slot_capacity

    @property
    def weight_words(self) -> int:
        """Words of the weight image for this stage: none where its weights are constants."""
        if self.constants is not None:
            return 0
        return self.groups * self.group_words


def engine_shape(stage: StagePlan) -> dict[str, int]:
    """Parameters that the RTL's engines and its whole stage have in common."""
    spec = stage.spec
    channels, height, width = spec.input_shape
    _, out_height, out_width = spec.output_shape
    return {
        "X_BITS": stage.input.bits,
        "X_SIGNED": int(stage.input.signed),
        "CODE_BITS": stage.weight_bits,
        "ACC_BITS": stage.acc_bits,
        "IN_CHANNELS": channels,
        "IN_HEIGHT": height,
        "IN_WIDTH": width,
        "KERNEL_H": spec.kernel[0],
        "KERNEL_W": spec.kernel[1],
        "STRIDE": spec.square_stride,
        "PADDING": spec.square_padding,
        "OUT_HEIGHT": out_height,
        "OUT_WIDTH": out_width,
        "TILE_ROWS": stage.tile_rows,
        "SLOT_CAPACITY": stage.slot_capacity,
    }


_MULTIPLEXED_COLUMNS = (2, 3)
"""Kernel widths whose multiplexer shares the LUTs of the accumulator's adder."""
_MULTIPLEXED_LANES = 8
"""Least output columns at which a balanced kernel's further products cost less than multiplexers."""
_MULTIPLEXED_ENTRIES = 32
"""Least entries per channel at which one more cycle per tile counts little."""


def may_select_products(stage: StagePlan) -> bool:
    """Whether the column multiplexer of ``stage`` can stand behind its multipliers."""
    if stage.config.family == "balanced":
        return stage.fold == 1 and stage.config.window > 1
    return stage.config.family == "sparse" and stage.spec.square_stride == 1


def selects_products(stage: StagePlan) -> bool:
    """Whether the column multiplexer of ``stage`` stands behind its multipliers.

    This is the RTL parameter ``ACC_MUX`` (``hls/rtl/mac_group.sv``), for the kernel that is built
    and for the one whose break-even is measured. It takes fewer LUTs for kernels of two or three
    columns, and costs a cycle between the tiles of an output channel.
    """
    spec = stage.spec
    balanced = stage.config.family == "balanced"
    choices = stage.config.window if balanced else spec.kernel[1]
    columns = _MULTIPLEXED_LANES if balanced else spec.input_shape[2]
    return (
        may_select_products(stage)
        and choices in _MULTIPLEXED_COLUMNS
        and columns <= spec.output_shape[2]
        and stage.entry_capacity >= _MULTIPLEXED_ENTRIES * stage.slot_capacity
    )
