"""The deploy bundle: everything a board needs, planned as bytes and written as one folder.

``deploy/`` holds ``bundle/`` (manifest, weight images, golden vectors, CPU reference, curves and
the bitstream, if there is one), and an installable wheel of ``host/`` with the same bundle inside:
``pip install`` of that single file on the board is enough, and needs no network.

``pyadmm deploy DEPLOY --bitstream FILE.bit`` adds a bitstream built later;
``--add-model FILE.admm`` adds the weights of another model for the same hardware.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pyadmm.codegen.hls import IDENT_FILE, build_ident
from pyadmm.codegen.rtl import RTL_IDENT_FILE, rtl_ident
from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import to_json
from pyadmm.deploy.manifest import (
    MANIFEST,
    ClockEntry,
    DesignEntry,
    FileEntry,
    GoldenEntry,
    InputEntry,
    LayerEntry,
    Manifest,
    ModelEntry,
    SequentialManifest,
    StreamsEntry,
    parse_manifest,
)
from pyadmm.deploy.wheel import build_wheel
from pyadmm.hardware.fit import fitted
from pyadmm.hardware.lowering import hardware_form
from pyadmm.hardware.plan import WORD_BITS, AcceleratorPlan, BuildPlan, Unit, files_digest
from pyadmm.hardware.plan_json import ACCELERATOR, accelerator_facts, read_accelerator
from pyadmm.hardware.registers import OFFSETS
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import Add, AvgPool, CompressedModel, Concat, Lookup, MaxPool, Node, Product

BUNDLE = "bundle"
BIT_BIN = "design.bit.bin"
"""The bitstream as Linux' fpga_manager takes it."""
CLOCK_INDEX = 0
MODES = {"infer": 0, "load": 1, "read_back": 2}
VLNV = {"hls": "xilinx.com:hls:pyadmm_top:1.0", "rtl": "pyadmm:rtl:pyadmm_top:1.0"}
"""Types of the accelerator's IP; ``host.driver`` binds to them."""
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")


@dataclass(frozen=True)
class Design:
    """The hardware that a bundle is for.

    :param digest: of the build plan; the ``ident`` register is its first 32 bits.
    :param ip: instance of the accelerator in the block design; ``dma`` that of the AXI DMA.
    :param bit: content of the bitstream, with ``hwh`` its hardware description; both or neither.
    """

    plan: AcceleratorPlan
    digest: str
    kernel: Literal["hls", "rtl"]
    ip: str = "pyadmm_top_0"
    dma: str = "axi_dma_0"
    bit: bytes | None = None
    hwh: bytes | None = None

    def __post_init__(self) -> None:
        if (self.bit is None) != (self.hwh is None):
            raise PyadmmError("deploy: a bitstream needs its .hwh, and the other way round")
        if re.fullmatch(r"[0-9a-f]{64}", self.digest) is None:
            raise PyadmmError(f"deploy: digest must be a sha256 in hexadecimal, not {self.digest}")

    @classmethod
    def of(cls, plan: AcceleratorPlan, build: BuildPlan) -> Design:
        """The design of a build as :func:`~pyadmm.codegen.hls.generate` or ``generate_rtl`` gives it.

        Its digest covers every file but the one that holds the identifier made from it.
        """
        kernel: Literal["hls", "rtl"] = "rtl" if RTL_IDENT_FILE in build.files else "hls"
        named = {RTL_IDENT_FILE, IDENT_FILE}
        digest = files_digest({k: v for k, v in build.files.items() if k not in named})
        ident = rtl_ident(build) if kernel == "rtl" else build_ident(build)
        if ident != int(digest[:8], 16):
            raise PyadmmError(
                f"deploy: the build's hardware says it is 0x{ident:08x}, its files say "
                f"0x{digest[:8]}; pass the build as it was generated"
            )
        return cls(plan, digest, kernel)


