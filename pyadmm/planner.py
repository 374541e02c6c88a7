"""From a model to an accelerator plan: the chain of stages and the kernel of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pyadmm.boards import Board
from pyadmm.cost import drained_cycles, stage_resources
from pyadmm.errors import PyadmmError
from pyadmm.layout import (
    Positions,
    group_loads,
    hardware_output,
    needed_capacities,
    sparse_capacities,
)
from pyadmm.model import INPUT, CompressedLayer, CompressedModel, MaxPool, Node
from pyadmm.plan import AcceleratorPlan, KernelConfig, Pool, StagePlan, index_width
from pyadmm.spec import IntArray, Resources

BUDGET_SHARE = 0.7
"""Share of a chip that the default choice may fill by the model's reckoning; the rest is for DMA,
interconnect and the model's error."""


@dataclass(frozen=True)
class ChainLink:
    """One weighted layer of a sequential model, and the max-pool behind it."""

    layer: CompressedLayer
    pool: MaxPool | None

    @property
    def node(self) -> str:
        """Name of the node that the link gives."""
        return self.layer.name if self.pool is None else self.pool.name


def sequential_chain(model: CompressedModel) -> tuple[ChainLink, ...]:
    """The stages of ``model`` in order.

    :raises PyadmmError: naming the first node that the kernels cannot take: a residual sum, an
        average pool, a pool without a layer before it, or a branch.
    """
    links: list[ChainLink] = []
    for node in model.nodes:
        tail = links[-1].node if links else INPUT
        _require_chained(node, tail)
        if isinstance(node, CompressedLayer):
            links.append(ChainLink(node, None))
        elif isinstance(node, MaxPool) and links and links[-1].pool is None:
            links[-1] = replace(links[-1], pool=node)
        else:
            kind = type(node).__name__
            raise PyadmmError(
                f"{node.name}: the kernels have no {kind} here; supported are convolutions and "
                "linear layers in sequence, each with at most one max-pool behind it"
            )
    return tuple(links)


def _require_chained(node: Node, tail: str) -> None:
    if node.sources != (tail,):
        raise PyadmmError(
            f"{node.name}: reads {', '.join(node.sources)}, but the kernels stream layer into "
            f"layer and expect {tail}; branches and residual sums are not supported"
        )


def plan_accelerator(
    model: CompressedModel,
    board: Board,
    configs: Mapping[str, KernelConfig] | None = None,
    *,
    spare_acc_bits: int = 0,
) -> AcceleratorPlan:
    """The accelerator of ``model`` for ``board``.

    :param configs: kernel of every layer, by name; ``None``: :func:`choose_configs`.
    :param spare_acc_bits: accumulator bits beyond what this model needs, for models loaded later.
    :raises PyadmmError: for a model or a config that the kernels cannot take.
    """
    chain = sequential_chain(model)
    if configs is None:
        configs = choose_configs(model, board)
    names = [link.layer.name for link in chain]
    if set(configs) != set(names):
        odd = ", ".join(sorted(set(configs) ^ set(names)))
        raise PyadmmError(f"accelerator {model.name}: configs must name every layer; odd: {odd}")
    stages = [plan_stage(model, link, configs[link.layer.name], spare_acc_bits) for link in chain]
    return AcceleratorPlan(model.name, board, model.input, tuple(stages))


def plan_stage(
    model: CompressedModel, link: ChainLink, config: KernelConfig, spare_acc_bits: int = 0
) -> StagePlan:
    """One stage on the kernel ``config``, its capacities resolved."""
    layer, pool = link.layer, link.pool
    stage = StagePlan(
        spec=layer.spec,
        config=config,
        input=model.format_of(layer.source),
        output=hardware_output(model, layer),
        weight_bits=layer.weight_bits,
        acc_bits=model.accumulator_bits(layer.name) + spare_acc_bits,
        pool=None if pool is None else Pool(pool.kernel, pool.stride),
        node=link.node,
        entry_capacity=config.entry_capacity or 1,
        slot_capacity=config.slot_capacity or 1,
    )
    if config.entry_capacity is not None and config.slot_capacity is not None:
        return stage
    entries, slots = needed_capacities(layer, stage)
    return replace(
        stage,
        entry_capacity=config.entry_capacity or entries,
        slot_capacity=config.slot_capacity or slots,
    )


def best_index_bits(layer: CompressedLayer, groups: int) -> int:
    """``D`` with the least cycles times entry width, ties to the narrower entry."""
    return _best_index_bits(layer, loads_by_index_bits(layer), groups)


def loads_by_index_bits(layer: CompressedLayer) -> dict[int, IntArray]:
    """Entries of every output channel for every index width ``D`` that the layer can have."""
    positions = Positions.of(layer)
    limit = index_width(layer.spec.input_shape[0])
    return {d: positions.entries_per_output(d) for d in range(min(1, limit), limit + 1)}


