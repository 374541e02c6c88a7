"""Design-space search: the kernel of every layer, so that a network fits a board and runs fastest.

The search lists the useful kernels of every layer (:mod:`~pyadmm.hardware.kernel_space`) with their
cycles (the schedule of ``docs/kernels.md``) and the *modelled* area of :mod:`pyadmm.hardware.cost`. It
chooses the kernels whose slowest stage is fastest within the budget, and spends the rest of the budget
on latency, the sum of all stages. Where LUTs are short, input frames move to block RAM and lanes to DSP
blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board
from pyadmm.hardware.cost import (
    TOP_RESOURCES,
    dense_engine_cycles,
    input_cycles,
    row_resources,
    stage_resources,
)
from pyadmm.hardware.elementwise_stage import ElementwisePlan
from pyadmm.hardware.group_balance import group_loads
from pyadmm.hardware.kernel_space import (
    balanced_windows,
    intervals,
    pareto,
    splits_evenly,
    tilings,
    useful_sizes,
)
from pyadmm.hardware.mapping import (
    ChainLink,
    best_index_bits,
    layer_links,
    loads_by_index_bits,
    plan_accelerator,
    plan_rows,
    plan_stage,
)
from pyadmm.hardware.plan import (
    AcceleratorPlan,
    InputStream,
    KernelConfig,
    StagePlan,
    index_width,
    selects_products,
)
from pyadmm.hardware.unrolled import Blocks, blocks_of
from pyadmm.model import CompressedLayer, CompressedModel
from pyadmm.model.types import Resources
from pyadmm.model.windows import find_groups

BASIS = "modelled"
Price = Callable[[Resources], float]
"""What resources are worth in LUTs, where kernels of a layer are compared."""
CHIP_SHARE = 0.8
"""Share of every resource of the chip that a network may take."""
_LONE_DSP_SHARE = 0.5
"""Share of the DSP blocks that openXC7 places: one without cascade only in the lower half of a pair."""
_RUNNERS_UP = 4
_MOST_CONSTANTS = 4096
"""Weights of a layer up to which unrolling it is considered."""
_WINDOWS = (1, 2, 3, 4)
"""Places of a balanced kernel's windows that are tried."""
_RESTART_CYCLES = 5
"""From an engine's last read to the first of the next image."""
_FILL_CYCLES, _BLOCKS_FILL_CYCLES = 20, 18
"""From an engine's last read to the full frame behind its drain; from the last row words of an
unrolled kernel, which LeNet-5 takes in simulation."""
_FRAME_HALVES = 2
_JOBS_AHEAD = 2
"""Jobs of a group that end before the next frame must be free: one waits in the group's FIFO."""
_LUTS_PER_BRAM18, _LUTS_PER_DSP = 150, 50
"""What a block RAM and a DSP block count against LUTs when designs are compared."""
_LUTS_PER_CYCLE = 10
"""The most LUTs that one cycle less of latency is worth."""


