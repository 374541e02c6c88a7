"""The plan of an accelerator: typed, validated facts that the back ends (HLS, RTL, driver) share.

Everything here is plain data derived from shapes, number formats and a :class:`KernelConfig` per
layer; :mod:`pyadmm.hardware.mapping` makes it from a model. The meaning of every figure is fixed by
``docs/kernels.md``.
"""

from __future__ import annotations

from pyadmm.hardware.plan.accelerator import AcceleratorPlan, InputStream, Unit
from pyadmm.hardware.plan.build import BuildPlan, files_digest
from pyadmm.hardware.plan.kernel import (
    WORD_BITS,
    BalancedFormat,
    EntryFormat,
    KernelConfig,
    KernelFamily,
    free_shifts,
    index_width,
)
from pyadmm.hardware.plan.stage import (
    HEADER_WORDS,
    SLOT_WORDS,
    Constants,
    Pool,
    StagePlan,
    engine_shape,
    may_select_products,
    selects_products,
)

__all__ = [
    "HEADER_WORDS",
    "SLOT_WORDS",
    "WORD_BITS",
    "AcceleratorPlan",
    "BalancedFormat",
    "BuildPlan",
    "Constants",
    "EntryFormat",
    "InputStream",
    "KernelConfig",
    "KernelFamily",
    "Pool",
    "StagePlan",
    "Unit",
    "engine_shape",
    "files_digest",
    "free_shifts",
    "index_width",
    "may_select_products",
    "selects_products",
]
