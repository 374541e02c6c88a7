"""What an accelerator is: typed, validated facts that the back ends (HLS, RTL, driver) share.

Everything here is plain data derived from shapes, number formats and a :class:`KernelConfig` per
layer; :mod:`pyadmm.hardware.mapping` makes it from a model. The meaning of every figure is fixed by
``docs/kernels.md``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.hardware.boards import Board
from pyadmm.hardware.elementwise_stage import RowStagePlan
from pyadmm.model import INPUT, SHIFT_LIMIT, InputSpec
from pyadmm.model.types import LayerSpec, QFormat

KernelFamily = Literal["sparse", "dense", "balanced", "unrolled"]
WORD_BITS = 32
"""Width of the two streams and of a weight image's words."""
ACCUMULATOR_BITS_LIMIT = 32
"""Accumulators of the kernels are at most this wide: a bias is one word of the weight image."""
BYTES_PER_WORD = WORD_BITS // 8
HEADER_WORDS = 2
_DSP_OPERAND_BITS = 24
"""Magnitude bits of the wider operand of a 7-series DSP block."""
SLOT_WORDS = 3
_PIXEL_WIDTHS = (1, 2, 4, 8)
"""Bits that a pixel can have on the input stream."""


def index_width(count: int) -> int:
    """``clog2(count)``: bits that index ``count`` things; 0 for one thing.

    >>> [index_width(n) for n in (1, 2, 5, 8)]
    [0, 1, 3, 3]
    """
    return (count - 1).bit_length()


