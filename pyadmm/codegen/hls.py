"""Code generation: a model and its accelerator plan become the files of a build.

Pure: nothing is written or run here. Kernels are copied from ``hls/``, a model's numbers go through
``templates/*.j2`` with a context computed below; the templates hold no arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from pyadmm import __version__
from pyadmm.codegen.unrolled import hls_context, unrolled_layer
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.cost import storage_impl
from pyadmm.hardware.elementwise_stage import ElementwisePlan
from pyadmm.hardware.input_stream import stream_bytes
from pyadmm.hardware.plan import (
    WORD_BITS,
    AcceleratorPlan,
    BuildPlan,
    StagePlan,
    Unit,
    files_digest,
)
from pyadmm.hardware.registers import DATAFLOW
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import INPUT, CompressedLayer, CompressedModel

TOP = "pyadmm_top"
IN_STREAM = "in_stream"
OUT_STREAM = "out_stream"
IDENT_FILE = "src/ident.hpp"
CONSTANTS_FILE = "src/constants.hpp"
"""Weights of unrolled stages; only where there are any."""
WEIGHTS_FILE = "data/weights.bin"
IMAGES_FILE = "data/images.bin"
LOGITS_FILE = "data/logits.bin"
SAMPLE_IMAGES = 8
TEMPLATES = {
    "config.hpp.j2": "src/config.hpp",
    "top.hpp.j2": "src/top.hpp",
    "top.cpp.j2": "src/top.cpp",
    "testbench.cpp.j2": "tb/testbench.cpp",
}
"""Templates of the HLS build and the files that they give."""
_IDENT_TEMPLATE = "ident.hpp.j2"


def generate(
    model: CompressedModel, plan: AcceleratorPlan, images: NDArray[np.uint8] | None = None
) -> BuildPlan:
    """The HLS C++ build of ``model`` on the accelerator ``plan``.

    :param images: uint8 ``(N, C, H, W)`` vectors for the testbench; ``None``: a few random ones.
    :raises PyadmmError: where the model does not fit the plan.
    """
    image = weight_image(model, plan)
    if images is None:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (SAMPLE_IMAGES, *plan.input.shape)).astype(np.uint8)
    files: dict[str, str | bytes] = dict(_kernel_files())
    context = top_context(plan, model)
    if context["constants"]:
        files[CONSTANTS_FILE] = render("constants.hpp.j2", context)
    for template, target in TEMPLATES.items():
        files[target] = render(template, context)
    ident = int(files_digest(files)[:8], 16)
    files[IDENT_FILE] = render(_IDENT_TEMPLATE, {**context, "ident": f"0x{ident:08x}"})
    data: dict[str, str | bytes] = {
        WEIGHTS_FILE: image.astype("<u4").tobytes(),
        "data/weights.hex": "".join(f"{word:08x}\n" for word in image.tolist()),
        IMAGES_FILE: stream_bytes(images, plan).tobytes(),
        LOGITS_FILE: model.run(images).astype("<i4").tobytes(),
    }
    return BuildPlan(files, data)


def render(template: str, context: Mapping[str, Any]) -> str:
    """``templates/<template>`` with ``context``; a missing name is an error (StrictUndefined)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(asset_dir("templates")),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(context)


def build_ident(build: BuildPlan) -> int:
    """The ``ident`` register of a build's hardware."""
    text = build.files[IDENT_FILE]
    found = re.search(r"0x([0-9a-f]{8})u", text if isinstance(text, str) else text.decode())
    if found is None:
        raise PyadmmError(f"build: {IDENT_FILE} holds no identifier")
    return int(found[1], 16)


def _kernel_files() -> Iterable[tuple[str, str]]:
    for source, target in (("include", "include"), ("csim", "csim_include")):
        for path in sorted((asset_dir("hls") / source).iterdir()):
            if path.suffix in {".hpp", ".h"}:
                yield f"{target}/{path.name}", path.read_text(encoding="utf-8")


