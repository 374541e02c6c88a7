"""One layer on one board: best dense kernel, sparse kernels on its area, curve, crossing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pyadmm.breakeven.cases import LayerCase
from pyadmm.breakeven.kernels import busy_cycles, kernel_stage, one_group
from pyadmm.breakeven.measure import Measure, Measured, rounded_capacity
from pyadmm.breakeven.results import METRIC, BreakEven, CurvePoint, KernelPoint
from pyadmm.breakeven.settings import PrunedFamily, Settings
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board
from pyadmm.hardware.cost import dense_engine_cycles, kernel_resources
from pyadmm.hardware.kernel_space import pareto, splits_evenly, tilings, useful_sizes
from pyadmm.hardware.plan import KernelConfig, StagePlan, index_width, selects_products
from pyadmm.hardware.weight_image import Positions
from pyadmm.model import CompressedLayer
from pyadmm.model.types import IntArray, Resources

PORTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Pruned portions of every curve (ADMM-NN figure 4); more are added around the crossing."""
_FINE_STEPS = 3
MIDDLE = 0.5
"""The portion at which kernels are matched."""
_DENSE_TRIALS = 3
_SPARSE_TRIALS = 2
_SPARSE_SHAPES = 8
_RIVALS = 1
_GUESS_ERROR = 1.1
_CROSSING_STEPS = 3
_CROSSING_PORTIONS = (0.02, 0.05, 0.15, 0.25, 0.35, 0.45)
"""Around which a balanced kernel's crossing is likely to lie."""


@dataclass(frozen=True)
class Load:
    """What a sparse kernel has to do at one pruned portion.

    :param cycles: for one image.
    :param entries: most entries that a group's memory must hold.
    :param bits: weights to transfer for one image, where they are streamed.
    """

    cycles: int
    entries: int
    bits: int


_Match = tuple[KernelPoint, list[KernelPoint], Measured]
"""A dense kernel, the sparse kernels on its area, and what the dense one was measured with."""


