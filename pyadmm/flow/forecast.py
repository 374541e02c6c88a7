"""Forecast, before any training, of whether hardware can take a network.

The traced network is pruned and quantised in one shot, as the settings say and without any
training. It classifies nothing, but its shapes, formats and numbers of weights are about those of
the compressed network, so the kernels either take it or do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from pyadmm.admm.projections import top_mask
from pyadmm.compression.schedule import keep, layer_targets
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board, board_names, load_board
from pyadmm.hardware.design_space import search
from pyadmm.hardware.lowering import hardware_form
from pyadmm.model import CompressedModel
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network, input_bits
from pyadmm.network.to_integer import snap_scales, to_compressed
from pyadmm.settings import CompressSettings
from pyadmm.training.data import Images

MOST_WEIGHTS = 1 << 20
"""Of networks with more weights only the memory is looked at: a search would take minutes."""
_BRAM18_BITS, _URAM_BITS = 18 << 10, 288 << 10
_IMAGES = 4


def obstacle(network: Network, settings: CompressSettings, board: Board) -> str:
    """The reason why kernels or board cannot take ``network``, and boards that can; ``""`` if they can.

    The layer is named where one is the reason. What a board has room for is modelled.
    """
    condition = f" at a pruning ratio of {settings.pruning_ratio:g}"
    if "pruning_ratio" in settings.adapt:
        condition += ", which trials will choose anew"
    if network.weights > MOST_WEIGHTS:
        bits = stored_bits(network, settings)
        enough = "the memory would do on"
        return _said(board, condition, lambda other: _memory_refusal(bits, other), enough)
    model = sketch(network, settings)
    return _said(board, condition, lambda other: _refusal(model, other))


def stored_bits(network: Network, settings: CompressSettings) -> int:
    """Bits that dataflow kernels hold at least of the pruned ``network``.

    They are the levels of its weights, without positions, and one frame of each layer's input.
    """
    specs = {name: layer.facts.spec for name, layer in network.layers.items()}
    targets, widths = layer_targets(list(specs.values()), settings), input_bits(network)
    levels = (
        keep(spec.weights, targets[name].ratio or settings.pruning_ratio)
        * targets[name].weight_bits
        for name, spec in specs.items()
    )
    frames = (math.prod(spec.input_shape) * widths[name] for name, spec in specs.items())
    return sum(levels) + sum(frames)


def obstacle_of(model: CompressedModel, board: Board) -> str:
    """The reason why kernels or ``board`` cannot take ``model``, and boards that can; ``""`` if they can.

    :param model: in its hardware form.
    """
    return _said(board, "", lambda other: _refusal(model, other))


def _said(
    board: Board, condition: str, refusal: Callable[[Board], str], fits: str = "it would fit"
) -> str:
    """The reason why ``board`` is refused, and boards that are not; empty where it is accepted.

    :param fits: what can be said of the others.
    """
    reason = refusal(board)
    if not reason:
        return ""
    others = [load_board(name) for name in board_names() if name != board.name]
    fitting = [other.name for other in others if not refusal(other)]
    advice = f"{fits} {', '.join(fitting)}" if fitting else "no board here takes it"
    return (
        f"there will be no accelerator for {board.name}{condition} (modelled): {reason}; {advice}"
    )


@torch.no_grad()
def sketch(
    network: Network, settings: CompressSettings, *, hardware: bool = True
) -> CompressedModel:
    """The integer model of ``network``, pruned to the ratios of ``settings`` by magnitude.

    :param hardware: in the form that the dataflow kernels take.
    """
    pruned = network.fold_norms()
    targets = layer_targets([s.facts.spec for s in pruned.layers.values()], settings)
    for name, layer in pruned.layers.items():
        ratio = targets[name].ratio or settings.pruning_ratio
        layer.apply_mask(top_mask(layer.weight.abs(), keep(layer.facts.spec.weights, ratio)))
        largest = float(layer.weight.abs().max()) or 1.0
        scale = math.log(largest / (1 << (layer.facts.weight_bits - 1)))
        layer.log_q = nn.Parameter(layer.weight.new_full((), scale))
    noise = torch.Generator().manual_seed(0)
    shape = (_IMAGES, *network.input.shape)
    images = torch.randint(0, 256, shape, generator=noise).to(torch.uint8)
    calibrate(pruned, Images(images, torch.zeros(_IMAGES, dtype=torch.int64)))
    pruned = pruned.at(Numerics.INTEGER)
    snap_scales(pruned, settings.mult_bits)
    model = to_compressed(pruned, "forecast")
    return hardware_form(model) if hardware else model


def _memory_refusal(bits: int, board: Board) -> str:
    """A bound: what the levels need against all of the chip's memory."""
    resources = board.resources
    memory = resources.bram18 * _BRAM18_BITS + resources.uram * _URAM_BITS
    if bits <= memory:
        return ""
    return (
        f"the levels of its weights and a frame of each layer's input take {bits / 8192:,.0f} KiB, "
        f"and the chip has {memory / 8192:,.0f} KiB of memory"
    )


def _refusal(model: CompressedModel, board: Board) -> str:
    try:
        search(model, board)
    except PyadmmError as error:
        return str(error)
    return ""
