"""``pyadmm deploy`` for the layer-sequential array: one bitstream, several networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from host.accelerator import load_vectors
from host.control import BINDTO
from host.errors import ManifestError
from host.manifest import ProgramModel, SequentialManifest, read_manifest
from pyadmm.cli.main import main
from pyadmm.codegen.sequential import generate_sequential
from pyadmm.codegen.sequential_rtl import array_digest, generate_array
from pyadmm.container.codec import save
from pyadmm.core.errors import PyadmmError
from pyadmm.deploy.sequential import (
    VLNV,
    SequentialDesign,
    add_network,
    plan_networks,
    read_design,
)
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import compile_model
from tests.sequential.bundles import network, network_pack, small_bundle
from tests.sequential.conftest import SMALL


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three networks as ``.admm`` files, test images of one of them."""
    for kind in ("wide", "bytes", "signed"):
        save(network(kind), tmp_path / f"{kind}.admm")
    x = np.random.default_rng(1).integers(0, 256, (5, 3, 9, 9)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x_test=x, y_test=np.arange(5))
    return tmp_path


def test_admm_files_become_one_bundle(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = files / "many"
    new = ["deploy", str(folder), "--array", "2x32", "--add-model"]
    assert main([*new, str(files / "wide.admm"), str(files / "signed.admm")]) == 0
    more = ["deploy", str(folder), "--data", str(files / "data.npz"), "--add-model"]
    assert main([*more, str(files / "bytes.admm"), "--start-images", "2", "--name", "third"]) == 0
    manifest = read_manifest(folder / "bundle")
    assert isinstance(manifest, SequentialManifest)
    assert [model.name for model in manifest.models] == ["wide", "signed", "third"]
    assert manifest.design.bitfile is None
    array = SequentialArray(groups=2, lanes=32)
    assert manifest.build == array.build
    assert manifest.design.digest == array_digest(array)
    for model, kind in zip(manifest.models, ("wide", "signed", "bytes"), strict=True):
        vectors = load_vectors(model)
        np.testing.assert_array_equal(vectors["logits"], network(kind).run(vectors["images"]))
        assert ("labels" in vectors) == (kind == "bytes")
    third = manifest.models[2]
    assert isinstance(third, ProgramModel)
    assert third.start_images == 2
    compiled = compile_model(network("bytes"), array, 2)
    assert third.program.read() == compiled.program.image
    assert "There is no bitstream yet" in (folder / "README.md").read_text()
    capsys.readouterr()

    assert main([*new, str(files / "wide.admm")]) == 2
    assert "holds a bundle already" in capsys.readouterr().err
    assert main([*more, str(files / "bytes.admm"), "--name", "third"]) == 2
    assert "already has a network 'third'" in capsys.readouterr().err
    assert main([*more, str(files / "bytes.admm"), str(files / "wide.admm"), "--name", "x"]) == 2
    assert "--name names one model" in capsys.readouterr().err
    wrong = ["deploy", str(files / "x"), "--array", "4", "--add-model", str(files / "wide.admm")]
    assert main(wrong) == 2
    assert "--array must be groups x lanes, such as 4x64" in capsys.readouterr().err
    assert main([*more, str(files / "signed.admm")]) == 2
    assert "has images of shape (3, 9, 9), but signed takes (2, 6, 5)" in capsys.readouterr().err


def test_the_bitstream_is_added_once(files: Path) -> None:
    folder = small_bundle(files / "deploy", "wide")
    bit = files / "array.bit"
    bit.write_bytes(b"bits")
    bit.with_suffix(".hwh").write_bytes(b"<xml/>")
    assert main(["deploy", str(folder), "--bitstream", str(bit)]) == 0
    add_network(folder, network_pack("bytes")).write(folder)
    manifest = read_manifest(folder / "bundle")
    assert manifest.design.bitfile is not None
    assert manifest.design.bitfile.read_bytes() == b"bits"
    assert sorted(p.name for p in (folder / "bundle").iterdir()) == [
        *("array.json", "bytes", "design.bit", "design.hwh", "manifest.json", "wide"),
    ]


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    board = load_board("pynq-z2")
    design = SequentialDesign(SMALL, board)
    with pytest.raises(PyadmmError, match="at least one network"):
        plan_networks(design, [])
    with pytest.raises(PyadmmError, match="wide was compiled for .*; compile it for this array"):
        plan_networks(replace(design, array=SequentialArray()), [network_pack("wide")])
    with pytest.raises(PyadmmError, match=r"needs its \.hwh"):
        SequentialDesign(SMALL, board, bit=b"")
    folder = small_bundle(tmp_path, "wide")
    (folder / "bundle" / "wide" / "program.seq").unlink()
    model = read_manifest(folder / "bundle").models[0]
    assert isinstance(model, ProgramModel)
    with pytest.raises(ManifestError, match=r"program\.seq: cannot be read"):
        model.program.read()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"groups": "4"}', "field groups must be a whole number, not '4'"),
        ('{"groups": 40}', "groups must be 1 to 8, not 40"),
        ('{"groupz": 4}', "groupz"),
    ],
)
def test_a_damaged_array_is_named_with_its_field(tmp_path: Path, text: str, said: str) -> None:
    folder = small_bundle(tmp_path, "wide")
    (folder / "bundle" / "array.json").write_text(text)
    with pytest.raises(PyadmmError, match=rf"array\.json: .*{said}.*; make the bundle anew with"):
        read_design(folder)


def test_the_build_says_what_the_ident_register_reads() -> None:
    build = generate_array(SMALL)
    assert f'"IDENT": {int(array_digest(SMALL)[:8], 16)}' in str(build.files["parameters.json"])
    assert "rtl/seq_top.sv" in build.files
    assert array_digest(SMALL) != array_digest(SequentialArray())
    twin = generate_sequential(SMALL).files["src/seq_build.hpp"]
    digest = SequentialDesign(SMALL, load_board("pynq-z2"), "hls").digest
    assert f"0x{digest[:8]}" in str(twin)
    assert all(vlnv in BINDTO for vlnv in VLNV.values())


def test_the_plan_is_reproducible() -> None:
    design = SequentialDesign(SMALL, load_board("pynq-z2"))
    plans = [plan_networks(design, [network_pack("wide")]) for _ in range(2)]
    assert plans[0].files == plans[1].files
