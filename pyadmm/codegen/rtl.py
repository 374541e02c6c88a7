"""RTL code generation: an accelerator plan becomes a SystemVerilog build.

Pure: nothing is written or run here. Modules are copied from ``hls/rtl``, a plan's numbers go
through ``templates/rtl_*.j2`` with a context computed below; the templates hold no arithmetic. The
register map, the streams and the weight image are those of the HLS top (``docs/kernels.md``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pyadmm import __version__
from pyadmm.codegen.hls import IN_STREAM, OUT_STREAM, TOP, WEIGHTS_FILE, identifiers, render
from pyadmm.codegen.unrolled import rtl_graph_context, rtl_stage_context, unrolled_layer
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.cost import frame_in_blocks, most_beats
from pyadmm.hardware.elementwise_stage import ElementwisePlan
from pyadmm.hardware.plan import (
    WORD_BITS,
    AcceleratorPlan,
    BuildPlan,
    StagePlan,
    Unit,
    engine_shape,
    files_digest,
    index_width,
    may_select_products,
    selects_products,
)
from pyadmm.hardware.unrolled import Blocks, block_writer
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import INPUT, SHIFT_LIMIT, CompressedLayer, CompressedModel

MULT_BITS = 16
TOP_FILE = f"rtl/{TOP}.v"
_UNROLLED = "constants_"
"""Prefix of generated modules."""
RTL_IDENT_FILE = f"rtl/{TOP}_ident.v"
_INPUT_BITS_LIMIT = 9


@dataclass(frozen=True)
class RtlOptions:
    """Options of one stage besides its ``KernelConfig``; they never change an integer.

    :param dsp_groups: groups whose lanes multiply in DSP blocks; ``None``: as the plan says.
    :param fifo_depth: tiles that wait per group, a power of two; 1 is one holding register.
    :param acc_mux: place the column multiplexer of a sparse stride-1 kernel behind its multipliers,
        which is smaller but costs a cycle per tile; ``None``: where that is little.
    :param drain_beats: parts in which the drain takes a tile, dividing its rows; more parts need
        fewer requantisers. ``None``: as many as do not slow the engine.
    :param shift_range: least and largest requantising shift that the hardware takes; ``None``: as
        the plan says.
    """

    dsp_groups: int | None = None
    fifo_depth: int = 1
    acc_mux: bool | None = None
    drain_beats: int | None = None
    shift_range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.dsp_groups is not None and self.dsp_groups < 0:
            raise PyadmmError(f"rtl: dsp_groups must be at least 0, not {self.dsp_groups}")
        if self.fifo_depth < 1 or self.fifo_depth & (self.fifo_depth - 1):
            raise PyadmmError(f"rtl: fifo_depth must be a power of two, not {self.fifo_depth}")
        if self.shift_range is not None:
            low, high = self.shift_range
            if not 1 <= low <= high <= SHIFT_LIMIT:
                raise PyadmmError(
                    f"rtl: shift_range must be within 1 to {SHIFT_LIMIT}, not {self.shift_range}"
                )


@dataclass(frozen=True)
class RowWrites:
    """The write pattern of a frame, on which its writer and its memory must agree.

    :param rows: rows of one write.
    :param offset: rows before the map that the first write of a channel names (masked).
    :param phase_fixed: whether every write begins at the same bank.
    :param interval: cycles that the frame takes per write.
    """

    rows: int
    offset: int
    phase_fixed: bool
    interval: int


def row_writes(writer: Unit | None, beats: int, banks: int) -> RowWrites:
    """Writes of ``writer`` (``None``: the input stream) to a frame of ``banks`` banks.

    :param beats: parts in which the writer's drain takes a tile.
    """
    if not isinstance(writer, StagePlan) or writer.constants is not None:
        return RowWrites(1, 0, banks == 1, 1)
    kernel, stride = (1, 1) if writer.pool is None else (writer.pool.kernel, writer.pool.stride)
    beat_rows = writer.tile_rows // beats
    rows = -(-beat_rows // stride)
    aligned = beat_rows % stride == 0 and beat_rows // stride % banks == 0
    fixed = writer.tiles * beats == 1 or banks == 1 or aligned
    return RowWrites(rows, (kernel - 1) // stride, fixed, -(-rows // banks))


def choose_beats(stage: StagePlan, banks: int) -> int:
    """The most parts per tile at which the drain keeps well ahead of the stage's engine.

    :param banks: banks of the next frame.
    """
    return most_beats(stage, lambda beats: row_writes(stage, beats, banks).interval)


def rtl_files() -> dict[str, str]:
    """The hand-written modules, ``rtl/<module>.sv`` to text."""
    folder = asset_dir("hls") / "rtl"
    # seq_*: the layer-sequential array, a design of its own.
    paths = (path for path in folder.glob("*.sv") if not path.name.startswith("seq_"))
    return {f"rtl/{path.name}": path.read_text(encoding="utf-8") for path in sorted(paths)}


def generate_rtl(
    plan: AcceleratorPlan,
    options: Mapping[str, RtlOptions] | None = None,
    model: CompressedModel | None = None,
) -> BuildPlan:
    """The SystemVerilog build of the accelerator ``plan``.

    :param options: by layer name; a layer that is not named takes the defaults.
    :param model: its weight image goes into the build's data.
    :raises PyadmmError: for options that name no layer or do not fit the plan or the model.
    """
    chosen = _stage_options(plan, options or {})
    files: dict[str, str | bytes] = dict(rtl_files())
    links = _links(plan, chosen)
    for stage in plan.stages:
        if stage.constants is not None:
            layer = unrolled_layer(model, stage)
            files.update(_unrolled_files(plan, layer, stage, links))
    context = rtl_context(plan, chosen)
    files[TOP_FILE] = render("rtl_top.v.j2", context)
    ident = files_digest(files)[:8]
    files[RTL_IDENT_FILE] = render("rtl_ident.v.j2", {**context, "ident": f"32'h{ident}"})
    data: dict[str, str | bytes] = {}
    if model is not None:
        check_shifts(model, chosen)
        data[WEIGHTS_FILE] = weight_image(model, plan).astype("<u4").tobytes()
    return BuildPlan(files, data)


def rtl_ident(build: BuildPlan) -> int:
    """The ``ident`` register of an RTL build's hardware."""
    text = build.files[RTL_IDENT_FILE]
    found = re.search(r"32'h([0-9a-f]{8})", text if isinstance(text, str) else text.decode())
    if found is None:
        raise PyadmmError(f"build: {RTL_IDENT_FILE} holds no identifier")
    return int(found[1], 16)


