"""Generated sources against golden text: a change of the generator shows as a readable diff.

To accept a change on purpose: ``python -m tests.golden.test_generated_text``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.hls import generate
from pyadmm.core.files import write_atomic
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import BuildPlan, KernelConfig
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe, random_chain

FOLDER = Path(__file__).with_name("tiny")
FILES = ("src/config.hpp", "src/top.hpp", "src/top.cpp", "tb/testbench.cpp", "data/weights.hex")


def tiny_build() -> BuildPlan:
    """A convolution on the sparse kernel and a linear layer on the dense one."""
    spec = InputSpec((2, 6, 5), QFormat(4, True), offset=(128, 100), shift=4)
    recipes = [
        Recipe(3, (3, 2), 1, 1, density=0.3, pool=(2, 2), per_channel=True),
        Recipe(2, density=0.5, weight_bits=2, output=None),
    ]
    model = random_chain("tiny", spec, recipes, np.random.default_rng(5))
    configs = {"layer0": KernelConfig("sparse", 2, 2, 1), "layer1": KernelConfig("dense", 1, 2)}
    return generate(model, plan_accelerator(model, load_board("pynq-z2"), configs))


def text_of(build: BuildPlan, name: str) -> str:
    content = {**build.files, **build.data}[name]
    assert isinstance(content, str)
    return content


@pytest.mark.parametrize("name", FILES)
def test_generated_text_is_golden(name: str) -> None:
    golden = (FOLDER / Path(name).name).read_text(encoding="utf-8")
    assert text_of(tiny_build(), name) == golden


if __name__ == "__main__":
    for file in FILES:
        write_atomic(FOLDER / Path(file).name, text_of(tiny_build(), file))