@dataclass(frozen=True)
class ModelPack:
    """A model for the design, and images to test it with.

    :param images: ``(N, C, H, W)`` of the model's input type, N at least 1; their golden logits are
        computed here.
    :param labels: true classes ``(N,)``; None where they are not known.
    """

    model: CompressedModel
    images: NDArray[np.uint8] | NDArray[np.int8]
    labels: NDArray[np.integer] | None

    def __post_init__(self) -> None:
        labels = len(self.images) if self.labels is None else len(self.labels)
        if len(self.images) < 1 or len(self.images) != labels:
            raise PyadmmError(
                f"deploy: {len(self.images)} images and {labels} labels for "
                f"{self.model.name}; give one label per image, at least one"
            )
        if _PLAIN.fullmatch(self.model.name) is None:
            raise PyadmmError(f"deploy: model name {self.model.name!r} is not fit for a file name")


def plan_deploy(design: Design, packs: Sequence[ModelPack], curves: str | None = None) -> BuildPlan:
    """All files of the deploy folder.

    :param packs: the models, the default one first; the same layers, other weights.
    :param curves: break-even records for the explorer notebook, as ``breakeven`` writes them in
        JSON.
    :raises PyadmmError: if a model does not fit the design, or there is none.
    """
    if not packs:
        raise PyadmmError("deploy: needs at least one model")
    names = [pack.model.name for pack in packs]
    if len(set(names)) != len(names):
        raise PyadmmError(f"deploy: two models of one name among {', '.join(names)}")
    files: dict[str, bytes] = {}
    models = [_add_model(files, design.plan, pack) for pack in packs]
    for pack in packs[1:]:
        _require_type(pack.model, str(packs[0].model.input.dtype))
    manifest = _manifest(design, packs[0].model, models)
    files[ACCELERATOR] = json_bytes(accelerator_facts(design.plan))
    if curves is not None:
        manifest = replace(manifest, curves=add_file(files, "curves.json", curves.encode()))
    if design.bit is not None and design.hwh is not None:
        manifest = manifest.with_bitstream(add_bitstream_files(files, design.bit, design.hwh))
    files[MANIFEST] = manifest.to_json()
    return bundle_files(files)


def _require_type(model: CompressedModel, dtype: str) -> None:
    """Refuse a model whose data the driver of the bundle would take for something else."""
    if str(model.input.dtype) != dtype:
        raise PyadmmError(
            f"deploy: {model.name} takes {model.input.dtype} images, the bundle {dtype}; make a "
            "bundle of its own"
        )


def write_deploy(folder: Path, plan: BuildPlan) -> None:
    """Write the plan; a wheel of earlier content, which has another name, and the
    :data:`BIT_BIN` of an earlier bitstream go.
    """
    plan.write(folder)
    if f"{BUNDLE}/{BIT_BIN}" not in plan.files:
        (folder / BUNDLE / BIT_BIN).unlink(missing_ok=True)
    for wheel in folder.glob("pyadmm_host-*.whl"):
        if wheel.name not in plan.files:
            wheel.unlink()


def add_bitstream(folder: Path, bit: Path, clock_mhz: float | None = None) -> BuildPlan:
    """The deploy folder with a bitstream that was built after it; its ``.hwh`` is in the same folder,
    and where there is one its ``.bit.bin``, as Linux' fpga_manager takes it.

    :param clock_mhz: the fastest clock of the bitstream; the board then runs it no faster.
    :raises PyadmmError: if a file is missing or the folder holds no bundle.
    """
    files, manifest = read_bundle(folder)
    contents = []
    for path in (bit, bit.with_suffix(".hwh")):
        if not path.is_file():
            raise PyadmmError(f"deploy: {path} does not exist; .bit and .hwh belong together")
        contents.append(path.read_bytes())
    bitfile = add_bitstream_files(files, contents[0], contents[1])
    files.pop(BIT_BIN, None)
    if (swapped := bit.with_name(f"{bit.name}.bin")).is_file():
        files[BIT_BIN] = swapped.read_bytes()
    files[MANIFEST] = manifest.with_bitstream(bitfile, clock_mhz).to_json()
    return bundle_files(files)


def add_model(folder: Path, pack: ModelPack) -> BuildPlan:
    """The deploy folder with another model, which needs no new bitstream.

    :raises PyadmmError: if the model does not fit the folder's accelerator.
    """
    files, manifest = read_dataflow(folder)
    if any(model.name == pack.model.name for model in manifest.models):
        raise PyadmmError(f"deploy: the bundle already has a model {pack.model.name!r}; rename it")
    _require_type(pack.model, manifest.input.dtype)
    plan = read_accelerator(folder / BUNDLE)
    models = (*manifest.models, _add_model(files, plan, pack))
    files[MANIFEST] = replace(manifest, models=models).to_json()
    return bundle_files(files)


