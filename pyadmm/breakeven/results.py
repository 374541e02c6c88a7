"""Results of a break-even search: one record per layer and board, with its whole curve."""

from __future__ import annotations

from dataclasses import dataclass

from pyadmm.core import schema
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.plan import KernelConfig
from pyadmm.model.types import Resources

METRIC = "time per image = cycles x max(board clock period, clock estimate), same area"


@dataclass(frozen=True)
class KernelPoint:
    """One kernel at one pruned portion.

    :param cycles: clock cycles for one image, weight transfer counted where weights are streamed.
    :param period_ns: clock period that it runs at, never below the board's.
    :param clock_estimate_ns: what its own slowest path allows; ``None`` where unknown.
    :param resources: weight memories, index decoders and input frames included.
    """

    config: KernelConfig
    entry_capacity: int
    cycles: int
    period_ns: float
    clock_estimate_ns: float | None
    resources: Resources

    @property
    def time_us(self) -> float:
        """Time for one image, µs."""
        return self.cycles * self.period_ns / 1e3


@dataclass(frozen=True)
class CurvePoint:
    """Sparse against dense at one pruned portion.

    :param sparse: the fastest sparse kernel that fits the dense kernel's area; ``None`` if none.
    :param speedup: dense time over sparse time; ``None`` where no sparse kernel fits.
    :param reason: why none fits: resource, need, limit of the closest one.
    """

    pruned: float
    sparse: KernelPoint | None
    speedup: float | None
    reason: str = ""

    @property
    def ratio(self) -> float:
        """Pruning ratio, weights over weights that are left."""
        return 1 / (1 - self.pruned)


@dataclass(frozen=True)
class BreakEven:
    """Break-even pruning ratio of one layer on one board.

    :param layer: network and layer, such as ``alexnet.conv4``.
    :param name: name of the layer in its network.
    :param board: name of the board.
    :param ratio: least pruning ratio at which sparse is not slower than dense on the same area;
        ``None`` where it is slower over the whole curve.
    :param metric: what is compared, in words.
    :param basis: stage of the tool run behind the areas and clocks.
    :param tool: the tool that measured, and its ``version``.
    :param board_clock_ns: clock period of the board, ns.
    :param storage: ``resident``: all weights on chip; ``streamed``: loaded from DDR while it runs.
    :param weight_bits: bits of a level, and ``activation_bits`` of an input of the layer.
    :param dense: the best dense kernel found for the budget; its resources are the area limit.
    :param curve: sparse kernel and speedup at each pruned portion.
    :param notes: remarks on how the figures were found.
    :param family: ``sparse`` (positions anywhere), ``balanced`` (window-balanced patterns) or
        ``shared`` (the channels of a slot share all positions).
    """

    layer: str
    name: str
    board: str
    ratio: float | None
    metric: str
    basis: str
    tool: str
    version: str
    board_clock_ns: float
    storage: str
    weight_bits: int
    activation_bits: int
    dense: KernelPoint
    curve: tuple[CurvePoint, ...]
    notes: tuple[str, ...] = ()
    family: str = "sparse"

    @property
    def title(self) -> str:
        """The layer, and the family unless it is ``sparse``."""
        return self.layer if self.family == "sparse" else f"{self.layer} ({self.family})"

    @property
    def pruned(self) -> float | None:
        """The break-even as a pruned portion, ``1 - 1 / ratio``."""
        return None if self.ratio is None else 1 - 1 / self.ratio

    def speedup_at(self, pruned: float) -> float | None:
        """Speedup at the portion ``pruned`` of the curve; ``None`` where no sparse kernel fits.

        :raises PyadmmError: where the curve has no such point.
        """
        for point in self.curve:
            if abs(point.pruned - pruned) < 1e-9:
                return point.speedup
        raise PyadmmError(f"break-even {self.layer}: the curve has no point at {pruned}")


@dataclass(frozen=True)
class NotMeasured:
    """A layer and a board without a result.

    :param reason: for a kernel that does not fit: resource, need, limit; or what a tool said.
    """

    layer: str
    board: str
    reason: str

    @property
    def text(self) -> str:
        """Layer, board and reason in one line."""
        return f"{self.layer} on {self.board}: {self.reason.splitlines()[0]}"


def to_json(results: tuple[BreakEven, ...]) -> str:
    """Several records as one JSON text."""
    return schema.to_json(results)


def from_json(text: str) -> tuple[BreakEven, ...]:
    """The records in text that :func:`to_json` wrote.

    :raises PyadmmError: for text of another form.
    """
    return schema.from_json(tuple[BreakEven, ...], text, "break-even: no list of records")
