"""From a model and the kernel of each layer to an accelerator plan: the graph of stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.adder_graph import constants
from pyadmm.hardware.boards import Board
from pyadmm.hardware.cost import row_resources
from pyadmm.hardware.elementwise_stage import ElementwisePlan, RowKind, fewest_lanes
from pyadmm.hardware.group_balance import group_loads
from pyadmm.hardware.plan import (
    AcceleratorPlan,
    InputStream,
    KernelConfig,
    Pool,
    StagePlan,
    free_shifts,
    index_width,
)
from pyadmm.hardware.weight_image import (
    Positions,
    hardware_output,
    needed_capacities,
)
from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    Lookup,
    MaxPool,
    Node,
    Product,
)
from pyadmm.model.types import IntArray, LayerSpec

_URAM_SHARE = 0.7
"""Share of the chip's UltraRAM that buffers may take."""
_LEAST_BRAM18_PER_URAM = 3
"""Block RAMs that an UltraRAM must replace, as a buffer of few words wastes most of it."""
RowNode: TypeAlias = Add | AvgPool | MaxPool


@dataclass(frozen=True)
class ChainLink:
    """One weighted layer, and the max-pool that is fused into its stage."""

    layer: CompressedLayer
    pool: MaxPool | None

    @property
    def node(self) -> str:
        """Name of the node that the link gives."""
        return self.layer.name if self.pool is None else self.pool.name


def layer_links(model: CompressedModel) -> tuple[ChainLink, ...]:
    """The weighted stages of ``model``: a max-pool that alone reads a layer belongs to its stage.

    :raises PyadmmError: naming what the kernels cannot take.
    """
    _require_supported(model)
    pools = _fused_pools(model)
    return tuple(ChainLink(layer, pools.get(layer.name)) for layer in model.layers)


def row_nodes(model: CompressedModel) -> tuple[RowNode, ...]:
    """The nodes of ``model`` that are stages of their own without weights."""
    fused = {pool.name for pool in _fused_pools(model).values()}
    return tuple(
        node
        for node in model.nodes
        if isinstance(node, Add | AvgPool | MaxPool) and node.name not in fused
    )


def _fused_pools(model: CompressedModel) -> dict[str, MaxPool]:
    """Max-pools that run in the drain of a weighted stage, by the layer's name."""
    reads = Counter(source for node in model.nodes for source in node.sources)
    layers = {layer.name for layer in model.layers}
    return {
        node.source: node
        for node in model.nodes
        if isinstance(node, MaxPool) and node.source in layers and reads[node.source] == 1
    }


def _require_supported(model: CompressedModel) -> None:
    reads = Counter(source for node in model.nodes for source in node.sources)
    if model.input.signed:
        raise PyadmmError(
            f"model {model.name}: the kernels take unsigned bytes; give its hardware_form, which "
            "takes the data with their sign bits inverted"
        )
    if not model.layers:
        raise PyadmmError(f"model {model.name}: the kernels need at least one weighted layer")
    for node in model.nodes[:-1]:
        if not reads[node.name]:
            raise PyadmmError(
                f"{node.name}: no node reads it, but only {model.nodes[-1].name} may end the "
                "network; the kernels have one output, so remove it"
            )
    for node in model.nodes:
        obstacle = _obstacle(node)
        if obstacle is not None:
            raise PyadmmError(f"{node.name}: {obstacle}")


def _obstacle(node: Node) -> str | None:
    """The reason why the kernels cannot compute ``node``; ``None`` where they can."""
    if isinstance(node, Concat):
        return "the kernels cannot concatenate channels; add maps instead"
    if isinstance(node, Lookup):
        return "the kernels have no tables for such an activation; use ReLU, ReLU6 or LeakyReLU"
    if isinstance(node, Product):
        return "the kernels cannot multiply two maps; leave out the block that scales channels"
    if isinstance(node, CompressedLayer):
        return _layer_obstacle(node.spec)
    return None if isinstance(node, Add) else _pool_obstacle(node)


def _layer_obstacle(spec: LayerSpec) -> str | None:
    if len({*spec.stride}) > 1 or len({*spec.padding}) > 1:
        return (
            f"a kernel has one stride and one padding for all sides, not {spec.stride} and "
            f"{spec.padding}; make them equal"
        )
    if spec.dilation != (1, 1):
        return f"a kernel has dilation 1, not {spec.dilation}; use a larger kernel with zeros"
    return None


def _pool_obstacle(pool: MaxPool | AvgPool) -> str | None:
    if len({*pool.kernel}) > 1 or len({*pool.stride}) > 1 or any(pool.padding):
        return (
            "a pool of the kernels has square windows and no padding, not kernel "
            f"{pool.kernel}, stride {pool.stride} and padding {pool.padding}; make it square"
        )
    if isinstance(pool, AvgPool) and len(pool.requant.mult) > 1:
        return (
            f"an average pool of the kernels has one mult, not {len(pool.requant.mult)}; "
            "scale the layer before it per channel"
        )
    if isinstance(pool, AvgPool) and pool.border is not None:
        return "an average pool of the kernels has one divisor for all windows; count the padding"
    return None