_RESERVED = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    constexpr const_cast continue decltype default delete do double dynamic_cast else enum explicit
    export extern false float for friend goto if inline int long mutable namespace new noexcept not
    not_eq nullptr operator or or_eq private protected public register reinterpret_cast return short
    signed sizeof static static_assert static_cast struct switch template this thread_local throw
    true try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor
    xor_eq
    always always_comb always_ff always_latch assign automatic begin bind bit buf byte cell config
    cover deassign defparam design disable edge end endcase endfunction endgenerate endmodule event
    final first_match forever fork function generate genvar global highz0 highz1 iff import incdir
    initial inout input inside instance integer interface join large liblist library local
    localparam logic macromodule matches medium modport module nand negedge nmos nor notif0 notif1
    null output package packed parameter pmos posedge primitive priority program property pull0
    pull1 pulldown pullup rand randc rcmos real realtime ref reg release repeat rnmos rpmos rtran
    scalared sequence shortint shortreal showcancelled small solve specify specparam string strong0
    strong1 super supply0 supply1 table tagged task time timeprecision timeunit tran tri tri0 tri1
    triand trior trireg type unique use uwire var vectored virtual wait wait_order wand weak0 weak1
    wildcard wire with within wor xnor
    """.split()  # noqa: SIM905
) - {INPUT}
"""Keywords of C++ and SystemVerilog."""
_OURS = re.compile(
    r"(cfg|copy\d*|fills|frame|graph|logits|of|out|scale|second|slots|stage|words)(_|$)"
)
"""How the generated code's own names begin."""


_LONGEST = 100
"""Letters of an identifier, which names files as well."""


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """A C++, SystemVerilog and Tcl identifier for every name, all different.

    They differ in more than upper and lower case, as they name files, too.

    >>> identifiers(["conv1", "features.0", "features_0"])
    {'conv1': 'conv1', 'features.0': 'features_0', 'features_0': 'features_0_2'}
    >>> identifiers(["0", "class", "größe"])
    {'0': 'layer_0', 'class': 'layer_class', 'größe': 'gr_e'}
    >>> identifiers(["conv", "Conv"])
    {'conv': 'conv', 'Conv': 'Conv_2'}
    """
    result: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"[^0-9A-Za-z]+", "_", name)[:_LONGEST].strip("_") or "layer"
        if base[0].isdigit() or base in _RESERVED or _OURS.match(base):
            base = f"layer_{base}"
        candidate, number = base, 2
        while candidate.lower() in taken:
            candidate, number = f"{base}_{number}", number + 1
        result[name] = candidate
        taken.add(candidate.lower())
    return result


@dataclass(frozen=True)
class _Frame:
    """A frame of the HLS top: an array and the type of its shape.

    :param depth: words of one bank.
    :param count: images that it holds.
    :param storage: primitive that its banks must be built of, if any.
    """

    name: str
    shape: str
    shape_type: str
    depth: int
    count: int = 2
    storage: str | None = None

    @property
    def impl(self) -> str:
        """Primitive that its banks are built of."""
        return self.storage or storage_impl(self.depth)


@dataclass(frozen=True)
class _Outgoing:
    """The frames that the integers of one node are written to.

    :param target: the frame that its stage writes.
    :param frames: that frame, and those to which ``copies`` bring it.
    """

    target: _Frame
    frames: tuple[_Frame, ...]
    copies: tuple[dict[str, str], ...] = ()


