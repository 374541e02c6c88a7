"""Break-even pruning ratio: from where on sparse hardware beats dense hardware on the same area.

Definition (ADMM-NN section 5.1, ``docs/breakeven.md``): the least pruning ratio of a layer at
which its sparse kernel is not slower than the best dense kernel, where the dense kernel's
synthesised area is the hard limit for every resource.
"""

from __future__ import annotations

from pyadmm.breakeven.cases import (
    LayerCase,
    LayerFormat,
    layer_case,
    model_cases,
    model_names,
    network_cases,
)
from pyadmm.breakeven.measure import Measure, Measured, OpenFlow, RecordedReports
from pyadmm.breakeven.outputs import add_sheets, plot, write_outputs
from pyadmm.breakeven.results import (
    BreakEven,
    CurvePoint,
    KernelPoint,
    NotMeasured,
    from_json,
    to_json,
)
from pyadmm.breakeven.search import break_even
from pyadmm.breakeven.settings import Settings
from pyadmm.breakeven.store import Measurements, measurements

__all__ = [
    "BreakEven",
    "CurvePoint",
    "KernelPoint",
    "LayerCase",
    "LayerFormat",
    "Measure",
    "Measured",
    "Measurements",
    "NotMeasured",
    "OpenFlow",
    "RecordedReports",
    "Settings",
    "add_sheets",
    "break_even",
    "from_json",
    "layer_case",
    "measurements",
    "model_cases",
    "model_names",
    "network_cases",
    "plot",
    "to_json",
    "write_outputs",
]
