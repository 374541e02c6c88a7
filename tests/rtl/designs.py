"""Small accelerators for the RTL tests: random chains of awkward shapes on chosen kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyadmm.eda.verilator import Words
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, KernelConfig
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe, random_chain


@dataclass(frozen=True)
class Design:
    """A model, its accelerator and its weights."""

    model: CompressedModel
    plan: AcceleratorPlan

    @property
    def weights(self) -> Words:
        return weight_image(self.model, self.plan)

    def images(self, count: int, seed: int = 0) -> np.ndarray:
        """Random images ``(count, C, H, W)``."""
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (count, *self.plan.input.shape)).astype(np.uint8)


def sparse(rows: int, groups: int, index_bits: int = 0) -> KernelConfig:
    """A sparse kernel."""
    return KernelConfig("sparse", rows, groups, index_bits)


def dense(rows: int, groups: int) -> KernelConfig:
    """A dense kernel."""
    return KernelConfig("dense", rows, groups)


def balanced(
    rows: int, groups: int, index_bits: int, window: int, walkers: int = 1
) -> KernelConfig:
    """A balanced kernel."""
    return KernelConfig("balanced", rows, groups, index_bits, window=window, walkers=walkers)


def design(
    name: str,
    input_spec: InputSpec,
    recipes: Sequence[Recipe],
    configs: Sequence[KernelConfig],
    seed: int = 0,
) -> Design:
    """A random chain on the given kernels."""
    model = random_chain(name, input_spec, recipes, np.random.default_rng(seed))
    named = {f"layer{index}": config for index, config in enumerate(configs)}
    return Design(model, plan_accelerator(model, load_board("pynq-z2"), named))


def small_lenet() -> Design:
    """Two convolutions with pools, two linear layers, on both families."""
    spec = InputSpec((1, 12, 12), QFormat(4, False), shift=4)
    recipes = [
        Recipe(4, (3, 3), density=0.5, pool=(2, 2)),
        Recipe(6, (2, 2), pool=(2, 2)),
        Recipe(8),
        Recipe(5, output=None, density=0.6),
    ]
    return design(
        "small", spec, recipes, [sparse(2, 2), sparse(1, 3, 1), sparse(1, 2, 1), dense(1, 2)]
    )