def top_context(plan: AcceleratorPlan, model: CompressedModel | None = None) -> dict[str, Any]:
    """Everything that the HLS templates name.

    :param model: needed where a stage is unrolled: its weights are part of the hardware.
    """
    names = identifiers([INPUT, *(unit.name for unit in plan.units)])
    outgoing = {INPUT: _outgoing(plan, names, None)}
    outgoing |= {unit.node: _outgoing(plan, names, unit) for unit in plan.units}
    frames = [frame for out in outgoing.values() for frame in out.frames]
    holders: list[Unit] = [*plan.loadable, *(row for row in plan.rows if row.scales)]
    return {
        "generated_by": f"Generated by pyadmm {__version__}; do not edit.",
        "name": plan.name,
        "board": plan.board.name,
        "clock_ns": f"{plan.board.clock_ns:g}",
        "top": TOP,
        "registers": {one.name: f"0x{one.offset:02x}" for one in DATAFLOW},
        "in_stream": IN_STREAM,
        "out_stream": OUT_STREAM,
        **_stream_context(plan.stream.word_bits),
        "image_bytes": plan.image_bytes,
        "logits": plan.logits,
        "weight_words": plan.weight_words,
        "input": _input_context(plan),
        "frames": [{**asdict(frame), "impl": frame.impl} for frame in frames],
        "first": asdict(outgoing[INPUT].target),
        "last": asdict(outgoing[plan.last.node].target),
        "copies": outgoing[INPUT].copies,
        "calls": [_call(unit, names, outgoing[unit.node]) for unit in plan.units],
        "stages": [_loadable_context(stage, names, holders[-1]) for stage in plan.loadable],
        "constants": [
            _constant_context(unrolled_layer(model, stage), stage, names)
            for stage in plan.stages
            if stage.constants is not None
        ],
        "rows": [_row_context(row, names) for row in plan.rows],
        "scales": [
            {"name": f"scale_{names[row.name]}", "is_last": _cpp(row is holders[-1])}
            for row in plan.rows
            if row.scales
        ],
    }


def _stream_context(bits: int) -> dict[str, Any]:
    """What the templates name of an input stream with words of ``bits`` bits."""
    wide = bits != WORD_BITS
    return {
        "wide": wide,
        "words": "words" if wide else "in",
        "in_type": f"StreamOf<{bits}>" if wide else "AxiStream",
        "accelerator_type": f"AcceleratorOf<{bits}>" if wide else "Accelerator",
        "testbench_type": f"TestbenchOf<{bits}>" if wide else "Testbench",
    }


def _loadable_context(stage: StagePlan, names: Mapping[str, str], last: Unit) -> dict[str, Any]:
    """What the templates name of a stage whose weights are loaded; ``last``: loaded at the end."""
    name = names[stage.name]
    return {
        "title": _title(stage),
        "config": f"cfg_{name}",
        "fields": _fields(_stage_values(stage)),
        "words": f"words_{name}",
        "words_impl": storage_impl(stage.entry_capacity),
        "slots": f"slots_{name}",
        "slots_impl": storage_impl(stage.slot_capacity),
        "fills": f"fills_{name}",
        "is_last": _cpp(stage is last),
    }


def _constant_context(
    layer: CompressedLayer, stage: StagePlan, names: Mapping[str, str]
) -> dict[str, Any]:
    """What the templates name of a stage whose weights are part of the hardware."""
    return {
        "title": _title(stage),
        "fields": _fields(_stage_values(stage)),
        **hls_context(layer, stage, names[stage.name]),
    }


def _row_context(row: ElementwisePlan, names: Mapping[str, str]) -> dict[str, Any]:
    """What the templates name of an elementwise stage."""
    return {
        "title": _row_title(row),
        "config": f"cfg_{names[row.name]}",
        "fields": _fields(_row_values(row)),
    }


def _outgoing(plan: AcceleratorPlan, names: Mapping[str, str], unit: Unit | None) -> _Outgoing:
    """Frames behind ``unit`` (``None``: the input): its readers' own, and copies on the way."""
    node = INPUT if unit is None else unit.node
    name = names[INPUT if unit is None else unit.name]
    ports = [_port(reader, names, place) for reader, place in plan.readers(node)]
    shape_type, depth = _plain_shape(plan, names, unit)
    if not ports:
        ports = [_Frame("out_frame", "logits_output", shape_type, depth)]
    if len(ports) == 1:
        return _Outgoing(ports[0], tuple(ports))
    # A frame has one writer and one reader: each copy serves one reader and the next copy.
    copies = [
        _Frame(f"copy{number}_{name}", f"{name}_copy{number}", shape_type, depth)
        for number in range(len(ports) - 1)
    ]
    rests = [*copies[1:], ports[-1]]
    calls = tuple(
        {
            "types": ", ".join(frame.shape for frame in frames),
            "arguments": ", ".join(frame.name for frame in frames),
        }
        for frames in zip(copies, ports, rests, strict=False)
    )
    return _Outgoing(copies[0], (*copies, *ports), calls)