def free_shifts(acc_bits: int, shift: int) -> tuple[int, int]:
    """The requantising shifts around ``shift`` that cost no hardware beyond that of one shift.

    ``mult`` is shifted left once for all lanes instead, as far as the second operand of a DSP block
    has room for it (25 bits beside accumulators of up to 18, else 18).

    >>> free_shifts(12, 20), free_shifts(12, 1), free_shifts(20, 20)
    ((16, 24), (1, 9), (20, 21))
    """
    room = 8 if acc_bits <= 18 else 1
    low = max(1, min(shift - room // 2, SHIFT_LIMIT - room))
    return low, low + room


@dataclass(frozen=True)
class KernelConfig:
    """How one layer is mapped on hardware.

    :param family: ``sparse`` (families 1 and 2 of the design), ``dense`` (family 4), ``balanced``
        (family 5: groups in lock step share windows) or ``unrolled`` (family 3: weights are
        constants of the hardware).
    :param tile_rows: ``R``, output rows computed at once; a group has ``R * W_out`` lanes.
        ``unrolled``: 1, or the rows of a max-pool's window.
    :param groups: ``G``, output channels computed at once; all of them by ``unrolled``.
    :param index_bits: ``D``, width of an entry's channel advance; unused (0) by ``dense``.
    :param window: ``M``, places of a window of a ``balanced`` kernel; 1 elsewhere.
    :param entry_capacity: entries (sparse), steps (balanced) or weights (dense) a group can hold;
        ``None``: as many as the model at hand needs.
    :param slot_capacity: output channels a group can hold; ``None``: as many as needed.
    :param dsp_groups: groups whose lanes multiply in DSP blocks; the others do it in fabric.
    :param block_frame: keep the input frame in block RAM, however small it is.
    :param ultra_frame: build the input frame of UltraRAM, which only some UltraScale+ chips have.
    :param pixels: output pixels of a row that ``unrolled`` computes per cycle; 1 elsewhere.
    """

    family: KernelFamily
    tile_rows: int
    groups: int
    index_bits: int = 0
    entry_capacity: int | None = None
    slot_capacity: int | None = None
    dsp_groups: int = 0
    block_frame: bool = False
    ultra_frame: bool = False
    pixels: int = 1
    window: int = 1

    def __post_init__(self) -> None:
        if self.family not in get_args(KernelFamily):
            raise PyadmmError(
                f"kernel: family must be sparse, dense, balanced or unrolled, not {self.family!r}"
            )
        sizes = {
            "tile_rows": self.tile_rows,
            "groups": self.groups,
            "entry_capacity": self.entry_capacity,
            "slot_capacity": self.slot_capacity,
            "pixels": self.pixels,
            "window": self.window,
        }
        for what, size in sizes.items():
            if size is not None and size < 1:
                raise PyadmmError(f"kernel: {what} must be at least 1, not {size}")
        if self.index_bits < 0:
            raise PyadmmError(f"kernel: index_bits must be at least 0, not {self.index_bits}")
        if self.block_frame and self.ultra_frame:
            raise PyadmmError("kernel: a frame is block_frame or ultra_frame, not both; choose one")
        if not 0 <= self.dsp_groups <= self.groups:
            raise PyadmmError(
                f"kernel: dsp_groups must be 0 to the {self.groups} groups, not {self.dsp_groups}"
            )


@dataclass(frozen=True)
class EntryFormat:
    """Field widths of one sparse entry, least significant first: code, kw, kh, dc, mac, last."""

    code_bits: int
    kw_bits: int
    kh_bits: int
    index_bits: int

    @property
    def kw_lsb(self) -> int:
        """Lowest bit of the field ``kw``, the kernel column."""
        return self.code_bits

    @property
    def kh_lsb(self) -> int:
        """Lowest bit of the field ``kh``, the kernel row."""
        return self.kw_lsb + self.kw_bits

    @property
    def dc_lsb(self) -> int:
        """Lowest bit of the field ``dc``, the channel advance."""
        return self.kh_lsb + self.kh_bits

    @property
    def mac_bit(self) -> int:
        """Position of the bit ``mac``, which is 0 in a filler."""
        return self.dc_lsb + self.index_bits

    @property
    def last_bit(self) -> int:
        """Position of the bit ``last``, which ends an output channel."""
        return self.mac_bit + 1

    @property
    def bits(self) -> int:
        """Width of an entry."""
        return self.last_bit + 1

    @property
    def max_advance(self) -> int:
        """Largest channel advance of one entry, ``2**D - 1``."""
        return (1 << self.index_bits) - 1


@dataclass(frozen=True)
class BalancedFormat:
    """Field widths of a balanced entry, and of the program that group 0's entries carry.

    Least significant first: code, choice; in group 0 then sub-window, kh, dc, last.
    """

    code_bits: int
    choice_bits: int
    sub_bits: int
    kh_bits: int
    index_bits: int

    @property
    def entry_bits(self) -> int:
        """Width of an entry without the program."""
        return self.code_bits + self.choice_bits

    @property
    def kh_lsb(self) -> int:
        """Lowest bit of the field ``kh``, the kernel row."""
        return self.entry_bits + self.sub_bits

    @property
    def dc_lsb(self) -> int:
        """Lowest bit of the field ``dc``, the channel advance."""
        return self.kh_lsb + self.kh_bits

    @property
    def last_bit(self) -> int:
        """Position of the bit ``last``, which ends a slot."""
        return self.dc_lsb + self.index_bits

    @property
    def bits(self) -> int:
        """Width of group 0's entries, program included."""
        return self.last_bit + 1

    @property
    def max_advance(self) -> int:
        """Largest channel advance of one step, ``2**D - 1``."""
        return (1 << self.index_bits) - 1


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
    """What a plan knows of weights that are part of the hardware (family ``unrolled``).

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
        """Copies of the input frame: one read port per sparse group, one for all dense groups."""
        return self.groups if self.config.family == "sparse" else 1

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


Unit: TypeAlias = StagePlan | RowStagePlan


@dataclass(frozen=True)
class InputStream:
    """How images come to the accelerator.

    :param packed: the driver converts the bytes and packs the network's input integers, 1, 2, 4 or
        8 bits each; else the accelerator converts bytes.
    :param word_bits: width of the input stream, 32 or 64.
    """

    packed: bool = False
    word_bits: int = WORD_BITS

    def __post_init__(self) -> None:
        if self.word_bits not in (WORD_BITS, 2 * WORD_BITS):
            raise PyadmmError(f"input stream: word_bits must be 32 or 64, not {self.word_bits}")


@dataclass(frozen=True)
class AcceleratorPlan:
    """A whole accelerator: stages that stream into each other.

    :param name: the model's name.
    :param input: how bytes become the first frame.
    :param stages: the weighted layers, in the model's order.
    :param rows: the stages without weights, in the model's order.
    :param stream: how images come to the accelerator.
    """

    name: str
    board: Board
    input: InputSpec
    stages: tuple[StagePlan, ...]
    rows: tuple[RowStagePlan, ...] = ()
    stream: InputStream = InputStream()

    def __post_init__(self) -> None:
        if self.stream.packed and self.input.format.bits > _PIXEL_WIDTHS[-1]:
            raise PyadmmError(
                f"input: packed pixels have at most {_PIXEL_WIDTHS[-1]} bits, not "
                f"{self.input.format.bits}; use the stream of bytes"
            )

    @property
    def units(self) -> tuple[Unit, ...]:
        """All stages, each behind those whose frames it reads; the last one gives the logits."""
        waiting: list[Unit] = [*self.stages, *self.rows]
        ready, order = {INPUT}, list[Unit]()
        while waiting:
            unit = next(u for u in waiting if ready.issuperset(u.sources))
            waiting.remove(unit)
            order.append(unit)
            ready.add(unit.node)
        return tuple(order)

    @property
    def loadable(self) -> tuple[StagePlan, ...]:
        """The stages whose weights the weight image holds."""
        return tuple(stage for stage in self.stages if stage.constants is None)

    @property
    def last(self) -> Unit:
        """The stage that gives the logits: the one whose frame no other reads."""
        read = {source for unit in self.units for source in unit.sources}
        return next(unit for unit in self.units if unit.node not in read)

    def readers(self, node: str) -> tuple[tuple[Unit, int], ...]:
        """Who reads the frame of ``node``: stages, and which of their sources it is."""
        return tuple(
            (unit, place)
            for unit in self.units
            for place, source in enumerate(unit.sources)
            if source == node
        )

    @property
    def pixel_bits(self) -> int:
        """Bits of a pixel on the input stream."""
        if not self.stream.packed:
            return _PIXEL_WIDTHS[-1]
        return next(bits for bits in _PIXEL_WIDTHS if bits >= self.input.format.bits)

    @property
    def image_bytes(self) -> int:
        """Bytes of an image on the input stream: whole words of the stream."""
        words = -(-math.prod(self.input.shape) * self.pixel_bits // self.stream.word_bits)
        return words * self.stream.word_bits // 8

    @property
    def image_words(self) -> int:
        """32-bit words of the input stream for one image."""
        return self.image_bytes // BYTES_PER_WORD

    @property
    def step_pixels(self) -> int:
        """Pixels that unpacking takes per cycle: the largest power of two within word and row."""
        most = min(self.stream.word_bits // self.pixel_bits, self.input.shape[2])
        return 1 << (most.bit_length() - 1)

    @property
    def input_steps(self) -> int:
        """Cycles that unpacking one image takes."""
        return -(-math.prod(self.input.shape) // self.step_pixels)

    @property
    def logits(self) -> int:
        """Words of the output stream for one image."""
        return math.prod(self.last.output_shape)

    @property
    def weight_words(self) -> int:
        """Words of a weight image."""
        return sum(unit.weight_words for unit in self.units)

    def stage(self, name: str) -> StagePlan:
        """The stage of layer ``name``."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = ", ".join(stage.name for stage in self.stages)
        raise PyadmmError(f"accelerator {self.name}: no layer {name!r}; it has {names}")


@dataclass(frozen=True)
class BuildPlan:
    """Files of a build, not yet written: relative name to text or bytes.

    :param files: everything that decides the hardware and its testbench.
    :param data: what is loaded at run time (weight images): no part of :attr:`digest`, since
        another model of the same shapes runs on the same hardware.
    """

    files: Mapping[str, str | bytes]
    data: Mapping[str, str | bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of :attr:`files`, names and contents; the ``ident`` register holds another one,
        of all files but the one that says it."""
        return files_digest(self.files)

    def write(self, folder: Path) -> None:
        """Write every file under ``folder``, each atomically."""
        for name, content in sorted({**self.files, **self.data}.items()):
            write_atomic(folder / name, content)


def files_digest(files: Mapping[str, str | bytes]) -> str:
    """SHA-256 over sorted ``(name, content)`` pairs, hexadecimal."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        data = content.encode("utf-8") if isinstance(content, str) else content
        for part in (name.encode("utf-8"), data):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


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
