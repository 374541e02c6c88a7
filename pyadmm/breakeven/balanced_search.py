"""One layer on one board: the same comparison for balanced kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pyadmm.breakeven.cases import SEED
from pyadmm.breakeven.measure import rounded_capacity
from pyadmm.breakeven.results import KernelPoint
from pyadmm.breakeven.sparse_search import PORTIONS, Load, SparseSearch
from pyadmm.hardware.balanced import program_of, windows_of
from pyadmm.hardware.kernel_space import balanced_windows
from pyadmm.hardware.plan import KernelConfig, index_width, selects_products
from pyadmm.model.types import Resources

_WINDOWS, _FOLDS = (2, 3, 4), (2, 4)
"""Places of a window of a kernel row, and of a window of single pixels' channels."""
_SHALLOW, _DEEP = 128, 512
"""Entries up to which synthesis makes LUT RAM of a memory, and with which it makes block RAM."""


class BalancedSearch(SparseSearch):
    """One layer on one board, balanced kernels against dense ones.

    Family ``balanced`` has windows of several places, ``shared`` windows of one: the channels of a
    slot then share all positions.
    """

    patterns = (
        "patterns: window-balanced, random numbers of weights in the windows, the same for all "
        "channels; random positions within each window"
    )

    def _pruned_shapes(self, tile_rows: int, groups: int) -> Iterator[KernelConfig]:
        single = self.spec.input_shape[1:] == (1, 1)
        windows = (1,) if self.family == "shared" else _FOLDS if single else _WINDOWS
        for window, channels in balanced_windows(self.spec, windows):
            bits = min(2, index_width(channels))
            yield KernelConfig("balanced", tile_rows, groups, bits, window=window)

    def _steps(self, config: KernelConfig, pruned: float) -> int:
        """Steps of a slot: kept places of one channel, drawn at random, and bridged gaps."""
        key = pruned, config.window, config.index_bits
        if key not in self.steps:
            stage = self._stage(config, 1)
            places = self.spec.weights // self.spec.outputs
            order = np.random.default_rng(SEED).permutation(places)
            row = np.zeros(places, np.int64)
            row[order[: max(round((1 - pruned) * places), 1)]] = 1
            windows = windows_of(row.reshape(1, *self.spec.window_shape[1:]), stage)
            self.steps[key] = len(program_of(windows[0].sum(1), stage)[0])
        return self.steps[key]

    def _load(self, config: KernelConfig, pruned: float) -> Load:
        """Exact cycles of the schedule in ``docs/kernels.md``."""
        steps, slots = self._steps(config, pruned), -(-self.spec.outputs // config.groups)
        entries = steps * (slots if self.case.resident else 2)
        entries += entries & (entries - 1) != 0  # the other groups' words lie one address higher
        stage = self._stage(config, rounded_capacity(entries))
        cycles = self.blocks * stage.tiles * slots * (steps + selects_products(stage))
        form = stage.balanced_format
        program = slots * (form.bits - form.entry_bits)
        bits = self.blocks * steps * (self.spec.outputs * form.entry_bits + program)
        return Load(self._transferred(cycles, bits), entries, bits)

    def _with_index_bits(self, config: KernelConfig, pruned: float) -> KernelConfig:
        """``config`` with the narrowest index that suits the sparsest pattern.

        One memory of all pays for it, so every portion gets the same, and the same engine.
        """
        del pruned
        channels = self._stage(config, 1).window_channels
        if channels == 1:
            return config
        options = [replace(config, index_bits=d) for d in range(1, index_width(channels) + 1)]
        steps = [self._steps(option, PORTIONS[-1]) for option in options]
        return next(c for c, n in zip(options, steps, strict=True) if n <= 1.01 * min(steps))

    def _fitting(
        self, shapes: Sequence[KernelConfig], pruned: float, limit: Resources
    ) -> list[KernelPoint]:
        """Those of ``shapes`` that fit ``limit`` at one pruned portion.

        Few entries become LUT RAM. Where that exceeds the LUTs or flip-flops, memories are made
        deep enough for block RAM.
        """
        points = super()._fitting(shapes, pruned, limit)
        done = {point.config for point in points}
        rest = [self._with_index_bits(config, pruned) for config in shapes]
        rest = [config for config in rest if config not in done]
        loads = [self._load(config, pruned) for config in rest]
        shallow = [
            (config, load)
            for config, load in zip(rest, loads, strict=True)
            if load.entries <= _SHALLOW and config.groups < limit.bram18
        ]
        if not shallow:
            return points
        deep = self._measured([config for config, _ in shallow], [_DEEP] * len(shallow))
        deeper = [
            self._point(config, _DEEP, load.cycles, result)
            for (config, load), result in zip(shallow, deep, strict=True)
            if result.resources.fits(limit)
        ]
        return sorted([*points, *deeper], key=lambda point: point.time_us)
