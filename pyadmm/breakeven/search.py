"""The break-even of one layer: its pruning ratio, found by comparing kernels of the same area."""

from __future__ import annotations

from collections.abc import Sequence

from pyadmm.breakeven.balanced_search import BalancedSearch
from pyadmm.breakeven.cases import LayerCase
from pyadmm.breakeven.measure import Measure, OpenFlow
from pyadmm.breakeven.results import BreakEven
from pyadmm.breakeven.settings import PrunedFamily, Settings
from pyadmm.breakeven.sparse_search import SparseSearch
from pyadmm.hardware.boards import Board
from pyadmm.hardware.plan import KernelConfig

SEARCH_VERSION = 3
"""Part of the digest of every record: raise it when the search or its cycle model changes."""


def break_even(
    case: LayerCase,
    board: Board,
    measure: Measure | None = None,
    settings: Settings | None = None,
    configs: Sequence[KernelConfig] | None = None,
    *,
    family: PrunedFamily = "sparse",
) -> BreakEven:
    """Break-even pruning ratio of ``case`` on ``board``.

    :param measure: areas and clocks; :class:`~pyadmm.breakeven.measure.OpenFlow` by default.
    :param configs: kernels to consider; all that the search can think of by default.
    :param family: the kernels that compete with dense ones, each on patterns of its own kind.
    :raises PyadmmError: where no dense kernel fits the budget: resource, need, limit.
    """
    search = SparseSearch if family == "sparse" else BalancedSearch
    measure, settings = measure or OpenFlow(), settings or Settings()
    return search(case, board, measure, settings, configs, family=family).run()