def check_shifts(model: CompressedModel, options: Mapping[str, RtlOptions]) -> None:
    """Raise where a layer of ``model`` requantises by a shift that the hardware does not take."""
    for name, option in options.items():
        shift = model.layer(name).requant.shift
        if option.shift_range is not None:
            low, high = option.shift_range
            if not low <= shift <= high:
                raise PyadmmError(
                    f"{name}: requantises by a shift of {shift}, the hardware takes {low} to "
                    f"{high}; generate it with a wider shift_range"
                )


def _stage_options(
    plan: AcceleratorPlan, options: Mapping[str, RtlOptions]
) -> dict[str, RtlOptions]:
    names = [stage.name for stage in plan.stages]
    odd = sorted(set(options) - set(names))
    if odd:
        raise PyadmmError(f"rtl: options name {odd[0]!r}, which is no layer of {names}")
    chosen = {name: options.get(name, RtlOptions()) for name in names}
    for stage in plan.stages:
        _check_options(stage, chosen[stage.name])
    if plan.input.format.bits > _INPUT_BITS_LIMIT:
        raise PyadmmError(
            f"input: the RTL takes at most {_INPUT_BITS_LIMIT} bits, not {plan.input.format.bits}"
        )
    return chosen


def _check_options(stage: StagePlan, option: RtlOptions) -> None:
    if option.dsp_groups is not None and option.dsp_groups > stage.groups:
        raise PyadmmError(
            f"{stage.name}: dsp_groups must be at most the {stage.groups} groups, "
            f"not {option.dsp_groups}"
        )
    if option.acc_mux and not may_select_products(stage):
        raise PyadmmError(
            f"{stage.name}: acc_mux needs a sparse kernel of stride 1, or a balanced one whose "
            "windows are columns, not "
            f"{stage.config.family} of stride {stage.spec.square_stride}"
        )
    beats = option.drain_beats
    if beats is not None and (beats < 1 or stage.tile_rows % beats):
        raise PyadmmError(
            f"{stage.name}: drain_beats must divide the {stage.tile_rows} rows of a tile, "
            f"not {beats}"
        )