def plan_accelerator(
    model: CompressedModel,
    board: Board,
    configs: Mapping[str, KernelConfig],
    *,
    spare_acc_bits: int = 0,
    any_shift: bool = False,
    stream: InputStream | None = None,
) -> AcceleratorPlan:
    """The accelerator of ``model`` for ``board``.

    Stages without weights get the fewest lanes that keep up with the slowest weighted one.

    :param configs: kernel of every layer, by name; :mod:`pyadmm.hardware.design_space` chooses them.
    :param spare_acc_bits: accumulator bits beyond what this model needs, for models loaded later.
    :param any_shift: accept models with any requantising shift, which costs barrel shifters; otherwise
        only shifts near this model's, which cost nothing (:func:`~pyadmm.hardware.plan.free_shifts`).
    :param stream: how images come; ``None``: as bytes, 32 bits a word.
    :raises PyadmmError: for a model or a config that the kernels cannot take.
    """
    links = layer_links(model)
    names = [link.layer.name for link in links]
    if set(configs) != set(names):
        odd = ", ".join(sorted(set(configs) ^ set(names)))
        raise PyadmmError(f"accelerator {model.name}: configs must name every layer; odd: {odd}")
    stages = [plan_stage(model, link, configs[link.layer.name], spare_acc_bits) for link in links]
    if any_shift:
        stages = [replace(stage, shift_range=None) for stage in stages]
    if all(stage.constants is not None for stage in stages):
        raise PyadmmError(
            f"accelerator {model.name}: every layer is unrolled, which leaves no weights to load; "
            "give at least one layer a sparse or dense kernel"
        )
    interval = max(stage.tiles * stage.entry_capacity for stage in stages)
    rows = plan_rows(model, board, interval)
    stream = stream or InputStream()
    return AcceleratorPlan(model.name, board, model.input, tuple(stages), rows, stream)


def plan_rows(model: CompressedModel, board: Board, interval: int) -> tuple[ElementwisePlan, ...]:
    """The stages without weights, each with the fewest lanes for ``interval`` cycles an image.

    The buffers that save the most block RAM go to UltraRAM, where the board has it.
    """
    levels = _levels(model)
    rows = [_plan_row(model, node, levels, interval) for node in row_nodes(model)]
    budget = _URAM_SHARE * board.resources.uram
    for place in sorted(range(len(rows)), key=lambda i: -row_resources(rows[i]).bram18):
        moved = replace(rows[place], storage="uram")
        need = row_resources(moved).uram
        if row_resources(rows[place]).bram18 >= _LEAST_BRAM18_PER_URAM * need and need <= budget:
            rows[place], budget = moved, budget - need
    return tuple(rows)


def _levels(model: CompressedModel) -> dict[str, int]:
    """Number of stages on the longest path from the input to each node's frame."""
    fused = {pool.name for pool in _fused_pools(model).values()}
    levels = {INPUT: 0}
    for node in model.nodes:
        levels[node.name] = max(levels[s] for s in node.sources) + (node.name not in fused)
    return levels


def _plan_row(
    model: CompressedModel, node: RowNode, levels: Mapping[str, int], interval: int
) -> ElementwisePlan:
    kind: RowKind = "add" if isinstance(node, Add) else "maxpool"
    kind = "avgpool" if isinstance(node, AvgPool) else kind
    kernel, stride = (1, 1) if isinstance(node, Add) else node.square
    return ElementwisePlan(
        name=node.name,
        kind=kind,
        sources=node.sources,
        shape=model.shape_of(node.sources[0]),
        inputs=tuple(model.format_of(source) for source in node.sources),
        output=model.format_of(node.name),
        # One frame is written and one read; the others wait for the longer branch.
        frames=tuple(levels[node.name] - levels[source] + 1 for source in node.sources),
        kernel=kernel,
        stride=stride,
        lanes=fewest_lanes(model.shape_of(node.name), kernel**2, interval),
    )


def plan_stage(
    model: CompressedModel, link: ChainLink, config: KernelConfig, spare_acc_bits: int = 0
) -> StagePlan:
    """One stage on the kernel ``config``, its capacities resolved."""
    layer, pool = link.layer, link.pool
    acc_bits = model.accumulator_bits(layer.name) + spare_acc_bits
    unrolled = config.family == "unrolled"
    stage = StagePlan(
        spec=layer.spec,
        config=config,
        input=model.format_of(layer.source),
        output=hardware_output(model, layer),
        weight_bits=layer.weight_bits,
        acc_bits=acc_bits,
        pool=None if pool is None else Pool(*pool.square),
        node=link.node,
        entry_capacity=config.entry_capacity or 1,
        slot_capacity=config.slot_capacity or 1,
        source=layer.source,
        shift_range=free_shifts(acc_bits, layer.requant.shift),
        constants=constants(layer, model.format_of(layer.source)) if unrolled else None,
    )
    if unrolled or (config.entry_capacity is not None and config.slot_capacity is not None):
        return stage
    entries, slots = needed_capacities(layer, stage)
    return replace(
        stage,
        entry_capacity=config.entry_capacity or entries,
        slot_capacity=config.slot_capacity or slots,
    )


def best_index_bits(
    layer: CompressedLayer, groups: int, loads: Mapping[int, IntArray] | None = None
) -> int:
    """``D`` with the least cycles times entry width, ties to the narrower entry.

    :param loads: of :func:`loads_by_index_bits`, where they are already known.
    """
    loads = loads_by_index_bits(layer) if loads is None else loads
    rows, columns = layer.spec.kernel
    rest = layer.weight_bits + index_width(rows) + index_width(columns) + 2
    return min(loads, key=lambda d: int(group_loads(loads[d], groups).max()) * (rest + d))


def loads_by_index_bits(layer: CompressedLayer) -> dict[int, IntArray]:
    """Entries of every output channel for every index width ``D`` that the layer can have."""
    positions = Positions.of(layer)
    limit = index_width(layer.spec.input_shape[0])
    return {d: positions.entries_per_output(d) for d in range(min(1, limit), limit + 1)}
