"""Design-space search: the kernel of every layer, so that a network fits a board and runs fastest.

For every layer all useful tile heights and group counts of both families are listed with their
exact cycles (the schedule of ``docs/kernels.md``) and a *modelled* area, calibrated on synthesised
engines (``docs/breakeven.md``). The choice is the one whose slowest stage is fastest within the
budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyadmm.boards import Board
from pyadmm.cost import (
    dense_engine_cycles,
    input_cycles,
    memory_resources,
    multiplier_resources,
    row_resources,
)
from pyadmm.errors import PyadmmError
from pyadmm.layout import Positions, group_loads
from pyadmm.model import CompressedModel
from pyadmm.plan import KernelConfig, StagePlan
from pyadmm.planner import (
    ChainLink,
    best_index_bits,
    layer_links,
    plan_accelerator,
    plan_rows,
    plan_stage,
)
from pyadmm.rowstage import RowStagePlan
from pyadmm.spec import Resources

BASIS = "modelled"
CHIP_SHARE = 0.8
"""Share of every resource of the chip that a network may take."""
_RUNNERS_UP = 4
_MOST_LANES = 4096
# LUTs of synthesised engines (Yosys, xc7): a lane is its accumulator and 0.95 LUTs per product bit
# and digit; an engine's control and address path, a group's decoder and output.
_LUTS_PER_DIGIT_BIT = 0.95
_ENGINE_LUTS, _GROUP_LUTS = 130, 60


@dataclass(frozen=True)
class LayerKernel:
    """One layer on one kernel.

    :param cycles: between two images.
    :param resources: modelled.
    """

    config: KernelConfig
    cycles: int
    resources: Resources


@dataclass(frozen=True)
class Choice:
    """Kernels for the whole network.

    :param interval: cycles between two images, set by :attr:`slowest`.
    :param rows: the stages without weights.
    """

    kernels: Mapping[str, LayerKernel]
    interval: int
    slowest: str
    resources: Resources
    rows: tuple[RowStagePlan, ...] = ()

    @property
    def configs(self) -> dict[str, KernelConfig]:
        """Kernel of every layer, by name."""
        return {name: kernel.config for name, kernel in self.kernels.items()}


@dataclass(frozen=True)
class SearchResult:
    """The best choice and what comes next.

    :param budget: the resources that the choice had to fit.
    """

    board: str
    best: Choice
    runners_up: tuple[Choice, ...]
    budget: Resources

    @property
    def configs(self) -> dict[str, KernelConfig]:
        """Kernel of every layer, by name."""
        return self.best.configs

    def table(self) -> str:
        """The choice and the runners-up as text, with the reason for the choice."""
        lines = [
            f"{self.board}: {self.best.interval:,} cycles per image, set by {self.best.slowest}; "
            f"resources {BASIS}, cycles exact"
        ]
        for place, choice in enumerate((self.best, *self.runners_up)):
            lines.append("chosen" if place == 0 else f"runner-up {place}")
            lines.extend(_line(name, kernel) for name, kernel in choice.kernels.items())
            lines.extend(_row_line(row) for row in choice.rows)
            use = choice.resources
            lines.append(
                f"  total: interval {choice.interval:,}; LUT {use.lut:,.0f} of "
                f"{self.budget.lut:,.0f}, FF {use.ff:,.0f} of {self.budget.ff:,.0f}, "
                f"DSP {use.dsp:,.0f} of {self.budget.dsp:,.0f}, "
                f"BRAM18 {use.bram18:,.0f} of {self.budget.bram18:,.0f}"
            )
        return "\n".join(lines)


def _line(name: str, kernel: LayerKernel) -> str:
    config, use = kernel.config, kernel.resources
    return (
        f"  {name}: {config.family}, {config.tile_rows} rows x {config.groups} groups, index "
        f"{config.index_bits} bits, {kernel.cycles:,} cycles, LUT {use.lut:,.0f}, "
        f"BRAM18 {use.bram18:,.0f}, DSP {use.dsp:,.0f}"
    )


def _row_line(row: RowStagePlan) -> str:
    use = row_resources(row)
    frames = " and ".join(map(str, row.frames))
    return (
        f"  {row.name}: {row.kind}, {row.lanes} lanes, {frames} frames, "
        f"{row.steps:,} cycles, LUT {use.lut:,.0f}, BRAM18 {use.bram18:,.0f}, DSP {use.dsp:,.0f}"
    )


def search(
    model: CompressedModel,
    board: Board,
    share: float = CHIP_SHARE,
    family: str | None = None,
) -> SearchResult:
    """The kernels of ``model`` on ``board`` whose slowest stage is fastest.

    :param family: only ``sparse`` or only ``dense`` kernels, for a comparison.
    :raises PyadmmError: where nothing fits: resource, need, limit, and the largest part that fits.
    """
    options = {link.layer.name: _options(model, link, family) for link in layer_links(model)}
    budget = board.resources.scaled(share)
    floor = max(min(option.cycles for option in listed) for listed in options.values())
    floor = max(floor, *(row.steps for row in plan_rows(model, 1)), 1)
    targets = sorted({option.cycles for listed in options.values() for option in listed})
    targets = [target for target in targets if target >= floor] or [floor]
    smallest = _choice(options, targets[-1])
    plan = plan_accelerator(model, board, smallest.configs)
    streams = max(input_cycles(plan), plan.logits)
    # Stages faster than the streams gain nothing.
    targets = [max(streams, floor), *(target for target in targets if target > streams)]
    fitting: list[Choice] = []
    for target in targets:
        choice = _with_rows(_choice(options, target), plan_rows(model, target))
        if choice.resources.fits(budget) and choice.configs not in [f.configs for f in fitting]:
            fitting.append(choice)
        if len(fitting) > _RUNNERS_UP:
            break
    if not fitting:
        smallest = _with_rows(smallest, plan_rows(model, targets[-1]))
        raise PyadmmError(_does_not_fit(model.name, board, smallest, budget))
    return SearchResult(board.name, fitting[0], tuple(fitting[1:]), budget)


def _choice(options: Mapping[str, Sequence[LayerKernel]], target: int) -> Choice:
    """The cheapest kernel of every layer that is not slower than ``target``."""
    kernels = {
        name: min(
            (option for option in listed if option.cycles <= target),
            key=lambda option: option.resources.lut + 150 * option.resources.bram18,
        )
        for name, listed in options.items()
    }
    slowest = max(kernels, key=lambda name: kernels[name].cycles)
    total = sum((kernel.resources for kernel in kernels.values()), Resources())
    return Choice(kernels, kernels[slowest].cycles, slowest, total)


def _with_rows(choice: Choice, rows: tuple[RowStagePlan, ...]) -> Choice:
    """``choice`` and the stages without weights beside it."""
    resources = sum((row_resources(row) for row in rows), choice.resources)
    steps = {row.name: row.steps for row in rows} | {choice.slowest: choice.interval}
    slowest = max(steps, key=lambda name: steps[name])
    return Choice(choice.kernels, steps[slowest], slowest, resources, rows)


def _options(model: CompressedModel, link: ChainLink, family: str | None) -> list[LayerKernel]:
    """Every useful kernel of one layer."""
    spec = link.layer.spec
    _, rows, columns = spec.output_shape
    positions = Positions.of(link.layer)
    options = []
    for groups in _useful(spec.outputs):
        index_bits = best_index_bits(link.layer, groups)
        counts = positions.entries_per_output(index_bits)
        busiest = int(group_loads(counts, groups).max())
        for tile_rows in _useful(rows):
            if tile_rows * columns * groups > _MOST_LANES:
                continue
            kernels = [KernelConfig("sparse", tile_rows, groups, index_bits)]
            if spec.groups == 1 or spec.outputs // spec.groups % groups == 0:
                kernels.append(KernelConfig("dense", tile_rows, groups))
            for config in kernels:
                if family not in (None, config.family):
                    continue
                stage = plan_stage(model, link, config)
                sparse = config.family == "sparse"
                engine = stage.tiles * busiest if sparse else dense_engine_cycles(stage)
                cycles = max(engine, spec.outputs * rows // tile_rows)
                options.append(LayerKernel(config, cycles, stage_resources(stage)))
    return options


def _useful(size: int) -> list[int]:
    """Numbers of parts into which ``size`` divides in fewer steps than the next smaller one."""
    steps = {math.ceil(size / parts) for parts in range(1, min(size, 40) + 1)}
    return sorted(steps | {1, *range(1, min(size, 8) + 1)})


def stage_resources(stage: StagePlan) -> Resources:
    """Modelled resources of one stage of the RTL: engines, frames, weight memories, drain."""
    rows = stage.spec.output_shape[1]
    digits = (stage.weight_bits + 1) // 2
    product = stage.weight_bits + stage.input.bits
    lane = stage.acc_bits + _LUTS_PER_DIGIT_BIT * digits * product
    lanes = stage.lanes * stage.groups
    kernel_rows, kernel_columns = stage.spec.kernel
    selection = stage.tile_rows * stage.row_bits * _mux(min(kernel_rows, stage.banks))
    selection += stage.lanes * stage.input.bits * _mux(kernel_columns)
    copies = stage.frame_copies
    luts = lanes * lane + copies * (selection + _ENGINE_LUTS) + stage.groups * _GROUP_LUTS
    flip_flops = lanes * (2 * stage.acc_bits + product) + copies * stage.lanes * stage.input.bits
    channels, height, _ = stage.spec.input_shape
    words = 2 * channels * math.ceil(height / stage.banks)
    memories = memory_resources(words, stage.row_bits).scaled(stage.banks * copies)
    weights = memory_resources(stage.entry_capacity, stage.weight_word_bits).scaled(stage.groups)
    scale = multiplier_resources(stage.acc_bits, 16) + Resources(lut=4 * stage.acc_bits)
    drained = stage.output_shape[2] * math.ceil(stage.tile_rows * stage.output_shape[1] / rows)
    return Resources(lut=luts, ff=flip_flops) + memories + weights + scale.scaled(drained)


def _mux(choices: int) -> int:
    """6-input LUTs of a one-bit multiplexer."""
    return math.ceil((choices - 1) / 3)


def _does_not_fit(
    name: str,
    board: Board,
    smallest: Choice,
    budget: Resources,
) -> str:
    """Resource, need, limit, and the largest part of the network that fits."""
    over = smallest.resources.over(budget)
    needs = "; ".join(
        f"{r}: needs {need:,.0f}, limit {cap:,.0f}" for r, (need, cap) in over.items()
    )
    worst = next(iter(over))
    kept, total = [], Resources()
    by_need = sorted(smallest.kernels, key=lambda n: getattr(smallest.kernels[n].resources, worst))
    for layer in by_need:
        if (total + smallest.kernels[layer].resources).fits(budget):
            total += smallest.kernels[layer].resources
            kept.append(layer)
    part = ", ".join(kept) or "none of its layers"
    return (
        f"model {name} does not fit {board.name} even on its smallest kernels: {needs} ({BASIS}); "
        f"the largest part that fits: {part}; prune further or take a larger board"
    )