def read_bundle(folder: Path) -> tuple[dict[str, bytes], Manifest | SequentialManifest]:
    """The files of the bundle in ``folder`` by name, and its manifest."""
    bundle = folder / BUNDLE
    try:
        found = sorted(path for path in bundle.rglob("*") if path.is_file())
        files = {path.relative_to(bundle).as_posix(): path.read_bytes() for path in found}
        manifest = parse_manifest(files[MANIFEST])
    except (OSError, KeyError, PyadmmError) as error:
        raise PyadmmError(
            f"deploy: {bundle} holds no readable bundle ({error}); write it with the flow first"
        ) from error
    return files, manifest


def read_dataflow(folder: Path) -> tuple[dict[str, bytes], Manifest]:
    """The files and the manifest of a bundle of a dataflow design.

    :raises PyadmmError: for a bundle of the layer-sequential array.
    """
    files, manifest = read_bundle(folder)
    if not isinstance(manifest, Manifest):
        raise PyadmmError(
            f"deploy: {folder} is a bundle of the layer-sequential array, and this is done for "
            "dataflow designs only; give the deploy folder of one"
        )
    return files, manifest


def add_file(files: dict[str, bytes], name: str, content: bytes) -> FileEntry:
    """Add a file; gives the manifest's entry for it, whose name is without the folder."""
    files[name] = content
    return FileEntry(name.rpartition("/")[2], hashlib.sha256(content).hexdigest())


def add_bitstream_files(files: dict[str, bytes], bit: bytes, hwh: bytes) -> str:
    """Add a bitstream and its description; gives the name that the manifest has for it."""
    files["design.bit"], files["design.hwh"] = bit, hwh
    return "design.bit"


def json_bytes(data: Any) -> bytes:
    """``data`` as the text of a file."""
    return (to_json(data) + "\n").encode()


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _streams(plan: AcceleratorPlan) -> StreamsEntry:
    """Both streams; what a stream of bytes, 32 bits wide, has is left out."""
    return StreamsEntry(
        word_bits=32,
        byte_order="little",
        input_words=plan.image_words,
        output_words=plan.logits,
        pixel_bits=plan.pixel_bits if plan.stream.packed else None,
        input_word_bits=plan.stream.word_bits if plan.stream.word_bits != WORD_BITS else None,
    )


def _manifest(design: Design, model: CompressedModel, models: Sequence[ModelEntry]) -> Manifest:
    plan = design.plan
    entry = plan.input
    return Manifest(
        format="pyadmm-manifest",
        version=1,
        board=plan.board.name,
        network=model.name,
        input=InputEntry(
            shape=entry.shape,
            dtype=str(model.input.dtype),
            offset=entry.offset,
            shift=entry.shift,
            lo=entry.format.lo,
            hi=entry.format.hi,
        ),
        classes=plan.logits,
        streams=_streams(plan),
        clock=ClockEntry(CLOCK_INDEX, plan.board.clock_mhz),
        design=DesignEntry(
            digest=design.digest,
            ident=int(design.digest[:8], 16),
            kernel=design.kernel,
            ip=design.ip,
            vlnv=VLNV[design.kernel],
            dma=design.dma,
            bitfile=None,
        ),
        registers=OFFSETS,
        modes=MODES,
        models=tuple(models),
        curves=None,
    )


def _add_model(files: dict[str, bytes], plan: AcceleratorPlan, pack: ModelPack) -> ModelEntry:
    """Add the files of one model; gives its entry in the manifest."""
    model, name = fitted(pack.model, plan), pack.model.name
    image = weight_image(model, plan)
    layers, offset = list[LayerEntry](), 0
    units: list[Unit] = [*plan.stages, *(row for row in plan.rows if row.scales)]
    for unit in units:
        layers.append(LayerEntry(unit.name, offset, unit.weight_words))
        offset += unit.weight_words
    golden = golden_entry(files, pack, f"{name}.", model)
    return ModelEntry(
        **vars(golden),
        words=len(image),
        layers=tuple(layers),
        weights=add_file(files, f"{name}.weights.bin", image.astype("<u4").tobytes()),
    )


