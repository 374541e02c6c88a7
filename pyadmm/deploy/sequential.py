"""The deploy bundle of the layer-sequential array: one bitstream, several networks.

Every network has a folder in the bundle with its program, golden vectors and CPU reference. Another
one can be added at any time; the bitstream stays. ``host/sequential.py`` runs them on the board.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pyadmm.codegen.sequential import hls_digest
from pyadmm.codegen.sequential_rtl import array_digest
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.core.schema import from_json
from pyadmm.deploy.bundle import (
    BUNDLE,
    CLOCK_INDEX,
    ModelPack,
    add_bitstream_files,
    add_file,
    bundle_files,
    golden_entry,
    json_bytes,
    read_bundle,
)
from pyadmm.deploy.manifest import (
    MANIFEST,
    ClockEntry,
    CounterEntry,
    DesignEntry,
    InputEntry,
    MapEntry,
    NetworkEntry,
    ProgramEntry,
    RangeEntry,
    SequentialManifest,
)
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.plan import BuildPlan
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import Compiled
from pyadmm.hardware.sequential.maps import Map
from pyadmm.hardware.sequential.places import Place
from pyadmm.hardware.sequential.registers import OFFSETS, STATUS_TEXTS

Kernel = Literal["hls", "rtl"]
"""What a bitstream is built from."""
ARRAY = "array.json"
"""File of the bundle that holds the parameters of the array, for the compiler."""
VLNV = {"hls": "xilinx.com:hls:seq_top:1.0", "rtl": "pyadmm:rtl:seq_top:1.0"}
"""Types of the array's IP; ``host.driver`` binds to them."""
IP = "seq_top_0"


@dataclass(frozen=True)
class SequentialDesign:
    """The array that a bundle is for.

    :param kernel: what the bitstream is built from: the RTL, or its twin in C++.
    :param bit: content of the bitstream, with ``hwh`` its hardware description; both or neither.
    """

    array: SequentialArray
    board: Board
    kernel: Kernel = "rtl"
    bit: bytes | None = None
    hwh: bytes | None = None

    def __post_init__(self) -> None:
        if (self.bit is None) != (self.hwh is None):
            raise PyadmmError("deploy: a bitstream needs its .hwh, and the other way round")

    @property
    def digest(self) -> str:
        """SHA-256 of the sources; the register ``ident`` reads its first 32 bits."""
        return array_digest(self.array) if self.kernel == "rtl" else hls_digest(self.array)


@dataclass(frozen=True)
class NetworkPack:
    """A network compiled for the array, and images to test it with."""

    pack: ModelPack
    compiled: Compiled

    @property
    def name(self) -> str:
        """Name of the network, and of its folder in the bundle."""
        return self.pack.model.name


def plan_networks(design: SequentialDesign, packs: Sequence[NetworkPack]) -> BuildPlan:
    """All files of the deploy folder.

    :param packs: the networks, the default one first; any shapes.
    :raises PyadmmError: if there is none, or one was compiled for another array.
    """
    if not packs:
        raise PyadmmError("deploy: needs at least one network")
    digest, kernel = design.digest, design.kernel
    manifest = SequentialManifest(
        format="pyadmm-manifest",
        version=1,
        architecture="sequential",
        board=design.board.name,
        network=packs[0].name,
        clock=ClockEntry(CLOCK_INDEX, design.board.clock_mhz),
        design=DesignEntry(digest, int(digest[:8], 16), kernel, IP, VLNV[kernel], None),
        registers=OFFSETS,
        build=design.array.build,
        status={str(code): text for code, text in STATUS_TEXTS.items()},
        models=(),
        curves=None,
    )
    files = {ARRAY: json_bytes(design.array)}
    if design.bit is not None and design.hwh is not None:
        manifest = manifest.with_bitstream(add_bitstream_files(files, design.bit, design.hwh))
    for pack in packs:
        manifest = _with_network(manifest, files, design.array, pack)
    files[MANIFEST] = manifest.to_json()
    return bundle_files(files)


