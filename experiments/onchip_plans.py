"""On-chip plans: which board holds which layers of a large network, and how fast it then is.

Everything here is **modelled**. The networks have the real shapes and *random* patterns of the
densities that ADMM-NN reports (tables 5 and 6; one density for all layers where it gives none), so
entries, fillers, group balance and index widths are counted exactly for such a pattern, as
:mod:`pyadmm.hardware.weight_image` packs them; cycles follow the schedule of ``docs/kernels.md`` and areas are
those of :mod:`pyadmm.hardware.cost`.

A layer's weights are held in UltraRAM or block RAM, or streamed from the board's memory once per
image where neither has room; frames are in block RAM, as the kernels have them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyadmm import zoo
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.hardware.boards import Board, board_names, load_board
from pyadmm.hardware.cost import (
    dense_engine_cycles,
    frame_in_blocks,
    memory_resources,
    row_resources,
    stage_resources,
)
from pyadmm.hardware.group_balance import group_loads
from pyadmm.hardware.kernel_space import intervals, pareto, splits_evenly, tilings
from pyadmm.hardware.mapping import (
    ChainLink,
    layer_links,
    loads_by_index_bits,
    plan_rows,
    plan_stage,
)
from pyadmm.hardware.plan import KernelConfig, KernelFamily, StagePlan, index_width
from pyadmm.model import Add, AvgPool, CompressedLayer, CompressedModel, MaxPool, Node, Requant
from pyadmm.model.types import LayerSpec, QFormat, Resources
from pyadmm.network.graph import Network
from pyadmm.network.input_encoding import input_spec
from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import AddStep, PoolStep, Step
from pyadmm.network.trace import trace
from pyadmm.settings import InputSettings

BASIS = "modelled"
CHIP_SHARE = 0.8
"""Share of every resource of a chip that a plan may take."""
URAM_DEPTH, URAM_BITS = 4096, 72
"""One UltraRAM block (AMD UG573)."""
ACTIVATION_BITS = 4
_STREAM_BUFFER = 1024
"""Entries that a group of a streamed layer buffers."""


@dataclass(frozen=True)
class Recipe:
    """What a network is compressed to: share of the weights that is left, and bits, by layer.

    :param kept: layer -> share; ``"*"`` is any other layer.
    """

    kept: Mapping[str, float]
    conv_bits: int
    linear_bits: int
    source: str


RECIPES = {
    "alexnet": Recipe(
        {
            **{"conv1": 0.81, "conv2": 0.20, "conv3": 0.19, "conv4": 0.20, "conv5": 0.20},
            **{"fc6": 0.028, "fc7": 0.059, "fc8": 0.093},
        },
        5,
        3,
        "ADMM-NN, AlexNet: per-layer shares, 5-bit convolutions, 3-bit fully connected layers",
    ),
    "vgg16": Recipe({"*": 6.9 / 138}, 5, 3, "ADMM-NN, VGG-16: 6.9 M of 138 M, shared out evenly"),
    "resnet50": Recipe({"*": 3.6 / 25.6}, 6, 6, "ADMM-NN, ResNet-50: 3.6 M of 25.6 M, evenly"),
}


@dataclass(frozen=True)
class LayerPlan:
    """One layer of a plan.

    :param entries: sparse entries, fillers included (or dense weights).
    :param bits: of all of them, payload of the memories.
    :param need_bram18: blocks that its weights take in block RAM, wherever they lie.
    :param need_uram: the same in UltraRAM.
    :param bram18: blocks that its weights take here; of a streamed layer, its buffer.
    :param where: ``uram``, ``bram``, ``lutram`` or ``streamed``.
    :param frame: memory of its input frame: ``uram``, ``bram`` or ``lutram``.
    :param cycles: for one image.
    """

    name: str
    family: KernelFamily
    groups: int
    tile_rows: int
    index_bits: int
    entries: int
    bits: int
    need_bram18: float
    need_uram: int
    bram18: float
    uram: float
    where: str
    frame: str
    cycles: int


@dataclass(frozen=True)
class OnChipPlan:
    """A network on a board.

    :param kernels: ``sparse``, ``dense``, or ``mixed``: the better of both for every layer.
    :param interval: cycles between two images; ``None`` where the design does not fit.
    :param reason: why it does not fit.
    """

    network: str
    board: str
    kernels: str
    weights: int
    nnz: int
    layers: tuple[LayerPlan, ...]
    on_chip_bits: int
    all_bits: int
    interval: int | None
    images_per_second: float | None
    slowest: str
    reason: str
    basis: str = BASIS

    @property
    def holds_all(self) -> bool:
        """Whether all weights are on the chip."""
        return all(layer.where != "streamed" for layer in self.layers)


def random_model(name: str, seed: int = 0) -> CompressedModel:
    """The network ``name`` of the zoo with random codes of its :data:`RECIPES` entry.

    Its requantisers are arbitrary: the model is for counting, not for inference.
    """
    if name not in RECIPES:
        raise PyadmmError(f"on-chip plan: no densities for {name!r}; have {', '.join(RECIPES)}")
    with torch.device("meta"):
        entry = input_spec(InputSettings(bits=8), zoo.entry(name).shape)
        network = trace(zoo.build(name), entry)
    rng = np.random.default_rng(seed)
    nodes: list[Node] = []
    last = {"input": "input"}
    for step in network.chain:
        sources = [last[source] for source in network.sources[step.name]]
        nodes += _nodes(step, sources, RECIPES[name], rng, network)
        last[step.name] = nodes[-1].name
    return CompressedModel(name, entry, tuple(nodes))


def _nodes(
    step: Step, sources: Sequence[str], recipe: Recipe, rng: np.random.Generator, network: Network
) -> list[Node]:
    activations = QFormat(ACTIVATION_BITS, False)
    if isinstance(step, WeightedStep):
        facts = step.facts
        layer = _random_layer(facts.spec, sources[0], recipe, rng, facts.last)
        if facts.pool is None:
            return [layer]
        pool, shape = facts.pool, facts.spec.output_shape
        if not any(pool.padding):
            return [layer, MaxPool(pool.name, layer.name, pool.kernel, pool.stride)]
        ones = (shape[0], 1, 1, 1)
        spec = LayerSpec(f"{pool.name}.pad", "conv", ones, shape, 1, pool.padding, shape[0])
        bias = np.zeros(shape[0], np.int64)
        copy = CompressedLayer(
            spec, layer.name, np.ones(ones, np.int16), 1, bias, Requant(), activations
        )
        return [layer, copy, MaxPool(pool.name, copy.name, pool.kernel, pool.stride)]
    if isinstance(step, AddStep):
        return [Add(step.name, (sources[0], sources[1]), (1, 1), 1, activations)]
    if isinstance(step, PoolStep):
        pooling = step.facts
        if pooling.kind == "max":
            return [MaxPool(pooling.name, sources[0], pooling.kernel, pooling.stride)]
        requant = Requant((max(1, 65536 // math.prod(pooling.kernel)),), 16)
        return [
            AvgPool(pooling.name, sources[0], pooling.kernel, pooling.stride, requant, activations)
        ]
    raise PyadmmError(f"on-chip plan: {network.chain[0].name}: {step.name} is not supported")


def _random_layer(
    spec: LayerSpec, source: str, recipe: Recipe, rng: np.random.Generator, last: bool
) -> CompressedLayer:
    bits = recipe.conv_bits if spec.kind == "conv" else recipe.linear_bits
    share = recipe.kept.get(spec.name, recipe.kept.get("*", 1.0))
    codes = np.zeros(spec.weights, np.int16)
    kept = np.flatnonzero(rng.random(spec.weights, np.float32) < share)
    codes[kept] = rng.integers(1, (1 << (bits - 1)) + 1, len(kept)) * rng.choice([-1, 1], len(kept))
    output = QFormat(32, True) if last else QFormat(ACTIVATION_BITS, False)
    requant = Requant() if last else Requant((40000,), 24)
    bias = np.zeros(spec.outputs, np.int64)
    return CompressedLayer(
        spec, source, codes.reshape(spec.weight_shape), bits, bias, requant, output
    )


@dataclass(frozen=True)
class _Option:
    """One kernel of one layer."""

    stage: StagePlan
    depth: int
    entries: int
    cycles: int

    @cached_property
    def resources(self) -> Resources:
        """Of all but the weight memories."""
        return stage_resources(self.stage) + self.bram.scaled(-1)

    @cached_property
    def price(self) -> float:
        """What kernels are compared by: LUTs, and a LUT for every kilobit of weights."""
        use = self.resources
        return use.lut + 150 * use.bram18 + 100 * use.dsp + self.bits / 1000

    @cached_property
    def with_frame_in_uram(self) -> _Option:
        """The same with its input frame in UltraRAM."""
        config = replace(self.stage.config, ultra_frame=True)
        return replace(self, stage=replace(self.stage, config=config))

    @property
    def bits(self) -> int:
        return self.entries * self.stage.weight_word_bits

    @property
    def bram(self) -> Resources:
        """Weight memories in block RAM (short ones in LUTs)."""
        return memory_resources(self.depth, self.stage.weight_word_bits).scaled(self.stage.groups)

    @property
    def uram(self) -> int:
        """Weight memories in UltraRAM, several entries to a word of 72 bits."""
        per_word = URAM_BITS // self.stage.weight_word_bits
        return -(-self.depth // (URAM_DEPTH * per_word)) * self.stage.groups


def options(model: CompressedModel, link: ChainLink, family: KernelFamily) -> list[_Option]:
    """Kernels of one layer over tile heights and group counts."""
    layer, spec = link.layer, link.layer.spec
    loads = loads_by_index_bits(layer) if family == "sparse" else {}
    kernel_bits = layer.weight_bits + sum(index_width(k) for k in spec.kernel) + 2
    # The index field with the fewest bits in all, fillers counted.
    index = min(loads, key=lambda d: int(loads[d].sum()) * (kernel_bits + d)) if loads else 0
    base = plan_stage(model, link, KernelConfig(family, 1, 1, index, 1, 1))
    entries = int(loads[index].sum()) if loads else spec.weights
    groups = [n for n in _powers(spec.outputs) if family != "dense" or splits_evenly(spec, n)]
    busiest = {n: int(group_loads(loads[index], n).max()) if loads else 0 for n in groups}
    found = []
    for tile_rows, count in tilings(spec, _powers(spec.output_shape[1]), groups):
        slots = -(-spec.outputs // count)
        depth = busiest[count] or slots * base.window
        config = KernelConfig(family, tile_rows, count, index)
        stage = replace(base, config=config, entry_capacity=depth, slot_capacity=slots)
        engine = stage.tiles * depth if loads else dense_engine_cycles(stage)
        cycles = max(engine, spec.outputs * stage.tiles)
        found.append(_Option(stage, depth, entries, cycles))
    return found


def candidates(model: CompressedModel, kernels: str) -> dict[str, list[_Option]]:
    """All kernels of every layer, of one family or (``mixed``) of both."""
    families: tuple[KernelFamily, ...] = ("sparse", "dense")
    return {
        link.layer.name: [
            option
            for family in families
            if kernels in (family, "mixed")
            for option in options(model, link, family)
        ]
        for link in layer_links(model)
    }


def _powers(size: int) -> list[int]:
    powers = [1 << i for i in range(size.bit_length()) if 1 << i < size]
    return [*powers, size] if size <= 64 else powers


def plan(
    model: CompressedModel,
    board: Board,
    kernels: str,
    listed: Mapping[str, Sequence[_Option]] | None = None,
) -> OnChipPlan:
    """The fastest design of ``model`` on ``board``; ``kernels`` as in :class:`OnChipPlan`.

    Tries the slowest stage's cycles from fast to slow: the cheapest kernel of every layer that
    keeps up, weights placed in what memory is left; the first that fits is taken.
    """
    if listed is None:
        listed = candidates(model, kernels)
    useful = {name: pareto(layer, _cycles, _price) for name, layer in listed.items()}
    targets = intervals([option.cycles for option in layer] for layer in useful.values())
    designs = (_at(model, board, useful, target) for target in targets)
    design = next((found for found in designs if found is not None), None)
    if design is None:
        design = _at(model, board, useful, targets[-1], fitting=False)
        assert design is not None
        reason = "; ".join(
            f"{what}: needs {need:,.0f}, limit {limit:,.0f}"
            for what, (need, limit) in design.over.items()
        )
        return _result(model, board, kernels, design.layers, interval=None, reason=reason)
    bits_per_cycle = board.memory_bandwidth_mb_s * 8 / board.clock_mhz
    streaming = round(design.streamed / bits_per_cycle)
    slowest = max(design.layers, key=lambda layer: layer.cycles)
    name = "weights from memory" if streaming > slowest.cycles else slowest.name
    interval = max(slowest.cycles, streaming)
    return _result(model, board, kernels, design.layers, interval=interval, slowest=name)


@dataclass(frozen=True)
class _Design:
    """A kernel for every layer, its weights placed; ``over`` is what exceeds the budget."""

    layers: tuple[LayerPlan, ...]
    streamed: int
    over: Mapping[str, tuple[float, float]]


def _at(
    model: CompressedModel,
    board: Board,
    useful: Mapping[str, Sequence[_Option]],
    target: int,
    *,
    fitting: bool = True,
) -> _Design | None:
    """The cheapest design whose stages take at most ``target`` cycles.

    :param fitting: ``None`` for one that does not fit; most are known not to by their kernels.
    """
    budget = board.resources.scaled(CHIP_SHARE)
    chosen: Mapping[str, _Option] = {
        name: layer[bisect_right(layer, target, key=lambda o: o.cycles) - 1]
        for name, layer in useful.items()
    }
    if fitting and _use(_with_frames_in_uram(chosen, Resources(), budget)).over(budget):
        return None
    rows = sum((row_resources(row) for row in plan_rows(model, board, target)), Resources())
    chosen = _with_frames_in_uram(chosen, rows, budget)
    use = _use(chosen) + rows
    layers, extra, streamed = _placed(chosen, budget, use)
    design = _Design(layers, streamed, (use + extra).over(budget))
    return None if fitting and design.over else design


def _use(chosen: Mapping[str, _Option]) -> Resources:
    return sum((option.resources for option in chosen.values()), Resources())


def _with_frames_in_uram(
    chosen: Mapping[str, _Option], rows: Resources, budget: Resources
) -> Mapping[str, _Option]:
    """``chosen`` with input frames in UltraRAM, the largest first, while block RAM is short."""
    moved = dict(chosen)
    use = _use(chosen) + rows
    for name in sorted(chosen, key=lambda n: -chosen[n].resources.bram18):
        if use.bram18 <= budget.bram18:
            break
        option = chosen[name]
        after = use + option.resources.scaled(-1) + option.with_frame_in_uram.resources
        if after.uram <= budget.uram and after.bram18 < use.bram18:
            moved[name], use = option.with_frame_in_uram, after
    return moved


def _cycles(option: _Option) -> int:
    return option.cycles


def _price(option: _Option) -> float:
    return option.price


def _placed(
    chosen: Mapping[str, _Option], budget: Resources, use: Resources
) -> tuple[tuple[LayerPlan, ...], Resources, int]:
    """Where each layer's weights lie, what their memories take, and the bits that are streamed."""
    free_bram, free_uram = budget.bram18 - use.bram18, budget.uram - use.uram
    extra, streamed, placed = Resources(), 0, {}
    for name, option in sorted(chosen.items(), key=lambda item: -item[1].bits):
        bram, uram = option.bram, 0
        if option.uram <= free_uram and bram.bram18 > 8:
            where, bram, uram = "uram", Resources(), option.uram
        elif bram.bram18 <= free_bram:
            where = "bram" if bram.bram18 else "lutram"
        else:
            where, streamed = "streamed", streamed + option.bits
            word = option.stage.weight_word_bits
            bram = memory_resources(_STREAM_BUFFER, word).scaled(option.stage.groups)
        free_bram, free_uram = free_bram - bram.bram18, free_uram - uram
        extra += bram + Resources(uram=uram)
        config = option.stage.config
        placed[name] = LayerPlan(
            name,
            config.family,
            config.groups,
            config.tile_rows,
            config.index_bits,
            option.entries,
            option.bits,
            option.bram.bram18,
            option.uram,
            bram.bram18,
            uram,
            where,
            _frame(option.stage),
            option.cycles,
        )
    return tuple(placed[name] for name in chosen), extra, streamed


