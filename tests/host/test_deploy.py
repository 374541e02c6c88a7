"""The deploy folder: complete, reproducible, installable without a network, extensible."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from host.errors import ManifestError
from host.manifest import read_manifest
from pyadmm import container
from pyadmm.cli.deploy import main
from pyadmm.codegen.vendor_params import DMA_CELL, vendor_params
from pyadmm.core.errors import PyadmmError
from pyadmm.deploy.bundle import (
    MANIFEST,
    VLNV,
    Design,
    add_bitstream,
    plan_deploy,
    read_accelerator,
    read_bundle,
)
from pyadmm.deploy.simulated_board.golden import golden_core
from pyadmm.deploy.simulated_board.stage import Stage
from pyadmm.deploy.wheel import host_files
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.weight_image import weight_image

from .conftest import CURVES
from .models import SHAPE, small_design, small_model, small_pack, small_plan


def wheel_of(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_plan_is_pure_and_reproducible() -> None:
    model = small_model(1, "first")
    plans = [plan_deploy(small_design(model), [small_pack(model)], CURVES) for _ in range(2)]
    assert plans[0].files == plans[1].files


def test_the_bundle_holds_what_the_manifest_says(deploy: Path) -> None:
    manifest = read_manifest(deploy / "bundle")
    first = manifest.models[0]
    model = small_model(1, "first")
    image = np.frombuffer(first.weights.read(), "<u4")
    np.testing.assert_array_equal(image, weight_image(model, small_plan(model)))
    images = np.load(io.BytesIO(first.images.read()))
    np.testing.assert_array_equal(np.load(io.BytesIO(first.logits.read())), model.run(images))
    assert manifest.curves is not None
    assert json.loads(manifest.curves.read()) == json.loads(CURVES)


def test_the_manifest_comes_back_byte_for_byte(deploy: Path) -> None:
    files, manifest = read_bundle(deploy)
    assert manifest.to_json() == files[MANIFEST]
    assert json.loads(files[MANIFEST])["clock"]["mhz"] == manifest.clock.mhz


def test_a_manifest_with_a_bad_field_is_refused(deploy: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    text = (deploy / "bundle" / MANIFEST).read_text(encoding="utf-8")
    bad = text.replace('"index": 0', '"index": "first"')
    (tmp_path / "bundle" / MANIFEST).write_text(bad, encoding="utf-8")
    with pytest.raises(PyadmmError, match=r"clock\.index must be a whole number"):
        read_bundle(tmp_path)


def test_the_accelerator_plan_survives(deploy: Path) -> None:
    assert read_accelerator(deploy / "bundle") == small_plan(small_model(1, "first"))


def test_the_golden_models_survive(deploy: Path) -> None:
    core = golden_core(deploy / "bundle")
    images = np.random.default_rng(5).integers(0, 256, (20, *SHAPE), np.uint8)
    for model in (small_model(1, "first"), small_model(2, "second", 0.3)):
        digest = hashlib.sha256(weight_image(model, small_plan(model)).tobytes()).hexdigest()
        np.testing.assert_array_equal(core.models[digest].run(images), model.run(images))


def test_a_network_that_the_manifest_does_not_describe_is_refused(
    deploy: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(deploy / "bundle", tmp_path / "bundle")
    text = (bundle / MANIFEST).read_text(encoding="utf-8")
    (bundle / MANIFEST).write_text(text.replace('"op": "conv"', '"op": "convolve"'), "utf-8")
    with pytest.raises(PyadmmError, match="cpu_nodes of first do not describe a network"):
        golden_core(bundle)
    (bundle / MANIFEST).write_text(text.replace('"word_bits": 32', '"word_bits": "32"'), "utf-8")
    with pytest.raises(ManifestError, match=r"streams\.word_bits must be 32, not '32'"):
        golden_core(bundle)


def test_the_wheel_is_sound(deploy: Path) -> None:
    with zipfile.ZipFile(wheel_of(deploy)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        record = next(name for name in names if name.endswith("RECORD"))
        rows = [line.split(",") for line in archive.read(record).decode().splitlines()]
    assert [row[0] for row in rows] == names
    assert {"host/driver.py", "host/fast.c", "host/bundle/manifest.json"} <= set(names)
    assert not any("test" in Path(name).name and "selftest" not in name for name in names)


def test_pip_installs_the_wheel_without_a_network_and_pynq_finds_it(
    stage: Stage, tmp_path: Path, deploy: Path
) -> None:
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    done = subprocess.run(
        [*command, "--target", str(target), str(wheel_of(deploy))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    notebooks = tmp_path / "notebooks"
    code = (
        "import sys; sys.argv[0] = 'pynq-get-notebooks'; "
        "from pynq._cli.get_notebooks import main; main()"
    )
    arguments = ["--path", str(notebooks), "--device", "simulated", "pyadmm"]
    done = subprocess.run(
        [str(stage.python), "-W", "ignore", "-c", code, *arguments],
        env={**stage.environment, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = sorted(path.name for path in notebooks.rglob("*.ipynb"))
    assert found[0] == "1_quick_start.ipynb"
    assert len(found) == 5


def test_the_self_test_passes_and_fails_as_it_should(stage: Stage) -> None:
    done = stage.run("host.selftest")
    assert done.returncode == 0
    assert "pass first: 12 golden images, 0 differ on the board, 0 on the CPU" in done.stdout
    done = stage.run("host.selftest", "--model", "third")
    assert done.returncode == 2
    assert "no model 'third'" in done.stderr


def test_without_a_board_the_host_says_so(stage: Stage) -> None:
    done = subprocess.run(
        [str(stage.python), "-W", "ignore", "-m", "host.selftest"],
        env=stage.environment,
        cwd=stage.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: board: no device (No Devices Found)")


def test_block_design_names_are_those_of_the_vendor_flow() -> None:
    board = load_board("pynq-z2")
    hls = vendor_params(board, project="x", sources=("top.cpp",))
    assert (hls.vlnv, hls.cell) == (VLNV["hls"], small_design(small_model(1, "m")).ip)
    rtl = vendor_params(board, project="x", flavour="rtl", rtl_sources=("pyadmm_top.v",))
    assert rtl.vlnv == VLNV["rtl"]
    assert small_design(small_model(1, "m")).dma == DMA_CELL
    assert all(vlnv in host_files()["host/control.py"].decode() for vlnv in VLNV.values())


def test_a_bitstream_and_a_model_can_be_added_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deploy"
    first = small_model(1, "first")
    plan_deploy(small_design(first), [small_pack(first)]).write(folder)
    old = wheel_of(folder)
    bit = tmp_path / "made.bit"
    bit.write_bytes(b"bits")
    assert main([str(folder), "--bitstream", str(bit)]) == 2
    assert "belong together" in capsys.readouterr().err
    bit.with_suffix(".hwh").write_bytes(b"<xml/>")
    container.save(small_model(3, "x"), tmp_path / "third.admm")
    arguments = ["--bitstream", str(bit), "--add-model", str(tmp_path / "third.admm")]
    assert main([str(folder), *arguments]) == 0
    assert wheel_of(folder) != old
    manifest = read_manifest(folder / "bundle")
    assert manifest.design.bitfile is not None
    assert manifest.design.bitfile.read_bytes() == b"bits"
    assert [model.name for model in manifest.models] == ["first", "third"]
    assert "The bitstream is inside" in (folder / "README.md").read_text()
    assert main([str(folder), "--add-model", str(tmp_path / "third.admm")]) == 2
    assert "already has a model 'third'" in capsys.readouterr().err


def test_bad_input_is_refused_by_name(tmp_path: Path) -> None:
    model = small_model(1, "first")
    design, pack = small_design(model), small_pack(model)
    with pytest.raises(PyadmmError, match="at least one model"):
        plan_deploy(design, [])
    with pytest.raises(PyadmmError, match="two models of one name"):
        plan_deploy(design, [pack, pack])
    with pytest.raises(PyadmmError, match="12 images and 3 labels for first"):
        replace(pack, labels=pack.labels[:3])
    with pytest.raises(PyadmmError, match="not fit for a file name"):
        replace(pack, model=replace(model, name="../x"))
    with pytest.raises(PyadmmError, match=r"needs its \.hwh"):
        replace(design, bit=b"")
    with pytest.raises(PyadmmError, match="digest must be a sha256"):
        Design(design.plan, "12", "rtl")
    with pytest.raises(PyadmmError, match="no readable bundle"):
        add_bitstream(tmp_path, tmp_path / "x.bit")
    with pytest.raises(PyadmmError, match=r"accelerator\.json of .* is not readable"):
        read_accelerator(tmp_path)