class SparseSearch:
    """One layer on one board, sparse kernels against dense ones."""

    patterns = "patterns: uniformly random positions, output channels balanced over groups"

    def __init__(
        self,
        case: LayerCase,
        board: Board,
        measure: Measure,
        settings: Settings,
        configs: Sequence[KernelConfig] | None,
        *,
        family: PrunedFamily = "sparse",
    ) -> None:
        self.family = family
        self.case = case
        self.board = board
        self.measure = measure
        self.settings = settings
        self.configs = configs
        self.steps: dict[tuple[float, int, int], int] = {}
        self.entries: dict[tuple[float, int], list[IntArray]] = {}
        self.latest: tuple[float, list[Positions]] = (math.nan, [])
        # Streamed weights: the convolution groups run one after the other, as layers of their own.
        self.blocks = 1 if case.resident else case.spec.groups
        self.spec = case.spec if self.blocks == 1 else one_group(case.spec)

    def run(self) -> BreakEven:
        """Find the dense kernel, the curve and the crossing; gives the record."""
        dense, sparse, measured = self._best_match()
        shapes = [point.config for point in sorted(sparse, key=lambda point: point.time_us)]
        portions = (*PORTIONS, *self.settings.further)
        self._measure_together(shapes)
        points = {portion: self._at(portion, dense, shapes) for portion in portions}
        crossing = self._crossing(points, dense, shapes)
        return BreakEven(
            layer=self.case.label,
            name=self.case.spec.name,
            board=self.board.name,
            ratio=None if crossing is None else 1 / (1 - crossing),
            metric=METRIC,
            basis=measured.basis,
            tool=measured.tool,
            version=measured.version,
            board_clock_ns=self.board.clock_ns,
            storage="resident" if self.case.resident else "streamed",
            weight_bits=self.case.weight_bits,
            activation_bits=self.case.activation_bits,
            family=self.family,
            dense=dense,
            curve=tuple(points[portion] for portion in sorted(points)),
            notes=self._notes(),
        )

    def _measure_together(self, shapes: Sequence[KernelConfig]) -> None:
        """Have the memories of a whole curve synthesised in one run, which is faster than many."""
        pairs = [
            (self._with_index_bits(shape, portion), portion)
            for shape in shapes
            for portion in (*PORTIONS, *_CROSSING_PORTIONS)
        ]
        self._measured(
            [config for config, _ in pairs], [self._load(*pair).entries for pair in pairs]
        )

    def _notes(self) -> tuple[str, ...]:
        notes = [
            self.patterns,
            "kernel: engine, weight memories, index decoder, input frame; requantiser left out",
        ]
        if not self.case.resident:
            notes.append(
                "weights streamed from DDR at its peak rate through double buffers of one channel "
                f"per group ({self.board.memory_bandwidth_mb_s:g} MB/s)"
            )
        return tuple(notes)

    # Dense

    def _best_match(self) -> _Match:
        """The dense kernel with the largest speedup of its sparse ones, and these.

        Where synthesis does not bear the guess out (the sparse kernel that was to fill the area
        exceeds it by a little), the next dense kernel is measured as well.
        """
        best: _Match | None = None
        for guess, config in self._candidates():
            if best is not None and _middle_speedup(best) >= guess:
                break
            match = self._match(config)
            if best is None or _middle_speedup(match) > _middle_speedup(best):
                best = match
        assert best is not None
        return best

    def _candidates(self) -> list[tuple[float, KernelConfig]]:
        """Dense kernels to measure: fast for their area, and matched well by a sparse kernel.

        Each with the speedup of the sparse kernel with half of the weights pruned, as guessed.

        Kernels come in steps (a row of lanes more, a group more), and a budget that falls between
        two steps of one family would compare step sizes. So the budget is the area of a dense
        kernel that is the fastest of its area, and of these the one that a sparse kernel fills
        best, between half of the largest such area and the share of the chip in the settings.

        :raises PyadmmError: where no dense kernel fits the budget.
        """
        budget = self.settings.budget(self.board, self.case.layers_on_chip)
        shapes = self._shapes("dense")
        if self.configs is not None:
            return [(math.inf, config) for config in shapes]
        guesses = {config: self._guess(config) for config in shapes}
        shapes = [config for config in shapes if guesses[config].fits(budget)]
        if not guesses:
            raise PyadmmError(
                f"break-even {self.case.label} on {self.board.name}: not even one row of lanes "
                f"fits its budget of {budget.lut:,.0f} LUTs (modelled)"
            )
        if not shapes:
            smallest = min(guesses, key=lambda c: guesses[c].lut)
            raise PyadmmError(
                f"break-even {self.case.label} on {self.board.name}: not even the smallest dense "
                f"kernel fits its budget; {_needs(guesses[smallest].over(budget))} (modelled)"
            )
        fastest = pareto(shapes, self._dense_cycles, lambda config: guesses[config].lut)
        # A kernel of one lane breaks even at once and says nothing: stay in the upper half.
        largest = max(guesses[config].lut for config in fastest)
        fastest = [config for config in fastest if guesses[config].lut >= largest / 2]
        sparse = [(config, self._guess(config)) for config in self._shapes(self.family)]

        def match(config: KernelConfig) -> float:
            limit = guesses[config]
            rivals = [self._rough_cycles(c) for c, guess in sparse if guess.fits(limit)]
            return self._dense_cycles(config) / min(rivals, default=math.inf)

        candidates = [(match(config), config) for config in fastest]
        return sorted(candidates, key=lambda pair: pair[0], reverse=True)[:_DENSE_TRIALS]

    def _match(self, config: KernelConfig) -> _Match:
        """The best dense and the best sparse kernels on the area of the dense kernel ``config``."""
        measured = self._measured([config])[0]
        own = self._dense_point(config, measured)
        rivals = [] if self.configs is not None else self._rivals(config)
        dense = own
        for rival, result in zip(rivals, self._measured(rivals), strict=True):
            point = self._dense_point(rival, result)
            if result.resources.fits(own.resources) and point.time_us < dense.time_us:
                dense = replace(point, resources=own.resources)
        return dense, self._fitting_sparse(config, own.resources), measured

    def _rivals(self, config: KernelConfig) -> list[KernelConfig]:
        """Faster dense kernels that might fit the area of ``config`` where the guess errs."""
        lut, cycles = self._guess(config).lut, self._dense_cycles(config)
        near = [
            c
            for c in self._shapes("dense")
            if self._dense_cycles(c) < cycles and self._guess(c).lut <= _GUESS_ERROR * lut
        ]
        return sorted(near, key=lambda c: self._guess(c).lut)[:_RIVALS]

    def _dense_cycles(self, config: KernelConfig) -> int:
        stage = self._stage(config, 1)
        whole = replace(stage, spec=self.spec)
        return self._transferred(
            self.blocks * dense_engine_cycles(whole),
            self.case.spec.weights * (self.case.weight_bits + 1),
        )

    def _dense_point(self, config: KernelConfig, measured: Measured) -> KernelPoint:
        return self._point(
            config, self._dense_entries(config), self._dense_cycles(config), measured
        )

    def _dense_entries(self, config: KernelConfig) -> int:
        slots = 2 if not self.case.resident else math.ceil(self.spec.outputs / config.groups)
        return slots * (self.spec.weights // self.spec.outputs)

    # Sparse

    def _fitting_sparse(self, dense: KernelConfig, limit: Resources) -> list[KernelPoint]:
        """The fastest sparse kernels that fit ``limit`` with half of the weights pruned.

        With weights on chip, falls back to the portion of 90 % where half of the weights are too
        many to be stored, and keeps a second kernel for portions that the first has no room for.
        """
        both = self.case.resident or self.family != "sparse"
        portions = (MIDDLE, PORTIONS[-1]) if both else (MIDDLE,)
        for portion in portions:
            shapes = self._shapes(self.family)
            if self.configs is None:
                shapes = [c for c in shapes if self._might_fit(c, dense, limit, portion)]
            shapes.sort(key=lambda c: (self._rough_cycles(c), self._guess(c).lut))
            rest = portions if portion == MIDDLE else portions[1:]
            if kept := self._first_fitting(shapes, rest, limit):
                return kept
        return self._next_fitting(shapes[_SPARSE_SHAPES - 1 :], portions[-1], limit)

    def _first_fitting(
        self, shapes: Sequence[KernelConfig], portions: Sequence[float], limit: Resources
    ) -> list[KernelPoint]:
        """The first of ``shapes`` that fit ``limit`` at one of ``portions``, the first one best."""
        # Memories of streamed weights are small at every portion: the first answer holds for all.
        trials = _SPARSE_TRIALS if self.case.resident else 1
        for start in range(0, _SPARSE_SHAPES, trials):
            for portion in portions:
                kept = self._fitting(shapes[start : start + trials], portion, limit)
                if kept:
                    return kept
        return []

    def _next_fitting(
        self, shapes: Sequence[KernelConfig], pruned: float, limit: Resources
    ) -> list[KernelPoint]:
        """The first of ``shapes`` that fits ``limit``, where ``shapes[0]`` is known not to.

        What a shape exceeds the limit by says how much smaller the next one to measure must be.
        """
        for _ in range(_SPARSE_SHAPES):
            if not shapes:
                break
            tried = self._with_index_bits(shapes[0], pruned)
            load = self._load(tried, pruned)
            result = self._measured([tried], [load.entries])[0]
            over = result.resources.over(limit).values()
            if not over:
                return [self._point(tried, load.entries, load.cycles, result)]
            luts = self._guess(tried).lut / max(need / (most or 1) for need, most in over)
            shapes = [shape for shape in shapes[1:] if self._guess(shape).lut <= luts]
        return []

    def _might_fit(
        self, config: KernelConfig, dense: KernelConfig, limit: Resources, pruned: float
    ) -> bool:
        guess, luts = self._guess(config, pruned), self._guess(dense).lut
        # Small memories may turn out as LUT RAM, which the guess counts as one block each.
        halves = limit.bram18 + config.groups
        return guess.lut <= _GUESS_ERROR * luts and guess.bram18 <= halves

    def _fitting(
        self, shapes: Sequence[KernelConfig], pruned: float, limit: Resources
    ) -> list[KernelPoint]:
        """Those of ``shapes`` that fit ``limit`` at one pruned portion."""
        shapes = [self._with_index_bits(config, pruned) for config in shapes]
        loads = [self._load(config, pruned) for config in shapes]
        measured = self._measured(shapes, [load.entries for load in loads])
        return [
            self._point(config, load.entries, load.cycles, result)
            for config, load, result in zip(shapes, loads, measured, strict=True)
            if result.resources.fits(limit)
        ]

    def _rough_cycles(self, config: KernelConfig) -> float:
        """Cycles with half of the weights pruned, but for balance and fillers."""
        stage = self._stage(config, 1)
        slots = math.ceil(self.spec.outputs / config.groups)
        window = self.spec.weights / self.spec.outputs
        return self.blocks * stage.tiles * slots * window * MIDDLE

    def _at(self, pruned: float, dense: KernelPoint, configs: Sequence[KernelConfig]) -> CurvePoint:
        """The first of ``configs``, fastest first, that fits the dense area at one portion."""
        for config in configs:
            for point in self._fitting([config], pruned, dense.resources):
                return CurvePoint(pruned, point, dense.time_us / point.time_us)
        if not configs:
            return CurvePoint(pruned, None, None, self._why_none(dense.resources))
        closest = self._with_index_bits(configs[0], pruned)
        entries = self._load(closest, pruned).entries
        over = self._measured([closest], [entries])[0].resources.over(dense.resources)
        return CurvePoint(pruned, None, None, _needs(over))

    def _why_none(self, limit: Resources) -> str:
        """What the sparse kernel that exceeds ``limit`` least lacks; areas as guessed."""
        said = "no sparse kernel fits the dense kernel's area"
        guesses = [self._guess(config, PORTIONS[-1]) for config in self._shapes(self.family)]
        over = [needs for guess in guesses if (needs := guess.over(limit))]
        if len(over) < len(guesses) or not over:
            return said
        closest = min(
            over, key=lambda needs: max(need / (most or 1) for need, most in needs.values())
        )
        return f"{said}; closest: {_needs(closest)} (modelled)"

    def _crossing(
        self,
        points: dict[float, CurvePoint],
        dense: KernelPoint,
        configs: Sequence[KernelConfig],
    ) -> float | None:
        """Least pruned portion with a speedup of 1, by bisection; adds its points to ``points``."""
        wins = [p for p in PORTIONS if _wins(points[p])]
        if not wins:
            return None
        high = wins[0]
        index = PORTIONS.index(high)
        low = PORTIONS[index - 1] if index else 0.0
        for portion in np.linspace(low, high, _FINE_STEPS + 1)[1:-1].round(4).tolist():
            points[portion] = self._at(portion, dense, configs)
            if _wins(points[portion]):
                high = min(high, portion)
            elif portion < high:
                low = portion
        for _ in range(_CROSSING_STEPS):
            middle = round((low + high) / 2, 4)
            if middle in (low, high):
                break
            points[middle] = self._at(middle, dense, configs)
            low, high = (low, middle) if _wins(points[middle]) else (middle, high)
        return high

    def _entries_at(self, pruned: float, index_bits: int) -> list[IntArray]:
        """Entries of every output channel, one array for each block that runs by itself."""
        key = pruned, index_bits
        if key not in self.entries:
            positions = self._positions_at(pruned)
            self.entries[key] = [block.entries_per_output(index_bits) for block in positions]
        return self.entries[key]

    def _positions_at(self, pruned: float) -> list[Positions]:
        """Where the non-zeros of every block are; the last ones are kept (fc6 has 38 M weights)."""
        if self.latest[0] != pruned:
            self.latest = math.nan, []
            self.latest = pruned, [Positions.of(block) for block in self._blocks_at(pruned)]
        return self.latest[1]

    def _blocks_at(self, pruned: float) -> list[CompressedLayer]:
        whole = self.case.pruned_layer(pruned)
        if self.blocks == 1:
            return [whole]
        bias = np.zeros(self.spec.outputs, np.int64)
        return [
            replace(whole, spec=self.spec, codes=part, bias=bias)
            for part in np.split(whole.codes, self.blocks)
        ]

    def _load(self, config: KernelConfig, pruned: float) -> Load:
        """Exact cycles of the schedule in ``docs/kernels.md``."""
        blocks = self._entries_at(pruned, config.index_bits)
        loads = [busy_cycles(counts, config.groups, pause=False) for counts in blocks]
        held = [
            max(load) if self.case.resident else 2 * int(counts.max())
            for load, counts in zip(loads, blocks, strict=True)
        ]
        entries, total = max(held), sum(map(sum, loads))
        stage = self._stage(config, rounded_capacity(entries))
        pause = selects_products(stage)
        cycles = stage.tiles * sum(max(busy_cycles(c, config.groups, pause)) for c in blocks)
        bits = total * stage.entry_format.bits
        return Load(self._transferred(cycles, bits), entries, bits)

    def _with_index_bits(self, config: KernelConfig, pruned: float) -> KernelConfig:
        """``config`` with the index width of the least cycles, then of the narrowest entry."""
        channels = self.spec.input_shape[0]
        if self.configs is not None or channels == 1:
            return config
        options = [replace(config, index_bits=d) for d in range(1, index_width(channels) + 1)]
        loads = {c.index_bits: self._load(c, pruned) for c in options}
        least = min(load.cycles for load in loads.values())
        # A bit of index costs memory in every entry; half a percent of cycles is not worth it.
        return next(c for c in options if loads[c.index_bits].cycles <= 1.005 * least)

    # Both

    def _transferred(self, cycles: int, bits: int) -> int:
        """``cycles``, or those that loading ``bits`` takes where weights are streamed."""
        if self.case.resident:
            return cycles
        bits_per_cycle = 8 * self.board.memory_bandwidth_mb_s / self.board.clock_mhz
        return max(cycles, math.ceil(bits / bits_per_cycle))

    def _stage(self, config: KernelConfig, entries: int) -> StagePlan:
        return kernel_stage(self.case, config, entries)

    def _measured(
        self, configs: Sequence[KernelConfig], entries: Sequence[int] | None = None
    ) -> list[Measured]:
        held = entries or [self._dense_entries(config) for config in configs]
        stages = [
            self._stage(config, rounded_capacity(count))
            for config, count in zip(configs, held, strict=True)
        ]
        return self.measure(stages, self.board)

    def _point(
        self, config: KernelConfig, entries: int, cycles: int, measured: Measured
    ) -> KernelPoint:
        estimate = measured.clock_estimate_ns
        period = max(self.board.clock_ns, estimate or 0.0)
        return KernelPoint(
            config, rounded_capacity(entries), cycles, period, estimate, measured.resources
        )

    def _shapes(self, family: str) -> list[KernelConfig]:
        """Kernels of one family, fewest lanes last."""
        if self.configs is not None:
            kind = "balanced" if family == "shared" else family
            return [config for config in self.configs if config.family == kind]
        shapes = list(self._all_shapes(family))
        shapes.sort(key=lambda c: -c.tile_rows * c.groups)
        return shapes

    def _all_shapes(self, family: str) -> Iterator[KernelConfig]:
        budget = self.settings.budget(self.board, self.case.layers_on_chip)
        most_lanes = budget.lut / self.case.lane_luts
        rows, groups = useful_sizes(self.spec.output_shape[1]), useful_sizes(self.spec.outputs)
        for tile_rows, count in tilings(self.spec, rows, groups, most_lanes):
            if family != "dense":
                yield from self._pruned_shapes(tile_rows, count)
            elif splits_evenly(self.spec, count):
                yield KernelConfig("dense", tile_rows, count)

    def _pruned_shapes(self, tile_rows: int, groups: int) -> Iterator[KernelConfig]:
        """Kernels that leave pruned weights out."""
        bits = min(2, index_width(self.spec.input_shape[0]))
        yield KernelConfig("sparse", tile_rows, groups, bits)

    def _guess(self, config: KernelConfig, pruned: float = MIDDLE) -> Resources:
        """A rough area, only to decide what is worth a synthesis run.

        :param pruned: portion of the weights that a sparse kernel has no entries for.
        """
        words = self._dense_entries(config)
        if config.family != "dense":
            words = math.ceil(words * (1 - pruned))
        return kernel_resources(self._stage(config, rounded_capacity(words)))


def _middle_speedup(match: _Match) -> float:
    dense, sparse, _ = match
    return max((dense.time_us / point.time_us for point in sparse), default=0.0)


def _wins(point: CurvePoint) -> bool:
    return point.speedup is not None and point.speedup >= 1


def _needs(over: dict[str, tuple[float, float]]) -> str:
    return "; ".join(
        f"{name}: needs {need:g}, limit {limit:g}" for name, (need, limit) in over.items()
    )
