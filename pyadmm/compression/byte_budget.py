"""Pruning to a byte budget: the least useful weights are removed until the file is small enough."""

from __future__ import annotations

from bisect import bisect_left

import torch
from torch import Tensor

from pyadmm import container
from pyadmm.compression.fisher import file_bits, gradient_statistics, some_of
from pyadmm.compression.phase import PhaseContext, PhaseResult
from pyadmm.core.errors import PyadmmError
from pyadmm.model import CompressedModel
from pyadmm.model.reorder import sort_channels
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.network.to_integer import snap_scales, to_compressed
from pyadmm.settings import CompressSettings
from pyadmm.training.seeds import seed_of

_ROOM = 0.95
"""Share of the budget to prune to: trained levels take some percent more bytes than nearest ones."""


def smallest(model: CompressedModel) -> CompressedModel:
    """The same integers in the form that takes the fewest bytes: sorted, without scales."""
    return sort_channels(model.without_scales())


class PruningToBytes:
    """Prunes a quantised network until its file fits."""

    name = "byte-budget"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether the settings limit the file."""
        return settings.most_bytes > 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The same network with fewer weights."""
        prune_to_budget(network, context.settings.most_bytes, context)
        return PhaseResult(network)


class PruningBeforeLevels:
    """Prunes a float network until the file of its nearest levels would fit.

    The training at levels, which follows, lets the other weights compensate for what is pruned here;
    nothing compensates for what :class:`PruningToBytes` prunes after it. Some bytes are left free,
    because the training makes the file larger.
    """

    name = "byte-budget-before-levels"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether the settings limit the file and weights are trained at levels before activations."""
        levels = bool(network.norms) and settings.rounding.candidates == 0
        return levels and settings.most_bytes > 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The same network with fewer weights; its weight scales are fitted.

        :raises PyadmmError: if what has to stay does not fit.
        """
        settings = context.settings
        nearest = network.fold_norms()
        calibrate(nearest, context.data.train)
        nearest = nearest.at(Numerics.INTEGER)
        snap_scales(nearest, settings.mult_bits)
        prune_to_budget(nearest, int(_ROOM * settings.most_bytes), context)
        for layer, pruned in zip(network.layers.values(), nearest.layers.values(), strict=True):
            layer.apply_mask(pruned.mask)
        return PhaseResult(network)


def prune_to_budget(network: Network, most_bytes: int, context: PhaseContext) -> None:
    """Prune ``network``, in place, until the file of its :func:`smallest` form fits.

    It removes the weights of least ``w^2 F`` per bit of the file, where ``F`` is the Fisher information
    on some training images. Nothing is trained afterwards.

    :raises PyadmmError: if the weights that must stay do not fit.
    """
    name = context.model_name
    if _size(network, name) <= most_bytes:
        return
    order = _least_first(network, context)
    masks = torch.cat([layer.mask.flatten() for layer in network.layers.values()])

    def fits_without(count: int) -> bool:
        left = masks.clone()
        left[order[:count]] = 0
        _set_masks(network, left)
        return _size(network, name) <= most_bytes

    if not fits_without(bisect_left(range(len(order)), True, key=fits_without)):
        raise PyadmmError(
            f"settings, most_bytes: even one weight a layer, and the layers that break-even keeps "
            f"dense, take more than {most_bytes} bytes; allow more"
        )
    for layer in network.layers.values():
        layer.apply_mask(layer.mask.clone())
        layer.frozen.mul_(layer.mask)


@torch.no_grad()
def _least_first(network: Network, context: PhaseContext) -> Tensor:
    """Positions of the weights that may be removed, in all masks concatenated, least useful first.

    The most useful weight of a layer stays, and so does all of a layer that break-even keeps dense.
    """
    settings = context.settings
    seed = seed_of(settings.seed, context.name)
    images = some_of(context.data.train, seed)
    with torch.enable_grad():
        found = gradient_statistics(network, images, settings.quantize, context, seed, pruned=False)
    scores = []
    for name, layer in network.layers.items():
        weight = layer.weight_codes() * layer.row_q
        score = (found.fisher[name] * weight.square() / file_bits(layer)).flatten()
        score[layer.mask.flatten() == 0] = -1.0
        score[score.argmax()] = -1.0
        if settings.break_even and bool(layer.mask.all()):
            score[:] = -1.0
        scores.append(score)
    everything = torch.cat(scores)
    return everything.argsort()[int((everything < 0).sum()) :]


def _set_masks(network: Network, masks: Tensor) -> None:
    layers = network.layers.values()
    parts = masks.split([layer.mask.numel() for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        layer.mask.copy_(part.reshape(layer.mask.shape))


def _size(network: Network, name: str) -> int:
    """The number of bytes of the file."""
    return len(container.encode(smallest(to_compressed(network, name))))