def golden_entry(
    files: dict[str, bytes], pack: ModelPack, prefix: str, lowered: CompressedModel | None = None
) -> GoldenEntry:
    """Add golden vectors and CPU reference of a model; gives their entry in the manifest.

    :param prefix: of the files' names.
    :param lowered: the model in the operations of the kernels, where it is at hand.
    """
    model = lowered or hardware_form(pack.model)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **_cpu_arrays(model))  # type: ignore[arg-type]
    logits, labels = pack.model.run(pack.images).astype(np.int32), None
    if pack.labels is not None:
        content = _npy(np.asarray(pack.labels, np.int64))
        labels = add_file(files, f"{prefix}labels.npy", content)
    return GoldenEntry(
        name=pack.model.name,
        logit_scale=model.format_of(model.nodes[-1].name).scale,
        images=add_file(files, f"{prefix}images.npy", _npy(pack.images)),
        logits=add_file(files, f"{prefix}logits.npy", _npy(logits)),
        labels=labels,
        cpu_arrays=add_file(files, f"{prefix}cpu.npz", arrays.getvalue()),
        cpu_nodes=tuple(_cpu_node(node) for node in model.nodes),
    )


def _cpu_arrays(model: CompressedModel) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for layer in model.layers:
        arrays[f"{layer.name}.codes"] = layer.window_codes
        arrays[f"{layer.name}.bias"] = layer.bias
    return arrays


def _cpu_node(node: Node) -> dict[str, Any]:
    """One node of the network as ``host.cpu`` reads it."""
    if isinstance(node, MaxPool):
        return {"op": "maxpool", "name": node.name, "source": node.source, **_window(node)}
    if isinstance(node, Concat | Lookup | Product):
        raise PyadmmError(
            f"deploy: {node.name}: the board's CPU model has no {type(node).__name__.lower()}; "
            "deploy networks whose hardware form has none"
        )
    bounds = {"lo": node.output.lo, "hi": node.output.hi}
    if isinstance(node, Add):
        scale = {"mult": list(node.mult), "shift": node.shift}
        return {"op": "add", "name": node.name, "sources": list(node.sources), **scale, **bounds}
    scale = {"mult": list(node.requant.mult), "shift": node.requant.shift}
    common = {"name": node.name, "source": node.source, **scale, **bounds}
    if isinstance(node, AvgPool):
        return {"op": "avgpool", **_window(node), **common}
    spec = node.spec
    if spec.dilation != (1, 1):
        raise PyadmmError(f"deploy: {spec.name}: the board's CPU model has no dilation")
    geometry = {
        "stride": list(spec.stride),
        "padding": list(spec.padding),
        "groups": spec.groups,
    }
    return {"op": "conv", **geometry, **common}


def _window(pool: MaxPool | AvgPool) -> dict[str, list[int]]:
    if any(pool.padding):
        raise PyadmmError(f"deploy: {pool.name}: the board's CPU model has no padded pool")
    return {"kernel": list(pool.kernel), "stride": list(pool.stride)}


# The folder


def bundle_files(bundle: Mapping[str, bytes]) -> BuildPlan:
    """The deploy folder of the files of a bundle: these, the wheel and the instructions."""
    name, wheel = build_wheel(bundle)
    files: dict[str, str | bytes] = {f"{BUNDLE}/{file}": data for file, data in bundle.items()}
    files[name] = wheel
    files["README.md"] = _readme(name, "design.bit" in bundle)
    return BuildPlan(files)


def _readme(wheel: str, has_bitstream: bool) -> str:
    state = (
        "The bitstream is inside."
        if has_bitstream
        else "There is no bitstream yet: build one, then run "
        "`pyadmm deploy THIS_FOLDER --bitstream FILE.bit` on the PC."
    )
    return (
        "# For the board\n\n"
        f"Copy `{wheel}` to the board. It contains everything. {state}\n\n"
        "    sudo -i\n"
        "    source /etc/profile.d/pynq_venv.sh\n"
        f"    pip install --no-deps {wheel}\n"
        "    python -m host.selftest\n"
        "    python -m host.benchmark\n"
        "    pynq get-notebooks pyadmm -p $PYNQ_JUPYTER_NOTEBOOKS\n\n"
        "`bundle/` holds the same data as plain files. docs/guide/on-the-board.md explains each step.\n"
    )