def _port(unit: Unit, names: Mapping[str, str], place: int) -> _Frame:
    """The frame of a reader."""
    name = names[unit.name]
    if isinstance(unit, StagePlan):
        shape_type = f"pyadmm::Stage<cfg_{name}>::Input"
        storage = "bram" if unit.config.block_frame else None
        storage = "uram" if unit.config.ultra_frame else storage
        shape = f"{name}_input"
        return _Frame(f"frame_{name}", shape, shape_type, unit.frame_depth, storage=storage)
    letter, prefix = "AB"[place], ("frame", "second")[place]
    shape_type = f"pyadmm::ElementwiseStage<cfg_{name}>::Input{letter}"
    shape = f"{name}_{('input', 'second')[place]}"
    storage, count = ("uram" if unit.storage == "uram" else None), unit.frames[place]
    return _Frame(f"{prefix}_{name}", shape, shape_type, unit.frame_depth, count, storage)


def _plain_shape(
    plan: AcceleratorPlan, names: Mapping[str, str], unit: Unit | None
) -> tuple[str, int]:
    """Type and depth of a frame in one bank that holds what ``unit`` gives."""
    channels, height, width = plan.input.shape if unit is None else unit.output_shape
    if unit is None:
        bits = "image_format::BITS, image_format::SIGNED"
        shape_type = f"pyadmm::RowFrame<{bits}, {channels}, {height}, {width}>"
    elif isinstance(unit, StagePlan):
        shape_type = f"pyadmm::LogitFrame<cfg_{names[unit.name]}>"
    else:
        shape_type = f"pyadmm::ElementwiseStage<cfg_{names[unit.name]}>::Output"
    return shape_type, channels * height


def _call(unit: Unit, names: Mapping[str, str], out: _Outgoing) -> dict[str, Any]:
    """The call of a stage and the copies of what it gives."""
    name = names[unit.name]
    inputs = [_port(unit, names, place).name for place in range(len(unit.sources))]
    types = [f"cfg_{name}"]
    if isinstance(unit, StagePlan):
        function = f"{unit.config.family}_stage"
        parameters = [f"words_{name}", f"slots_{name}", f"fills_{name}"]
        if unit.constants is not None:
            types.append(f"graph_{name}")
            parameters = []
    else:
        function = f"{unit.kind}_stage"
        parameters = [f"scale_{name}"] if unit.scales else []
    return {
        "function": function,
        "types": ", ".join([*types, out.target.shape]),
        "arguments": ", ".join([*parameters, *inputs, out.target.name]),
        "output": asdict(out.target),
        "copies": out.copies,
    }


def _input_context(plan: AcceleratorPlan) -> dict[str, Any]:
    spec = plan.input
    offsets = spec.offset if len(spec.offset) > 1 else spec.offset * spec.shape[0]
    return {
        "bits": spec.format.bits,
        "signed": _cpp(spec.format.signed),
        "packed": _cpp(plan.stream.packed),
        "pixel_bits": plan.pixel_bits,
        "step": plan.step_pixels,
        "shift": spec.shift,
        "offsets": list(offsets),
    }


def _title(stage: StagePlan) -> str:
    """One printable line that says what the stage is."""
    name = re.sub(r"[^ -~]", "?", stage.name).replace("\\", "/")
    pool = "" if stage.pool is None else f", max-pool {stage.pool.kernel}/{stage.pool.stride}"
    lanes = f"{stage.groups} groups x {stage.lanes} lanes"
    shapes = f"{stage.spec.input_shape} -> {stage.output_shape}"
    return f"{name}: {stage.config.family} {stage.spec.kind}, {shapes}{pool}; {lanes}"


