"""Bundles of small networks for the small array, and a kernel's files with that array behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from host.linux.board import LinuxBoard
from host.linux.hwh import read_hwh
from pyadmm.codegen.hwh import BlockDesign
from pyadmm.codegen.sequential_rtl import MASTERS
from pyadmm.deploy.bundle import ModelPack, read_bundle
from pyadmm.deploy.sequential import NetworkPack, SequentialDesign, plan_networks
from pyadmm.eda.sequential_simulation import SequentialTop
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential.compiler import compile_model
from pyadmm.model.integer import INPUT, CompressedModel, InputSpec, MaxPool
from pyadmm.model.types import LayerSpec, QFormat
from tests.host.linux_machine import BIT, REGION, REGION_BYTES, make_root
from tests.sequential.conftest import SMALL
from tests.sequential.networks import images_of, weighted

START_IMAGES = {"wide": 3, "bytes": 1, "signed": 2}
COUNT = 4


def network(kind: str) -> CompressedModel:
    """One with a nine-bit input, phases and wide logits; one with byte outputs; one on int8 data."""
    rng = np.random.default_rng(len(kind))
    if kind == "signed":
        conv = LayerSpec("conv", "conv", (4, 2, 2, 2), (2, 6, 5), 1, 0)
        entry = InputSpec((2, 6, 5), QFormat(8, True), (-7,), signed=True)
        return CompressedModel(kind, entry, (weighted(rng, conv, INPUT, 0.7),))
    conv = LayerSpec("conv", "conv", (6, 3, 3, 3), (3, 9, 9), 2, 1)
    first = weighted(rng, conv, INPUT, 0.5)
    if kind == "bytes":
        entry = InputSpec((3, 9, 9), QFormat(8, False), (3, 0, 9), 0)
        return CompressedModel(kind, entry, (first, MaxPool("pool", "conv", 2, 2)))
    fc = LayerSpec("fc", "linear", (10, 150), (6, 5, 5))
    last = weighted(rng, fc, "conv", 0.3, output=QFormat(15, True))
    return CompressedModel(kind, InputSpec((3, 9, 9), QFormat(9, True), (120,)), (first, last))


def network_pack(kind: str) -> NetworkPack:
    """The network compiled for the small array, with random images; ``bytes`` has no labels."""
    model = network(kind)
    images = images_of(np.random.default_rng(7), model, COUNT).view(model.input.dtype)
    labels = None if kind == "bytes" else model.run(images).argmax(1)
    compiled = compile_model(model, SMALL, START_IMAGES[kind])
    return NetworkPack(ModelPack(model, images, labels), compiled)


def small_bundle(folder: Path, *kinds: str) -> Path:
    """A deploy folder with the networks ``kinds``."""
    design = SequentialDesign(SMALL, load_board("pynq-z2"))
    plan_networks(design, [network_pack(kind) for kind in kinds]).write(folder)
    return folder


def make_bitfile(deploy: Path, folder: Path) -> Path:
    """A bitstream's two files for the array of a bundle."""
    design = read_bundle(deploy)[1].design
    file = folder / "array.bit"
    file.write_bytes(BIT)
    hwh = BlockDesign("zynq7000", design.ip, design.vlnv, None, masters=MASTERS)
    file.with_suffix(".hwh").write_text(hwh.to_hwh(), encoding="utf-8")
    assert set(read_hwh(file.with_suffix(".hwh")).instances) == {
        design.ip,
        "processing_system7_0",
    }
    return file


class _Registers:
    """A window of registers; time passes with every access."""

    def __init__(self, top: SequentialTop) -> None:
        self._top = top

    def read(self, offset: int) -> int:
        self._top.advance(200)
        return self._top.read(offset)

    def write(self, offset: int, value: int) -> None:
        self._top.write(offset, value)


class ArrayMachine(LinuxBoard):
    """The Linux backend on :func:`make_root`, with the Verilated array instead of mapped registers.

    The array reads and writes the file of the u-dma-buf, as the driver does.
    """

    simulated = True

    def __init__(self, root: Path, top: SequentialTop) -> None:
        super().__init__(make_root(root))
        self.top, self.loads = top, 0
        top.share(root / "dev/udmabuf0", REGION, REGION_BYTES)

    def configure(self) -> None:
        super().configure()
        self.top.reset()
        self.loads += 1

    def map(self, address: int, size: int, name: str) -> Any:
        assert (address, size) == (0x43C00000, 0x10000)
        return _Registers(self.top)