def _frame(stage: StagePlan) -> str:
    """Memory of the input frame."""
    if stage.config.ultra_frame:
        return "uram"
    return "bram" if frame_in_blocks(stage) else "lutram"


def _result(
    model: CompressedModel,
    board: Board,
    kernels: str,
    layers: tuple[LayerPlan, ...],
    *,
    interval: int | None,
    slowest: str = "",
    reason: str = "",
) -> OnChipPlan:
    rate = None if interval is None else board.clock_mhz * 1e6 / interval
    return OnChipPlan(
        model.name,
        board.name,
        kernels,
        model.weights,
        model.nnz,
        layers,
        sum(layer.bits for layer in layers if layer.where != "streamed"),
        sum(layer.bits for layer in layers),
        interval,
        rate,
        slowest,
        reason,
    )


def compare(name: str, boards: Sequence[str]) -> list[dict[str, Any]]:
    """Mixed and all-dense plans of one network on several boards, as plain data."""
    model = random_model(name)
    mixed_options = candidates(model, "mixed")
    dense_options = {
        name: [option for option in listed if option.stage.config.family == "dense"]
        for name, listed in mixed_options.items()
    }
    rows = []
    for board_name in boards:
        board = load_board(board_name)
        mixed = plan(model, board, "mixed", mixed_options)
        dense = plan(model, board, "dense", dense_options)
        speedup = None
        if mixed.interval is not None and dense.interval is not None:
            speedup = dense.interval / mixed.interval
        rows.append(
            {
                "mixed": {**asdict(mixed), "holds_all": mixed.holds_all},
                "dense": {**asdict(dense), "holds_all": dense.holds_all},
                "speedup": speedup,
                "source": RECIPES[name].source,
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The plans of one network as Markdown."""
    lines = [
        "| board | on chip, MB of MB | streamed layers | cycles an image | images/s "
        "| dense images/s | speedup |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mixed, dense = row["mixed"], row["dense"]
        streamed = [la["name"] for la in mixed["layers"] if la["where"] == "streamed"]
        lines.append(
            f"| {mixed['board']} | {mixed['on_chip_bits'] / 8e6:.2f} of "
            f"{mixed['all_bits'] / 8e6:.2f} | {_short(streamed)} | {_number(mixed['interval'])} "
            f"| {_number(mixed['images_per_second'])} | {_number(dense['images_per_second'])} "
            f"| {'-' if row['speedup'] is None else format(row['speedup'], '.1f') + 'x'} |"
        )
        for plan_of in (mixed, dense):
            if plan_of["reason"]:
                lines.append(
                    f"| | {plan_of['kernels']} does not fit: {plan_of['reason']} | | | | | |"
                )
    return "\n".join(lines)


def layer_table(plan_of: Mapping[str, Any]) -> str:
    """The layers of one plan as Markdown."""
    lines = [
        "| layer | kernel | groups x rows | index bits | entries | KB | in BRAM18 | in URAM "
        "| weights | frame | cycles |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for la in plan_of["layers"]:
        lines.append(
            f"| {la['name']} | {la['family']} | {la['groups']} x {la['tile_rows']} "
            f"| {la['index_bits']} | {la['entries']:,} | {la['bits'] / 8e3:,.1f} "
            f"| {la['need_bram18']:,.0f} | {la['need_uram']:,} | {la['where']} | {la['frame']} "
            f"| {la['cycles']:,} |"
        )
    return "\n".join(lines)


def _short(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 5 else f"{len(names)} layers"


def _number(value: float | None) -> str:
    return "does not fit" if value is None else f"{value:,.0f}"


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m experiments.onchip_plans``: plans of the large networks; exit status 0, or 1 on an error."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.onchip_plans", description=BASIS + " plans"
    )
    parser.add_argument("--models", nargs="+", default=list(RECIPES), help=", ".join(RECIPES))
    parser.add_argument("--boards", nargs="+", default=board_names())
    parser.add_argument("--layers", action="store_true", help="show the layers of every plan")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    chosen = parser.parse_args(argv)
    try:
        found = {}
        for name in chosen.models:
            found[name] = compare(name, chosen.boards)
            print(f"## {name} ({BASIS}; {RECIPES[name].source})\n\n{table(found[name])}\n")
            for row in found[name] if chosen.layers else []:
                print(f"### {name} on {row['mixed']['board']}\n\n{layer_table(row['mixed'])}\n")
        if chosen.json is not None:
            write_atomic(chosen.json, json.dumps(found, indent=1) + "\n")
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
