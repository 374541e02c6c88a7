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
    """Signed input, strides, padding, overlapping pools, a row word that ends within a step."""
    recipes = [
        Recipe(5, (5, 3), stride=2, padding=2, density=0.4, pool=(3, 2), weight_bits=5, output=U8),
        Recipe(4, (2, 2), padding=1, weight_bits=1, output=QFormat(6, True), pool=(2, 1)),
        Recipe(3, density=0.1, weight_bits=8, output=QFormat(12, True)),
        Recipe(3, output=None),
    ]
    spec = InputSpec((2, 13, 11), QFormat(8, True), offset=(128, 100))
    configs = [unrolled(5), unrolled(4), unrolled(3), sparse(1, 1, 1)]
    return design("awkward", spec, recipes, configs)


def blocks_to_blocks() -> Design:
    """Three unrolled stages that hand blocks on: several steps a block, padding, an odd width."""
    recipes = [
        Recipe(5, (3, 3), density=0.5, pool=(2, 2)),
        Recipe(6, (3, 3), padding=1, density=0.3, pool=(2, 2), output=QFormat(5, True)),
        Recipe(4, (2, 2), density=0.5),
        Recipe(5, output=None, density=0.6),
    ]
    spec = InputSpec((2, 14, 24), QFormat(6, False), shift=2)
    configs = [unrolled(5, 4, 2), unrolled(6, 1), unrolled(4), sparse(1, 2, 1)]
    return design("blocks", spec, recipes, configs)


def without_pools() -> Design:
    """Strides of two and three pixels a block, no pool; a signed map of one row."""
    recipes = [
        Recipe(4, (3, 2), stride=2, density=0.6, output=QFormat(5, True)),
        Recipe(3, (2, 3), padding=2, density=0.5),
        Recipe(4, output=None, density=0.6),
    ]
    spec = InputSpec((1, 9, 13), QFormat(4, False), shift=4)
    configs = [unrolled(4, 3), unrolled(3, 3), sparse(1, 2, 1)]
    return design("plain", spec, recipes, configs)