def stage_parameters(
    stage: StagePlan, writes: RowWrites, beats: int, interval: int, option: RtlOptions
) -> dict[str, int]:
    """Parameters of ``hls/rtl/stage.sv`` for one stage, bus widths excepted.

    :param writes: how the stage's input frame is written.
    :param beats: parts in which the stage's drain takes a tile.
    :param interval: cycles that the next frame takes per write of this stage.
    """
    spec = stage.spec
    kernel, stride = (1, 1) if stage.pool is None else (stage.pool.kernel, stage.pool.stride)
    every = (1, min(SHIFT_LIMIT, stage.acc_bits + MULT_BITS))
    low, high = option.shift_range or stage.shift_range or every
    dsp_groups = stage.config.dsp_groups if option.dsp_groups is None else option.dsp_groups
    sparse = stage.config.family == "sparse"
    return {
        "SPARSE": int(sparse),
        **engine_shape(stage),
        "OUT_CHANNELS": spec.outputs,
        "CONV_GROUPS": spec.groups,
        "GROUPS": stage.groups,
        "BALANCED": int(stage.config.family == "balanced"),
        "WINDOW": stage.config.window,
        "WALKERS": stage.config.walkers,
        "FOLD": stage.fold,
        "INDEX_BITS": 0 if stage.config.family == "dense" else stage.config.index_bits,
        "ENTRY_CAPACITY": stage.entry_capacity,
        "FIFO_DEPTH": option.fifo_depth,
        "DSP_GROUPS": dsp_groups,
        "BLOCK_FRAME": int(frame_in_blocks(stage)),
        "ULTRA_FRAME": int(stage.config.ultra_frame),
        "ACC_MUX": int(selects_products(stage) if option.acc_mux is None else option.acc_mux),
        "Y_BITS": stage.output.bits,
        "Y_SIGNED": int(stage.output.signed),
        "POOL_KERNEL": kernel,
        "POOL_STRIDE": stride,
        "SHIFT_MIN": low,
        "SHIFT_MAX": high,
        "IN_ROWS": writes.rows,
        "IN_ROW_OFFSET": writes.offset,
        "IN_PHASE_FIXED": int(writes.phase_fixed),
        "DRAIN_BEATS": beats,
        "OUT_INTERVAL": interval,
    }


@dataclass(frozen=True)
class _Link:
    """The rows that one writer gives to all its readers.

    :param writer: ``None``: the input stream.
    :param shape: of the map; of blocks ``(1, blocks, integers of a block)``.
    :param banks: of the frame that takes the most cycles per write.
    :param beats: parts in which the writer's drain takes a tile.
    :param blocks: whether one unrolled stage gives blocks of pixels to another one.
    """

    name: str
    writer: Unit | None
    shape: tuple[int, int, int]
    bits: int
    ports: tuple[str, ...]
    banks: int
    beats: int
    blocks: bool = False

    def writes(self, banks: int) -> RowWrites:
        """How the rows arrive at a frame of ``banks`` banks."""
        return row_writes(self.writer, self.beats, banks)

    def context(self) -> dict[str, Any]:
        """What the top needs for the link's wires."""
        channels, height, width = self.shape
        writes = self.writes(self.banks)
        return {
            "id": self.name,
            "title": f"Rows {self.name.replace('_', ' ', 1)}: {channels} x {height} x {width}, "
            f"{self.bits} bits",
            "channel_bits": max(index_width(channels), 1),
            "row_bits": index_width(height + writes.offset + writes.rows + 1),
            "rows": writes.rows,
            "data_bits": writes.rows * width * self.bits,
            "ports": self.ports,
        }


