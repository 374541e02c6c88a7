"""Small accelerators with unrolled stages, beside those of the other families."""

from __future__ import annotations

from pyadmm.hardware.plan import KernelConfig
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe
from tests.rtl.designs import Design, dense, design, sparse

U8 = QFormat(8, False)


def unrolled(outputs: int, pixels: int = 1, rows: int = 1) -> KernelConfig:
    """An unrolled kernel."""
    return KernelConfig("unrolled", rows, outputs, pixels=pixels)


def small_lenet(seed: int = 0) -> Design:
    """Unrolled stages between those of the other families: convolution groups, a pool, logits."""
    recipes = [
        Recipe(4, (3, 3), density=0.5, pool=(2, 2)),
        Recipe(6, (2, 2), groups=2, density=0.6, pool=(2, 2), per_channel=True),
        Recipe(8),
        Recipe(5, output=None, density=0.6),
    ]
    spec = InputSpec((1, 12, 12), QFormat(4, False), shift=4)
    configs = [sparse(4, 2), unrolled(6, 2, 2), dense(1, 2), unrolled(5)]
    return design("mixed", spec, recipes, configs, seed)


def strides_padding_and_signs() -> Design:
    """Signed input, strides, padding, overlapping pools, pixels that do not divide a row."""
    recipes = [
        Recipe(5, (5, 3), stride=2, padding=2, density=0.4, pool=(3, 2), weight_bits=5, output=U8),
        Recipe(4, (2, 2), padding=1, weight_bits=1, output=QFormat(6, True), pool=(2, 1)),
        Recipe(3, density=0.1, weight_bits=8, output=QFormat(12, True)),
        Recipe(3, output=None),
    ]
    spec = InputSpec((2, 13, 11), QFormat(8, True), offset=(128, 100))
    configs = [unrolled(5, 3), unrolled(4, 1), unrolled(3), sparse(1, 1, 1)]
    return design("awkward", spec, recipes, configs)