@dataclass(frozen=True)
class LayerKernel:
    """One layer on one kernel.

    :param stage: the layer's plan with that kernel.
    :param cycles: between two images.
    :param resources: modelled.
    """

    stage: StagePlan
    cycles: int
    resources: Resources

    @classmethod
    def of(cls, stage: StagePlan, engine_cycles: int) -> LayerKernel:
        """The kernel of ``stage``, whose engine takes ``engine_cycles`` for an image."""
        if stage.constants is not None:  # It has no drain, and starts anew without a pause.
            return cls(stage, engine_cycles, stage_resources(stage))
        drain = stage.spec.outputs * stage.tiles
        cycles = max(engine_cycles + _RESTART_CYCLES, drain)
        return cls(stage, cycles, stage_resources(stage))

    @property
    def config(self) -> KernelConfig:
        """Family, tile height, groups and storage of the kernel."""
        return self.stage.config

    @property
    def write_cycles(self) -> int:
        """Cycles for which half of a loadable kernel's input frame is claimed until it is full."""
        if self.stage.constants is not None:
            blocks = Blocks(self.stage)
            before = blocks.claim_block * blocks.row_cycles
            return self.cycles - before + self.stage.spec.outputs + _BLOCKS_FILL_CYCLES
        jobs = self.stage.tiles * -(-self.stage.spec.outputs // self.config.groups)
        return self.cycles * max(jobs - _JOBS_AHEAD, 0) // jobs + _FILL_CYCLES

    @cached_property
    def ways_to_save_luts(self) -> tuple[LayerKernel, ...]:
        """The same kernel with fewer LUTs: with its frame in block RAM, or one more group in DSP
        blocks.
        """
        return tuple(self._ways_to_save_luts())

    def _ways_to_save_luts(self) -> Iterator[LayerKernel]:
        changes: list[KernelConfig] = []
        if not self.config.block_frame:
            changes.append(replace(self.config, block_frame=True))
        if self.config.family != "unrolled" and self.config.dsp_groups < self.config.groups:
            changes.append(replace(self.config, dsp_groups=self.config.dsp_groups + 1))
        for config in changes:
            stage = replace(self.stage, config=config)
            moved = replace(self, stage=stage, resources=stage_resources(stage))
            if moved.resources.lut < self.resources.lut:
                yield moved


@dataclass(frozen=True)
class Choice:
    """Kernels for the whole network.

    :param stream_cycles: what the input and the output stream take per image, together.
    :param stream_interval: the larger of the two.
    :param rows: the stages without weights.
    :param links: layers of which the second reads what the first writes.
    """

    kernels: Mapping[str, LayerKernel]
    stream_cycles: int
    stream_interval: int
    rows: tuple[ElementwisePlan, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def _cycles(self) -> dict[str, int]:
        """Cycles between two images of every part."""
        rows = {row.name: row.steps for row in self.rows}
        kernels = {name: kernel.cycles for name, kernel in self.kernels.items()}
        frames = {f"the frame of {reader}": wait for (_, reader), wait in self.waits.items()}
        return {**kernels, **rows, **frames, "the streams": self.stream_interval}

    @property
    def waits(self) -> dict[tuple[str, str], int]:
        """Cycles between two images that the frame of each link bears: a half is written, then read.

        Unrolled readers are left out: they give a half back as their window leaves it.
        """
        pairs = ((link, self.kernels[link[0]], self.kernels[link[1]]) for link in self.links)
        return {
            link: -(-(writer.write_cycles + reader.cycles) // _FRAME_HALVES)
            for link, writer, reader in pairs
            if reader.stage.constants is None
        }

    @property
    def interval(self) -> int:
        """Cycles between two images, set by :attr:`slowest`."""
        return max(self._cycles.values())

    @property
    def slowest(self) -> str:
        """The part that sets the interval."""
        return max(self._cycles, key=lambda name: self._cycles[name])

    @property
    def latency(self) -> int:
        """Cycles from an image's first word to its last logit: all parts one after the other."""
        stages = sum(kernel.cycles + _FILL_CYCLES for kernel in self.kernels.values())
        return self.stream_cycles + stages + sum(row.steps + _FILL_CYCLES for row in self.rows)

    @cached_property
    def resources(self) -> Resources:
        """Modelled resources of the whole accelerator."""
        rows = (_row_resources(row) for row in self.rows)
        kernels = (kernel.resources for kernel in self.kernels.values())
        return sum((*kernels, *rows), TOP_RESOURCES)

    @property
    def configs(self) -> dict[str, KernelConfig]:
        """Kernel of every layer, by name."""
        return {name: kernel.config for name, kernel in self.kernels.items()}

    def with_kernel(self, name: str, kernel: LayerKernel) -> Choice:
        """The choice with another kernel for layer ``name``."""
        return replace(self, kernels={**self.kernels, name: kernel})


@dataclass(frozen=True)
class SearchResult:
    """The best choice of the search and the runners-up.

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
            f"latency {self.best.latency:,} cycles; resources and cycles {BASIS}"
        ]
        for place, choice in enumerate((self.best, *self.runners_up)):
            lines.append("chosen" if place == 0 else f"runner-up {place}")
            lines.extend(_line(name, kernel) for name, kernel in choice.kernels.items())
            lines.extend(_row_line(row) for row in choice.rows)
            use = choice.resources
            lines.append(
                f"  total: interval {choice.interval:,}, latency {choice.latency:,}; "
                f"LUT {use.lut:,.0f} of {self.budget.lut:,.0f}, "
                f"FF {use.ff:,.0f} of {self.budget.ff:,.0f}, "
                f"DSP {use.dsp:,.0f} of {self.budget.dsp:,.0f}, "
                f"BRAM18 {use.bram18:,.0f} of {self.budget.bram18:,.0f}, "
                f"URAM {use.uram:,.0f} of {self.budget.uram:,.0f}"
            )
        return "\n".join(lines)


def _line(name: str, kernel: LayerKernel) -> str:
    config, use = kernel.config, kernel.resources
    extra = f", {config.dsp_groups} groups in DSP blocks" if config.dsp_groups else ""
    extra += f", {config.pixels} pixels" if config.family == "unrolled" else ""
    extra += f", {config.walkers} walkers" if config.walkers > 1 else ""
    extra += ", frame in block RAM" if config.block_frame else ""
    return (
        f"  {name}: {config.family}, {config.tile_rows} rows x {config.groups} groups, index "
        f"{config.index_bits} bits{extra}, {kernel.cycles:,} cycles, LUT {use.lut:,.0f}, "
        f"BRAM18 {use.bram18:,.0f}, DSP {use.dsp:,.0f}"
    )


def _row_line(row: ElementwisePlan) -> str:
    use = row_resources(row)
    frames = " and ".join(map(str, row.frames))
    return (
        f"  {row.name}: {row.kind}, {row.lanes} lanes, {frames} frames, "
        f"{row.steps:,} cycles, LUT {use.lut:,.0f}, BRAM18 {use.bram18:,.0f}, "
        f"URAM {use.uram:,.0f}, DSP {use.dsp:,.0f}"
    )


def chip_limit(board: Board, share: float | None = None, *, open_tools: bool = False) -> Resources:
    """What an accelerator may take of the chip of ``board``.

    :param share: of every resource; ``None``: :data:`CHIP_SHARE`.
    :param open_tools: what openXC7 routes: where no share is given, the board's ``routed_share`` of
        the LUTs, and never more DSP blocks than it places.
    """
    chip = board.resources
    limit = chip.scaled(CHIP_SHARE if share is None else share)
    if not open_tools:
        return limit
    luts = limit.lut if share is not None else chip.lut * (board.routed_share or CHIP_SHARE)
    return replace(limit, lut=luts, dsp=min(limit.dsp, _LONE_DSP_SHARE * chip.dsp))


def search(
    model: CompressedModel,
    board: Board,
    share: float = CHIP_SHARE,
    family: str | None = None,
    budget: Resources | None = None,
    *,
    unrolled: bool = False,
    stream: InputStream | None = None,
    luts_alone: bool = False,
) -> SearchResult:
    """The kernels of ``model`` on ``board`` whose slowest stage is fastest.

    :param family: kernels of one family only: ``sparse``, ``dense`` or ``balanced``; ``any`` of
        them. ``None``: sparse and dense ones.
    :param unrolled: also consider unrolled kernels, whose weights are part of the hardware and
        cannot be loaded; the last layer stays loadable.
    :param stream: how images come; ``None``: as bytes, 32 bits a word.
    :param budget: resources to stay within; ``None``: ``share`` of the chip.
    :param luts_alone: compare kernels by their LUTs; else block RAM and DSP blocks count, too.
    :raises PyadmmError: where nothing fits: resource, need, limit, and the largest part that fits.
    """
    links = layer_links(model)
    price = _luts if luts_alone else _price
    options = {
        link.layer.name: _options(model, link, family, unrolled and link is not links[-1], price)
        for link in links
    }
    budget = board.resources.scaled(share) if budget is None else budget
    fastest_rows = max((row.steps for row in plan_rows(model, board, 1)), default=1)
    cycles = [[option.cycles for option in listed] for listed in options.values()]
    targets = intervals(cycles, max(fastest_rows, 1))
    smallest = _cheapest(model, board, options, targets[-1], stream, price=price)
    streams = smallest.stream_interval
    # Stages faster than the streams gain nothing.
    floor = max(streams, fastest_rows, *map(min, cycles))
    targets = [floor, *(target for target in targets if target > streams)]
    fitting: list[Choice] = []
    for target in targets:
        choice = _cheapest(model, board, options, target, stream, price=price)
        choice = _move_out_of_luts(choice, budget)
        if choice.resources.fits(budget) and choice.configs not in [f.configs for f in fitting]:
            fitting.append(choice)
        if len(fitting) > _RUNNERS_UP:
            break
    if not fitting:
        raise PyadmmError(
            _does_not_fit(model.name, board, _move_out_of_luts(smallest, budget), budget)
        )
    fitting.sort(key=lambda choice: choice.interval)
    best = _spend_luts_on_latency(
        fitting[0], options, budget, price, lambda choice: _relinked(choice, model, board)
    )
    return SearchResult(board.name, best, tuple(fitting[1:]), budget)


def _cheapest(
    model: CompressedModel,
    board: Board,
    options: Mapping[str, Sequence[LayerKernel]],
    target: int,
    stream: InputStream | None,
    *,
    price: Price,
) -> Choice:
    """The cheapest kernel of every layer that is not slower than ``target``.

    Where an unrolled kernel is slower because it must give row words, its reader is unrolled too,
    if that is fast enough.
    """
    fast = {name: [o for o in listed if o.cycles <= target] for name, listed in options.items()}
    chosen = {
        name: min(listed, key=lambda option: price(option.resources))
        for name, listed in fast.items()
    }
    while True:
        configs = {name: kernel.config for name, kernel in chosen.items()}
        plan = plan_accelerator(model, board, configs, stream=stream)
        kernels = _linked(chosen, plan)
        late = [s for s in plan.stages if s.constants and kernels[s.name].cycles > target]
        ways = {
            reader.name: [o for o in fast[reader.name] if o.config.family == "unrolled"]
            for stage in late
            for reader, _ in plan.readers(stage.node)
            if reader.name in fast and chosen[reader.name].config.family != "unrolled"
        }
        name = next((name for name, listed in ways.items() if listed), None)
        if name is None:
            break
        chosen[name] = min(ways[name], key=lambda option: price(option.resources))
    streams = (input_cycles(plan), plan.logits)
    rows = plan_rows(model, board, target)
    choice = Choice(kernels, sum(streams), max(streams), rows, _links(plan))
    return _without_waiting(choice, fast, target, price)


def _links(plan: AcceleratorPlan) -> tuple[tuple[str, str], ...]:
    """Pairs of layers of which the second reads what the first writes."""
    return tuple(
        (writer.name, reader.name)
        for writer in plan.stages
        for reader, _ in plan.readers(writer.node)
        if isinstance(reader, StagePlan)
    )


def _without_waiting(
    choice: Choice, options: Mapping[str, Sequence[LayerKernel]], target: int, price: Price
) -> Choice:
    """``choice`` with faster loadable kernels where a frame bears no interval of ``target``.

    Where there are none, the frame sets the interval.
    """
    while True:
        slow = next((link for link, wait in choice.waits.items() if wait > target), None)
        if slow is None:
            return choice
        ways = [
            choice.with_kernel(name, option)
            for name in slow
            for option in options[name]
            if option.cycles < choice.kernels[name].cycles and option.stage.constants is None
        ]
        ways = [way for way in ways if way.waits.get(slow, 0) <= target]
        if not ways:
            return choice
        choice = min(ways, key=lambda way: price(way.resources))


def _linked(kernels: Mapping[str, LayerKernel], plan: AcceleratorPlan) -> dict[str, LayerKernel]:
    """``kernels`` with the cycles that unrolled ones take in ``plan``: some must give row words."""
    return {
        stage.name: replace(kernels[stage.name], cycles=blocks_of(plan, stage).cycles)
        if stage.constants is not None
        else kernels[stage.name]
        for stage in plan.stages
    }


def _move_out_of_luts(choice: Choice, budget: Resources) -> Choice:
    """Move frames to block RAM and lanes to DSP blocks, as far as LUTs or flip-flops are short.

    The moves that save most LUTs per share of the chip's other resources come first.
    """
    while not choice.resources.fits(budget):
        now = choice.resources
        ways: list[tuple[float, str, LayerKernel]] = []
        for name, kernel in choice.kernels.items():
            for moved in kernel.ways_to_save_luts:
                dsp = moved.resources.dsp - kernel.resources.dsp
                bram18 = moved.resources.bram18 - kernel.resources.bram18
                if now.dsp + dsp <= budget.dsp and now.bram18 + bram18 <= budget.bram18:
                    share = dsp / (budget.dsp + 1) + bram18 / (budget.bram18 + 1)
                    saved = kernel.resources.lut - moved.resources.lut
                    ways.append((saved / max(share, 1e-9), name, moved))
        if not ways:
            break
        _, name, moved = max(ways, key=lambda way: way[0])
        choice = choice.with_kernel(name, moved)
    return choice


def _relinked(choice: Choice, model: CompressedModel, board: Board) -> Choice:
    """``choice`` with the cycles that its unrolled kernels take next to each other."""
    if all(config.family != "unrolled" for config in choice.configs.values()):
        return choice
    plan = plan_accelerator(model, board, choice.configs)
    return replace(choice, kernels=_linked(choice.kernels, plan))


def _spend_luts_on_latency(
    choice: Choice,
    options: Mapping[str, Sequence[LayerKernel]],
    budget: Resources,
    price: Price,
    relinked: Callable[[Choice], Choice],
) -> Choice:
    """Spend LUTs on latency: take faster kernels where they fit, most cycles per LUT first."""
    while True:
        ways: list[tuple[float, Choice]] = []
        for name, kernel in choice.kernels.items():
            for option in options[name]:
                if option.cycles >= kernel.cycles:
                    continue
                other = relinked(choice.with_kernel(name, option))
                if other.resources.dsp > budget.dsp or other.resources.bram18 > budget.bram18:
                    continue  # Moving lanes and frames only adds to them.
                other = _move_out_of_luts(other, budget)
                cost = max(price(other.resources) - price(choice.resources), 1)
                gain = (kernel.cycles - other.kernels[name].cycles) / cost
                if other.interval > choice.interval:
                    continue
                if gain * _LUTS_PER_CYCLE >= 1 and other.resources.fits(budget):
                    ways.append((gain, other))
        if not ways:
            return choice
        choice = max(ways, key=lambda way: way[0])[1]


@lru_cache(maxsize=1024)
def _row_resources(row: ElementwisePlan) -> Resources:
    return row_resources(row)


def _luts(resources: Resources) -> float:
    return resources.lut


def _price(resources: Resources) -> float:
    """LUTs, and block RAM and DSP blocks at their rates of LUTs."""
    blocks = _LUTS_PER_BRAM18 * resources.bram18 + _LUTS_PER_DSP * resources.dsp
    return resources.lut + blocks


def _options(
    model: CompressedModel, link: ChainLink, family: str | None, unrolled: bool, price: Price
) -> list[LayerKernel]:
    """Every kernel of one layer that no other of its kind beats in both cycles and price."""
    loadable = _front(_kernels(model, link, family), price)
    if not unrolled or link.layer.nnz > _MOST_CONSTANTS:
        return loadable
    # A dearer unrolled kernel may let the one before it be faster.
    return [*loadable, *_front(_unrolled_kernels(model, link), price)]


def _front(kernels: Iterable[LayerKernel], price: Price) -> list[LayerKernel]:
    return pareto(kernels, lambda kernel: kernel.cycles, lambda kernel: price(kernel.resources))


def _sizes(count: int) -> list[int]:
    """Tile heights and numbers of groups to try; sizes in between save few steps."""
    return useful_sizes(count, every_up_to=8, most_steps=40)


def _kernels(model: CompressedModel, link: ChainLink, family: str | None) -> Iterator[LayerKernel]:
    """Every useful tile height and number of groups of one layer."""
    spec = link.layer.spec
    if family in ("balanced", "any"):
        yield from _balanced_kernels(model, link)
    if family == "balanced":
        return
    loads = loads_by_index_bits(link.layer)
    groups = _sizes(spec.outputs)
    index_bits = {count: best_index_bits(link.layer, count, loads) for count in groups}
    busiest = {n: int(group_loads(loads[bits], n).max()) for n, bits in index_bits.items()}
    for tile_rows, count in tilings(spec, _sizes(spec.output_shape[1]), groups):
        if family != "dense":
            config = KernelConfig("sparse", tile_rows, count, index_bits[count])
            stage = plan_stage(model, link, config)
            yield LayerKernel.of(stage, stage.tiles * busiest[count])
        if family != "sparse" and splits_evenly(spec, count):
            stage = plan_stage(model, link, KernelConfig("dense", tile_rows, count))
            yield LayerKernel.of(stage, dense_engine_cycles(stage))


def _balanced_kernels(model: CompressedModel, link: ChainLink) -> Iterator[LayerKernel]:
    """Useful windows, groups, walkers and tile heights of one layer on the balanced kernel.

    All groups run in lock step, or as many as the layer's pattern is balanced for.
    """
    spec = link.layer.spec
    if spec.groups > 1:
        return
    rows, lockstep = _sizes(spec.output_shape[1]), _pattern_rows(link.layer)
    for window, channels in balanced_windows(spec, _WINDOWS):
        walkers = [(groups, 1) for groups in _sizes(spec.outputs)]
        if lockstep:
            most = spec.outputs // lockstep
            walkers += [(lockstep * count, count) for count in _sizes(most) if count > 1]
        for groups, count in walkers:
            config = KernelConfig(
                "balanced", 1, groups, index_width(channels), window=window, walkers=count
            )
            first = plan_stage(model, link, config)
            for tile_rows, _ in tilings(spec, rows, [groups]):
                stage = replace(first, config=replace(config, tile_rows=tile_rows))
                cycles = stage.entry_capacity + stage.slot_capacity * selects_products(stage)
                yield LayerKernel.of(stage, stage.tiles * cycles)


def _pattern_rows(layer: CompressedLayer) -> int | None:
    """Rows of a group in which the layer's pattern is balanced; ``None`` where it is not.

    Rows without weights are left out: the planner cuts them off.
    """
    occupied = layer.window_codes != 0
    occupied = occupied[occupied.any((1, 2, 3))]
    found = find_groups(occupied.reshape(len(occupied), -1), occupied.shape)
    return None if found is None else len(found[0])


def _unrolled_kernels(model: CompressedModel, link: ChainLink) -> Iterator[LayerKernel]:
    """Useful blocks of one layer whose weights are constants, with the cycles at best: where another
    unrolled layer takes them.
    """
    spec = link.layer.spec
    outputs, _, columns = spec.output_shape
    kernel, stride = (1, 1) if link.pool is None else link.pool.square
    whole = kernel == stride
    for rows in {1, stride} if whole else {1}:
        for pixels in (p for p in _sizes(columns) if p == 1 or (whole and p % stride == 0)):
            config = KernelConfig("unrolled", rows, outputs, pixels=pixels)
            stage = plan_stage(model, link, config)
            yield LayerKernel.of(stage, Blocks(stage, row_words=False).cycles)


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