def _links(plan: AcceleratorPlan, options: Mapping[str, RtlOptions]) -> dict[str, _Link]:
    """The link behind the input and every stage, by the node that it carries."""
    names = identifiers([INPUT, *(unit.name for unit in plan.units)])
    links = {}
    for writer in (None, *plan.units):
        node = INPUT if writer is None else writer.node
        readers = plan.readers(node)
        banks = min((r.banks if isinstance(r, StagePlan) else 1 for r, _ in readers), default=1)
        beats = 1
        if isinstance(writer, StagePlan) and writer.constants is None:
            beats = options[writer.name].drain_beats or choose_beats(writer, banks)
        shape = plan.input.shape if writer is None else writer.output_shape
        reader = readers[0][0] if len(readers) == 1 else None
        blocks = isinstance(reader, StagePlan) and block_writer(plan, reader) is not None
        if blocks:
            shape = Blocks(cast("StagePlan", writer)).frame
        links[node] = _Link(
            name=f"of_{names[INPUT if writer is None else writer.name]}",
            writer=writer,
            shape=shape,
            bits=plan.input.format.bits if writer is None else writer.output.bits,
            ports=tuple(f"{names[r.name]}_{place}" for r, place in readers) or ("logits_0",),
            banks=banks,
            beats=beats,
            blocks=blocks,
        )
    return links


def rtl_context(plan: AcceleratorPlan, options: Mapping[str, RtlOptions]) -> dict[str, Any]:
    """Everything that the RTL templates name."""
    links = _links(plan, options)
    units = plan.units
    names = identifiers([INPUT, *(unit.name for unit in units)])
    holders: list[Unit] = [*plan.loadable, *(row for row in plan.rows if row.scales)]
    bus = _bus_widths(plan)
    order = {unit.name: i for i, unit in enumerate(holders)}
    return {
        "generated_by": f"Generated by pyadmm {__version__}; do not edit.",
        "title": f"{names[units[0].name]} to {names[plan.last.name]} for {plan.board.name}",
        "top": TOP,
        "in_stream": IN_STREAM,
        "out_stream": OUT_STREAM,
        "in_msb": plan.stream.word_bits - 1,
        "in_keep_msb": plan.stream.word_bits // 8 - 1,
        "wide": plan.stream.word_bits > WORD_BITS,
        "cfg": _configuration_context(holders, bus),
        "links": [link.context() for link in links.values()],
        "first": links[INPUT].name,
        "last": links[plan.last.node].name,
        "unpack": _parameters(_unpack_parameters(plan)),
        "pack": _parameters(_pack_parameters(plan.last, links[plan.last.node].writes(1))),
        "weighted": len(plan.stages),
        "holders": [f"stage_{names[unit.name]}" for unit in holders],
        "stages": [
            {
                **_stage_context(plan, unit, names, links, order),
                "index": f"{bus['stage_bits']}'d{order.get(unit.name, 0)}",
                "parameters": _parameters(_unit_parameters(unit, links, options, bus)),
            }
            for unit in units
        ],
    }


def _configuration_context(holders: Sequence[Unit], bus: Mapping[str, int]) -> dict[str, Any]:
    """Parameters of the module that loads the memories of ``holders``."""
    return {
        **bus,
        "stages": len(holders),
        "groups": _words(unit.groups if isinstance(unit, StagePlan) else 1 for unit in holders),
        "entries": _words(
            unit.entry_capacity if isinstance(unit, StagePlan) else 1 for unit in holders
        ),
        "slots": _words(
            unit.slot_capacity if isinstance(unit, StagePlan) else 1 for unit in holders
        ),
    }


