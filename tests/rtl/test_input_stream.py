"""Packed and wide input streams: the same logits from fewer words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.rtl import generate_rtl
from pyadmm.core.errors import PyadmmError
from pyadmm.eda.rtl_simulation import cosim
from pyadmm.eda.verilator import build_simulator, lint
from pyadmm.hardware.input_stream import stream_bytes, stream_words
from pyadmm.hardware.plan import InputStream
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe
from tests.rtl.designs import Design, dense, design, sparse

pytestmark = pytest.mark.slow


def streamed(spec: InputSpec, stream: InputStream) -> Design:
    """A convolution and a linear layer behind the stream."""
    recipes = [Recipe(3, (3, 2), density=0.6), Recipe(4, output=None, density=0.5)]
    configs = [sparse(2, 2, min(spec.shape[0] - 1, 1)), dense(1, 2)]
    built = design("streamed", spec, recipes, configs)
    return Design(built.model, replace(built.plan, stream=stream))


SPECS = {
    "row ends within a step": InputSpec((1, 6, 11), QFormat(4, False), shift=4),
    "channels with offsets": InputSpec((2, 5, 7), QFormat(6, True), offset=(128, 90), shift=1),
    "whole rows": InputSpec((2, 4, 16), QFormat(2, False), shift=5),
}


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("row ends within a step", InputStream(True)),
        ("row ends within a step", InputStream(True, 64)),
        ("channels with offsets", InputStream()),
        ("channels with offsets", InputStream(False, 64)),
        ("whole rows", InputStream(True, 64)),
    ],
)
def test_logits_are_bit_exact(name: str, stream: InputStream, simulators: Path) -> None:
    built = streamed(SPECS[name], stream)
    build = generate_rtl(built.plan, model=built.model)
    build.write(simulators / "streamed")
    lint(sorted((simulators / "streamed" / "rtl").iterdir()), "pyadmm_top", simulators / "lint.log")
    simulator = build_simulator(build, built.plan, simulators)
    images = built.images(7)
    free = cosim(simulator, built.weights, images)
    np.testing.assert_array_equal(free.logits, built.model.run(images))
    stalled = cosim(simulator, built.weights, images, stalls=(3, 0.4, 0.3))
    np.testing.assert_array_equal(stalled.logits, free.logits)


def test_pixels_are_packed_lowest_first() -> None:
    plan = streamed(SPECS["row ends within a step"], InputStream(True)).plan
    images = np.arange(66, dtype=np.uint8).reshape(1, 1, 6, 11) * 3
    packed = stream_bytes(images, plan)
    assert packed.shape == (1, 36)
    nibbles = np.stack([packed & 15, packed >> 4], axis=2).reshape(1, -1)
    np.testing.assert_array_equal(nibbles[0, :66], images.ravel() >> 4)
    assert not nibbles[0, 66:].any()
    assert stream_words(images, plan).size == plan.image_words == 9


def test_a_wide_stream_takes_half_the_words_of_a_row() -> None:
    plans = [
        streamed(SPECS["whole rows"], InputStream(p, w)).plan
        for p in (False, True)
        for w in (32, 64)
    ]
    assert [plan.input_steps for plan in plans] == [32, 16, 8, 8]
    assert [plan.pixel_bits for plan in plans] == [8, 8, 2, 2]


def test_impossible_streams_are_refused() -> None:
    with pytest.raises(PyadmmError, match="word_bits must be 32 or 64, not 48"):
        InputStream(word_bits=48)
    wide = InputSpec((1, 5, 7), QFormat(9, True), offset=(128,))
    with pytest.raises(PyadmmError, match="packed pixels have at most 8 bits, not 9"):
        streamed(wide, InputStream(True))