def add_network(folder: Path, pack: NetworkPack) -> BuildPlan:
    """The deploy folder with another network; the bitstream stays.

    :raises PyadmmError: if the folder has one of that name, or it was compiled for another array.
    """
    files, manifest = _read(folder)
    array = read_design(folder).array
    files[MANIFEST] = _with_network(manifest, files, array, pack).to_json()
    return bundle_files(files)


def is_sequential(folder: Path) -> bool:
    """Whether the deploy folder is one of the layer-sequential array."""
    return (folder / BUNDLE / ARRAY).is_file()


def read_design(folder: Path) -> SequentialDesign:
    """The array and the board of a deploy folder.

    :raises PyadmmError: if the folder holds no such bundle.
    """
    files, manifest = _read(folder)
    array = from_json(
        SequentialArray,
        files.get(ARRAY, b"").decode("utf-8", "replace"),
        f"deploy: {folder / BUNDLE / ARRAY}",
        remedy="make the bundle anew with --array",
    )
    return SequentialDesign(array, load_board(manifest.board))


def read_sequential(folder: Path) -> SequentialManifest:
    """The manifest of a deploy folder.

    :raises PyadmmError: if the folder holds no such bundle.
    """
    return _read(folder)[1]


def _read(folder: Path) -> tuple[dict[str, bytes], SequentialManifest]:
    files, manifest = read_bundle(folder)
    if not isinstance(manifest, SequentialManifest):
        raise PyadmmError(
            f"deploy: {folder / BUNDLE} is not a bundle of the layer-sequential array; make one "
            "with --array"
        )
    return files, manifest


def _with_network(
    manifest: SequentialManifest,
    files: dict[str, bytes],
    array: SequentialArray,
    one: NetworkPack,
) -> SequentialManifest:
    """Add the files of a network; gives the manifest that names it."""
    name, program = one.name, one.compiled.program
    if any(model.name == name for model in manifest.models):
        raise PyadmmError(f"deploy: the bundle already has a network {name!r}; rename it")
    if program.array != array:
        raise PyadmmError(
            f"deploy: {name} was compiled for {program.array}, the bundle is for {array}; compile "
            "it for this array"
        )
    entry = NetworkEntry(
        **vars(golden_entry(files, one.pack, f"{name}/")),
        **vars(program_entry(one.compiled)),
        folder=name,
        program=add_file(files, f"{name}/program.seq", program.image),
    )
    return replace(manifest, models=(*manifest.models, entry))


def program_entry(compiled: Compiled) -> ProgramEntry:
    """What a driver must know of a program."""
    first, last = compiled.entry, compiled.steps[-1].step.output
    entry, lanes = compiled.model.input.unsigned, compiled.program.array.lanes
    runs = compiled.steps[-1].runs if last.wide else ()
    wide = tuple(RangeEntry(lanes * tiles.start, lanes * tiles.stop) for tiles in runs)
    return ProgramEntry(
        input=InputEntry(
            shape=entry.shape,
            dtype=str(compiled.model.input.dtype),
            offset=entry.offset,
            shift=entry.shift,
            lo=entry.format.lo,
            hi=entry.format.hi,
        ),
        classes=math.prod(last.shape),
        memory_bytes=compiled.program.memory_bytes,
        start_images=compiled.images,
        source=_map(first, compiled.input, ()),
        result=_map(last, compiled.output, wide),
        layers=tuple(map(CounterEntry, compiled.layers)),
    )


def _map(held: Map, place: Place, wide: tuple[RangeEntry, ...]) -> MapEntry:
    return MapEntry(
        shape=held.shape,
        base=place.base,
        stride=place.stride,
        rows=held.format.rows,
        pitch=held.format.pitch,
        row_phases=held.format.sh,
        column_phases=held.format.sw,
        span=held.format.span,
        signed=held.held.signed,
        wide=wide,
    )


def write_program(compiled: Compiled, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.seq``, the program, and ``name.json``, its facts; returns both."""
    image, about = folder / f"{name}.seq", folder / f"{name}.json"
    write_atomic(image, compiled.program.image)
    write_atomic(about, json_bytes(program_entry(compiled)))
    return image, about