def _stage_context(
    plan: AcceleratorPlan,
    unit: Unit,
    names: Mapping[str, str],
    links: Mapping[str, _Link],
    order: Mapping[str, int],
) -> dict[str, Any]:
    """What the template of the top module names of one stage.

    :param links: by the node that writes them.
    :param order: places of the units that hold weights or scales, in the order of loading.
    """
    name = names[unit.name]
    return {
        "id": f"stage_{name}",
        "title": _title(unit, name),
        "module": _module(unit, name),
        "holds": unit.name in order,
        "weighted": isinstance(unit, StagePlan),
        "constants": unit in plan.stages and unit.name not in order,
        "busy": plan.stages.index(unit) if isinstance(unit, StagePlan) else 0,
        "sources": [
            {"prefix": prefix, "link": links[source].name, "port": f"{name}_{place}"}
            for place, (source, prefix) in enumerate(
                zip(unit.sources, _prefixes(unit), strict=True)
            )
        ],
        "target": links[unit.node].name,
    }


def _title(unit: Unit, name: str) -> str:
    if isinstance(unit, StagePlan):
        return f"{name}: {unit.config.family}, {unit.groups} groups x {unit.lanes} lanes"
    return f"{name}: {unit.kind}, {unit.lanes} lanes"


def _module(unit: Unit, name: str) -> str:
    if isinstance(unit, StagePlan):
        return "stage" if unit.constants is None else f"{_UNROLLED}{name}"
    return "add_stage" if unit.kind == "add" else "pool_stage"


def _unrolled_files(
    plan: AcceleratorPlan, layer: CompressedLayer, stage: StagePlan, links: Mapping[str, _Link]
) -> dict[str, str]:
    """The two modules of a stage whose weights are constants: its shell and its adder graph."""
    names = identifiers([INPUT, *(unit.name for unit in plan.units)])
    source, out = links[stage.source], links[stage.node]
    writes = source.writes(stage.banks)
    shell = rtl_stage_context(
        layer,
        stage,
        source.context(),
        out.context(),
        front={
            **_source_facts(plan, stage),
            "IN_ROWS": writes.rows,
            "IN_ROW_OFFSET": writes.offset,
            "IN_PHASE_FIXED": int(writes.phase_fixed),
        },
        blocks=out.blocks,
    )
    name = f"{_UNROLLED}{names[stage.name]}"
    common = {
        "generated_by": f"Generated by pyadmm {__version__}; do not edit.",
        "title": _title(stage, names[stage.name]),
    }
    graph = rtl_graph_context(layer, stage)
    return {
        f"rtl/{name}.sv": render(
            "rtl_unrolled_stage.sv.j2", {**common, **shell, "name": name, "graph": f"{name}_graph"}
        ),
        f"rtl/{name}_graph.sv": render(
            "rtl_unrolled_graph.sv.j2", {**common, **graph, "name": f"{name}_graph"}
        ),
    }


def _source_facts(plan: AcceleratorPlan, stage: StagePlan) -> dict[str, int]:
    """What the words of an unrolled stage's frame hold: columns of one channel, or of all."""
    channels, _, width = stage.spec.input_shape
    writer = block_writer(plan, stage)
    if writer is None:
        return {"BLOCKS": 0, "SOURCE_CHANNELS": channels, "WORD": width, "WORDS": 1}
    shape = Blocks(writer)
    return {
        "BLOCKS": 1,
        "SOURCE_CHANNELS": channels,
        "WORD": shape.pooled_pixels,
        "WORDS": shape.pooled_groups,
    }


def _prefixes(unit: Unit) -> tuple[str, ...]:
    """What the ports of a stage's sources are called."""
    return ("in",) if len(unit.sources) == 1 else ("a", "b")


def _unit_parameters(
    unit: Unit,
    links: Mapping[str, _Link],
    options: Mapping[str, RtlOptions],
    bus: Mapping[str, int],
) -> dict[str, int]:
    """Parameters of a stage's module."""
    if isinstance(unit, ElementwisePlan):
        return row_parameters(unit, [links[source].writes(1) for source in unit.sources])
    if unit.constants is not None:
        return {}
    out = links[unit.node]
    writes, interval = links[unit.source].writes(unit.banks), out.writes(out.banks).interval
    own = stage_parameters(unit, writes, out.beats, interval, options[unit.name])
    return {
        **own,
        "CFG_GROUP_BITS": bus["group_bits"],
        "CFG_ADDR_BITS": bus["addr_bits"],
    }