def _best_index_bits(layer: CompressedLayer, loads: Mapping[int, IntArray], groups: int) -> int:
    rows, columns = layer.spec.kernel
    rest = layer.weight_bits + index_width(rows) + index_width(columns) + 2
    return min(loads, key=lambda d: int(group_loads(loads[d], groups).max()) * (rest + d))


@dataclass(frozen=True)
class Candidate:
    """One mapping of a layer with its modelled cost."""

    config: KernelConfig
    cycles: int
    resources: Resources
    share: float


def stage_candidates(model: CompressedModel, link: ChainLink, board: Board) -> list[Candidate]:
    """Mappings of one layer over tile rows and groups, both families, that the kernels can take."""
    layer = link.layer
    rows = _halvings(layer.spec.output_shape[1])
    stages = [*_sparse_stages(model, link, rows), *_dense_stages(model, link, rows)]
    candidates = []
    for stage in stages:
        resources = stage_resources(stage)
        cycles = drained_cycles(stage, stage.tiles * stage.entry_capacity).initiation_interval
        share = _share(resources, board.resources)
        candidates.append(Candidate(stage.config, cycles, resources, share))
    return candidates


def _sparse_stages(
    model: CompressedModel, link: ChainLink, rows: Sequence[int]
) -> Iterator[StagePlan]:
    layer = link.layer
    loads = loads_by_index_bits(layer)
    base = plan_stage(model, link, KernelConfig("sparse", 1, 1, max(loads), 1, 1))
    for groups in _halvings(layer.spec.outputs):
        index_bits = _best_index_bits(layer, loads, groups)
        entries, slots = sparse_capacities(loads[index_bits], groups)
        for tile_rows in rows:
            config = KernelConfig("sparse", tile_rows, groups, index_bits)
            yield replace(base, config=config, entry_capacity=entries, slot_capacity=slots)


def _dense_stages(
    model: CompressedModel, link: ChainLink, rows: Sequence[int]
) -> Iterator[StagePlan]:
    spec = link.layer.spec
    base = plan_stage(model, link, KernelConfig("dense", 1, 1, 0, 1, 1))
    for groups in _halvings(spec.outputs):
        if spec.groups == 1 or (spec.outputs // spec.groups) % groups == 0:
            for tile_rows in rows:
                stage = replace(base, config=KernelConfig("dense", tile_rows, groups))
                entries, slots = needed_capacities(link.layer, stage)
                yield replace(stage, entry_capacity=entries, slot_capacity=slots)


def _halvings(size: int) -> list[int]:
    """``size``, ``ceil(size / 2)`` … 1, without repeats, ascending."""
    values = {1, size}
    while size > 1:
        size = -(-size // 2)
        values.add(size)
    return sorted(values)


def _share(need: Resources, chip: Resources) -> float:
    """The largest share of any resource of ``chip`` that ``need`` takes."""
    pairs = zip(need.values(), chip.values(), strict=True)
    return max(n / c if c else float(n > 0) for n, c in pairs)


def choose_configs(model: CompressedModel, board: Board) -> dict[str, KernelConfig]:
    """A balanced default: the least target interval at which the cheapest mappings fit the board.

    Every layer takes its cheapest candidate that is not slower than the target; the target falls as
    long as the modelled sum stays within :data:`BUDGET_SHARE` of the chip.

    :raises PyadmmError: where not even the smallest mappings fit.
    """
    chain = sequential_chain(model)
    options = {link.layer.name: stage_candidates(model, link, board) for link in chain}
    budget = board.resources.scaled(BUDGET_SHARE)
    targets = sorted({c.cycles for candidates in options.values() for c in candidates})
    slowest = max(min(c.cycles for c in candidates) for candidates in options.values())
    chosen: dict[str, Candidate] | None = None
    low, high = 0, len(targets)
    while low < high:
        middle = (low + high) // 2
        picked = _pick(options, targets[middle]) if targets[middle] >= slowest else None
        if picked and sum((c.resources for c in picked.values()), Resources()).fits(budget):
            chosen, high = picked, middle
        else:
            low = middle + 1
    if chosen is None:
        smallest = _pick(options, targets[-1])
        need = sum((c.resources for c in smallest.values()), Resources())
        over = ", ".join(f"{n} {a:.0f} of {b:.0f}" for n, (a, b) in need.over(budget).items())
        raise PyadmmError(
            f"model {model.name}: does not fit {board.name}, modelled need of "
            f"{BUDGET_SHARE:.0%} of the chip: {over}; prune further or take a larger board"
        )
    return {name: candidate.config for name, candidate in chosen.items()}


def _pick(options: Mapping[str, list[Candidate]], target: int) -> dict[str, Candidate]:
    """The cheapest candidate of every layer that is not slower than ``target`` cycles."""
    return {
        name: min((c for c in candidates if c.cycles <= target), key=lambda c: (c.share, c.cycles))
        for name, candidates in options.items()
    }
