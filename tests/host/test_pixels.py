"""Packed pixels: the driver's bytes are those of the accelerator's stream, and the stand-in reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from host.manifest import read_manifest
from host.pixels import fill_stream, input_integers
from pyadmm.deploy.bundle import Design, plan_deploy
from pyadmm.deploy.simulated_board.golden import golden_core
from pyadmm.hardware.input_stream import stream_bytes
from pyadmm.hardware.plan import InputStream
from pyadmm.hardware.registers import AP_CTRL, COUNT, INFER, LOAD, MODE, START
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import QFormat

from .models import DIGEST, SHAPE, small_model, small_pack, small_plan


def packed(spec: InputSpec, word_bits: int, folder: Path) -> tuple[CompressedModel, Design]:
    """A bundle whose input stream is packed."""
    model = replace(small_model(1, "first"), input=spec)
    plan = replace(small_plan(model), stream=InputStream(True, word_bits))
    design = Design(plan, DIGEST, "rtl")
    plan_deploy(design, [small_pack(model)]).write(folder)
    return model, design


@pytest.mark.parametrize("word_bits", [32, 64])
@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(SHAPE, QFormat(4, False), shift=4),
        InputSpec(SHAPE, QFormat(3, True), offset=(100,), shift=5),
        InputSpec(SHAPE, QFormat(8, True), offset=(128,)),
        InputSpec(SHAPE, QFormat(1, False), shift=7),
    ],
    ids=["4 bits", "3 signed", "8 signed", "1 bit"],
)
def test_the_driver_packs_what_the_accelerator_takes(
    spec: InputSpec, word_bits: int, tmp_path: Path
) -> None:
    model, design = packed(spec, word_bits, tmp_path)
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.packed, manifest.pixel_bits) == (True, design.plan.pixel_bits)
    images = np.random.default_rng(3).integers(0, 256, (5, *SHAPE)).astype(np.uint8)
    np.testing.assert_array_equal(
        input_integers(images, manifest.models[0].input), spec.quantize(images)
    )
    stream = np.full((5, 4 * manifest.input_words), 0xA5, np.uint8)
    fill_stream(images, manifest, manifest.models[0].input, stream)
    np.testing.assert_array_equal(stream, stream_bytes(images, design.plan))

    core = golden_core(tmp_path / "bundle")
    core.push(weight_image(model, design.plan))
    core.write(MODE, LOAD)
    core.write(AP_CTRL, START)
    core.write(MODE, INFER)
    core.write(COUNT, 5)
    core.write(AP_CTRL, START)
    core.push(stream.view("<u4").ravel())
    logits, last = core.pull(5 * design.plan.logits)
    np.testing.assert_array_equal(logits.view(np.int32).reshape(5, -1), model.run(images))
    assert last