def row_parameters(row: ElementwisePlan, writes: Sequence[RowWrites]) -> dict[str, int]:
    """Parameters of ``hls/rtl/add_stage.sv`` or ``pool_stage.sv``.

    :param writes: how the frames of every source are written.
    """
    channels, height, width = row.shape
    product_bits = 1 if row.kind == "add" else MULT_BITS
    common = {
        "CHANNELS": channels,
        "HEIGHT": height,
        "WIDTH": width,
        "SUM_BITS": row.sum_bits,
        "Y_BITS": row.output.bits,
        "Y_SIGNED": int(row.output.signed),
        "LANES": row.lanes,
        "ULTRA": int(row.storage == "uram"),
        "SHIFT_MAX": min(SHIFT_LIMIT, row.sum_bits + product_bits),
    }
    if row.kind == "add":
        for letter, form, frames, written in zip("AB", row.inputs, row.frames, writes, strict=True):
            common |= {
                f"{letter}_BITS": form.bits,
                f"{letter}_SIGNED": int(form.signed),
                f"{letter}_FRAMES": frames,
                f"{letter}_ROWS": written.rows,
                f"{letter}_ROW_OFFSET": written.offset,
            }
        return common
    return {
        **common,
        "AVERAGE": int(row.kind == "avgpool"),
        "X_BITS": row.inputs[0].bits,
        "X_SIGNED": int(row.inputs[0].signed),
        "KERNEL": row.kernel,
        "STRIDE": row.stride,
        "FRAMES": row.frames[0],
        "IN_ROWS": writes[0].rows,
        "IN_ROW_OFFSET": writes[0].offset,
    }


def _bus_widths(plan: AcceleratorPlan) -> dict[str, int]:
    depth = max(max(s.entry_capacity, s.slot_capacity) for s in plan.loadable)
    holders = len(plan.loadable) + sum(row.scales for row in plan.rows)
    return {
        "stage_bits": max(index_width(holders), 1),
        "group_bits": max(index_width(max(s.groups for s in plan.loadable)), 1),
        "addr_bits": max(index_width(depth), 1),
    }


def _words(values: Any) -> str:
    """A concatenation of 32-bit numbers, the first one lowest."""
    return "{" + ", ".join(f"32'd{value}" for value in reversed(list(values))) + "}"


def _unpack_parameters(plan: AcceleratorPlan) -> dict[str, int | str]:
    spec = plan.input
    channels, height, width = spec.shape
    offsets = spec.offset if len(spec.offset) > 1 else spec.offset * channels
    return {
        "CHANNELS": channels,
        "HEIGHT": height,
        "WIDTH": width,
        "X_BITS": spec.format.bits,
        "X_SIGNED": int(spec.format.signed),
        "SHIFT": spec.shift,
        "OFFSETS": "{" + ", ".join(f"8'd{o}" for o in reversed(offsets)) + "}",
        "PACKED": int(plan.stream.packed),
        "PIXEL_BITS": plan.pixel_bits,
        "WORD_BITS": plan.stream.word_bits,
        "STEP": plan.step_pixels,
    }


def _pack_parameters(stage: Unit, writes: RowWrites) -> dict[str, int]:
    channels, height, width = stage.output_shape
    return {
        "CHANNELS": channels,
        "HEIGHT": height,
        "WIDTH": width,
        "Y_BITS": stage.output.bits,
        "Y_SIGNED": int(stage.output.signed),
        "IN_ROWS": writes.rows,
        "IN_ROW_OFFSET": writes.offset,
        "IN_PHASE_FIXED": int(writes.phase_fixed),
    }


def _parameters(values: Mapping[str, int | str]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]