def _row_title(row: ElementwisePlan) -> str:
    """One printable line that says what the stage is."""
    name = re.sub(r"[^ -~]", "?", row.name).replace("\\", "/")
    window = "" if row.kind == "add" else f" {row.kernel}/{row.stride}"
    return f"{name}: {row.kind}{window}, {row.shape} -> {row.output_shape}; {row.lanes} lanes"


def _cpp(value: bool | int) -> str:
    """A C++ literal."""
    return str(value).lower()


def _stage_values(stage: StagePlan) -> dict[str, bool | int]:
    spec = stage.spec
    channels, height, width = spec.input_shape
    outputs, out_height, out_width = spec.output_shape
    pool = (1, 1) if stage.pool is None else (stage.pool.kernel, stage.pool.stride)
    return {
        "SPARSE": stage.config.family == "sparse",
        "BALANCED": stage.config.family == "balanced",
        "WINDOW": stage.config.window,
        "WALKERS": stage.config.walkers,
        "FOLD": stage.fold,
        "C": channels,
        "H": height,
        "W": width,
        "KH": spec.kernel[0],
        "KW": spec.kernel[1],
        "STRIDE": spec.square_stride,
        "PADDING": spec.square_padding,
        "CONV_GROUPS": spec.groups,
        "O": outputs,
        "H_OUT": out_height,
        "W_OUT": out_width,
        "POOL": pool[0],
        "POOL_STRIDE": pool[1],
        "R": stage.tile_rows,
        "G": stage.groups,
        "INDEX_BITS": 0 if stage.config.family == "dense" else stage.config.index_bits,
        "WEIGHT_BITS": stage.weight_bits,
        "ACT_BITS": stage.input.bits,
        "ACT_SIGNED": stage.input.signed,
        "ACC_BITS": stage.acc_bits,
        "OUT_BITS": stage.output.bits,
        "OUT_SIGNED": stage.output.signed,
        "ENTRY_CAPACITY": stage.entry_capacity,
        "SLOT_CAPACITY": stage.slot_capacity,
    }


def _row_values(row: ElementwisePlan) -> dict[str, bool | int]:
    channels, height, width = row.shape
    return {
        "C": channels,
        "H": height,
        "W": width,
        "KERNEL": row.kernel,
        "STRIDE": row.stride,
        "LANES": row.lanes,
        "A_BITS": row.inputs[0].bits,
        "A_SIGNED": row.inputs[0].signed,
        "B_BITS": row.inputs[-1].bits,
        "B_SIGNED": row.inputs[-1].signed,
        "SUM_BITS": row.sum_bits,
        "WORK_BITS": row.work_bits,
        "OUT_BITS": row.output.bits,
        "OUT_SIGNED": row.output.signed,
    }


def _fields(values: Mapping[str, bool | int]) -> list[dict[str, str]]:
    return [
        {"type": "bool" if isinstance(v, bool) else "int", "name": k, "value": _cpp(v)}
        for k, v in values.items()
    ]


def vendor_context(plan: AcceleratorPlan) -> dict[str, Any]:
    """What a vendor flow needs of a build; paths are relative to the build's folder.

    ``csim_arguments`` make the testbench load the weights, run the sample images and compare.
    """
    weights, images, logits = (Path(f).name for f in (WEIGHTS_FILE, IMAGES_FILE, LOGITS_FILE))
    return {
        "project": identifiers([plan.name])[plan.name],
        "top": TOP,
        "sources": ("src/top.cpp",),
        "testbenches": ("tb/testbench.cpp",),
        "testbench_data": (WEIGHTS_FILE, IMAGES_FILE, LOGITS_FILE),
        "include_dirs": ("src", "include"),
        "csim_arguments": f"load {weights} infer {images} csim_logits.bin expect {logits}",
        "in_stream_bits": plan.stream.word_bits,
    }
