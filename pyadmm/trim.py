"""Fitting a quantised network to a file: the weights that matter least go until it is small enough.

For the last per cent of a file's bytes. A network that is far too large is pruned further instead
and trained again (:func:`pyadmm.compression.admm_phase`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor

from pyadmm.compression import importance
from pyadmm.errors import PyadmmError
from pyadmm.network import Network
from pyadmm.training import Images


def trim(
    network: Network, images: Images, seed: int, size: Callable[[Network], int], most: int
) -> Network:
    """``network`` without the fewest weights that bring its file to ``most`` bytes.

    Weights go by rising ``w^2 F``, twice the second-order estimate of what the loss gains without
    them, with ``F`` their Fisher information on ``images``. The others stay as they are.

    :param network: quantised; not changed.
    :param size: bytes of a network's file.
    :raises PyadmmError: where half of the weights would have to go.
    """
    if size(network) <= most:
        return network
    scores = _scores(network, images, seed)
    allowed = range(1, network.nnz // 2 + 1)
    fits = bisect_left(allowed, True, key=lambda k: size(_without(network, scores, k)) <= most)
    if fits == len(allowed):
        raise PyadmmError(
            f"trim: a file of {most} bytes is out of reach, this network takes {size(network)}; "
            "prune further (pruning_ratio) or use fewer weight_bits"
        )
    return _without(network, scores, allowed[fits])


@torch.no_grad()
def _at_levels(network: Network) -> Network:
    """A copy whose latent weights are at their levels."""
    network = network.copy()
    for layer in network.layers.values():
        layer.weight.copy_(layer.weight_codes() * layer.row_q)
    return network


def _scores(network: Network, images: Images, seed: int) -> dict[str, Tensor]:
    """``w^2 F`` of every weight that is left, infinite elsewhere."""
    network = _at_levels(network)
    matters = importance(network, images, seed, curvature=1.0)
    return {
        name: (layer.weight.detach() * matters[name])
        .square()
        .masked_fill(layer.mask == 0, torch.inf)
        for name, layer in network.layers.items()
    }


def _without(network: Network, scores: dict[str, Tensor], count: int) -> Network:
    """A copy without the ``count`` weights of least score."""
    network = network.copy()
    everything = torch.cat([score.reshape(-1) for score in scores.values()])
    last = torch.topk(everything, count, largest=False).values[-1]
    for name, layer in network.layers.items():
        layer.apply_mask((scores[name] > last).to(layer.mask.dtype))
    return network
