"""The driver runs compiled networks on the simulated hardware, from their two files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from host.errors import HostError, InputError, ManifestError
from host.sequential import SequentialNetwork
from pyadmm.cli.main import main
from pyadmm.container.codec import save
from pyadmm.deploy.sequential import write
from pyadmm.eda.sequential_simulation import SequentialTop
from pyadmm.hardware.sequential.compiler import compile_model
from pyadmm.model import INPUT, CompressedModel, InputSpec, MaxPool
from pyadmm.model.types import LayerSpec, QFormat
from tests.sequential.conftest import SMALL
from tests.sequential.networks import images_of, weighted

pytestmark = pytest.mark.slow


class Block(np.ndarray):  # type: ignore[type-arg]
    """Memory of the simulated board, as ``pynq.allocate`` gives it."""

    physical_address: int
    top: SequentialTop

    def flush(self) -> None:
        """To the memory."""
        self.top.put(self.physical_address, self.tobytes())

    def invalidate(self) -> None:
        """From the memory."""
        self[:] = np.frombuffer(self.top.get(self.physical_address, len(self)), np.uint8)


def block_at(top: SequentialTop, address: int, size: int) -> Block:
    """A block of the memory of ``top``."""
    block = np.zeros(size, np.uint8).view(Block)
    block.physical_address, block.top = address, top
    return block


def network(kind: str) -> CompressedModel:
    """One with a nine-bit input, phases and wide logits, or one with byte outputs."""
    rng = np.random.default_rng(len(kind))
    conv = LayerSpec("conv", "conv", (6, 3, 3, 3), (3, 9, 9), 2, 1)
    first = weighted(rng, conv, INPUT, 0.5)
    if kind == "bytes":
        entry = InputSpec((3, 9, 9), QFormat(8, False), (3, 0, 9), 0)
        return CompressedModel(kind, entry, (first, MaxPool("pool", "conv", 2, 2)))
    fc = LayerSpec("fc", "linear", (10, 150), (6, 5, 5))
    last = weighted(rng, fc, "conv", 0.3, output=QFormat(15, True))
    return CompressedModel(kind, InputSpec((3, 9, 9), QFormat(9, True), (120,)), (first, last))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Facts of both networks, for three and for one image per start."""
    made = {}
    for kind, images in (("wide", 3), ("bytes", 1)):
        _, made[kind] = write(compile_model(network(kind), SMALL, images), tmp_path, kind)
    return made


def test_two_networks_by_their_files(small_top: SequentialTop, files: dict[str, Path]) -> None:
    small_top.reset(1 << 17)
    places = {"wide": 0, "bytes": 1 << 16}
    loaded = {
        kind: SequentialNetwork(path, small_top, block_at(small_top, places[kind], 1 << 14))
        for kind, path in files.items()
    }
    for turn in range(2):
        for kind, one in loaded.items():
            images = images_of(np.random.default_rng(turn), network(kind), 4)
            np.testing.assert_array_equal(one.logits(images), network(kind).run(images))
            profile = one.profile()
            assert len(profile) == 2
            assert 0 < profile[0][0] < profile[1][0] < one.cycles
    assert loaded["wide"].logits(np.empty((0, 3, 9, 9), np.uint8)).shape == (0, 10)
    with pytest.raises(InputError, match="images must be uint8 of shape"):
        loaded["wide"].logits(np.zeros((1, 3, 9, 8), np.uint8))


def _changed(path: Path, **facts: Any) -> Path:
    """A copy of the facts with some replaced, beside a copy of the image."""
    other = path.with_name("other.json")
    other.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    other.with_suffix(".seq").write_bytes(path.with_suffix(".seq").read_bytes())
    return other


def test_files_that_do_not_fit_are_refused(
    small_top: SequentialTop, files: dict[str, Path]
) -> None:
    small_top.reset(1 << 17)
    block = block_at(small_top, 0, 1 << 14)
    path = files["bytes"]
    for facts, message in (
        ({"format": 9}, "format must be 1"),
        ({"sha256": "0"}, "is not the image"),
        ({"lanes": 64}, "was compiled for 2 groups x 64 lanes"),
    ):
        with pytest.raises(ManifestError, match=message):
            SequentialNetwork(_changed(path, **facts), small_top, block)
    with pytest.raises(HostError, match="needs 4096 bytes at a multiple of 4096"):
        SequentialNetwork(path, small_top, block_at(small_top, 64, 1 << 14))
    with pytest.raises(ManifestError, match="cannot be read"):
        SequentialNetwork(path.with_name("none.json"), small_top, block)


def test_a_status_becomes_an_error(small_top: SequentialTop, files: dict[str, Path]) -> None:
    small_top.reset(1 << 17)
    block = block_at(small_top, 0, 1 << 14)
    one = SequentialNetwork(files["bytes"], small_top, block)
    block[0] ^= 1  # memory that something else has overwritten
    with pytest.raises(HostError, match="status 1: the program's header"):
        one.logits(np.zeros((1, 3, 9, 9), np.uint8))


def test_the_command_writes_what_the_driver_reads(
    tmp_path: Path, small_top: SequentialTop, capsys: pytest.CaptureFixture[str]
) -> None:
    save(network("bytes"), tmp_path / "net.admm")
    arguments = ["compile", str(tmp_path / "net.admm"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--groups", "2", "--lanes", "32", "--images", "2"]) == 0
    shown = capsys.readouterr().out
    assert "bound by" in shown
    assert "2 images per start" in shown
    small_top.reset(1 << 17)
    block = block_at(small_top, 0, 1 << 15)
    one = SequentialNetwork(tmp_path / "out" / "net.json", small_top, block)
    assert one.images_per_run == 2
    assert main([*arguments, "--bytes-per-cycle", "25"]) == 2
    assert "at most 24" in capsys.readouterr().err
