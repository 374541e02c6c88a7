"""The importance of weights: gradient statistics that weight the projections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.compression.fisher import FISHER_FLOOR
from pyadmm.network.graph import Network
from pyadmm.training.data import Images
from pyadmm.training.seeds import seed_of

_FISHER_IMAGES = 4096


_FISHER_BATCH = 32


_FISHER_POWER = 0.25


def importance(
    network: Network, images: Images, seed: int, curvature: float = 0.0
) -> dict[str, Tensor]:
    """The importance of each weight: ``(w * importance)**2`` ranks the weights.

    It is a power of ``F``, the Fisher information on some training images. ``w**2 F / 2`` is the
    second-order change of the loss when ``w`` is pruned, which holds for small changes only: used at
    large ratios, it takes too many weights from large layers, as plain magnitude does from small ones.
    With ``curvature`` 0, all weights of a layer have the importance ``mean(F)**(1/4)``; otherwise each
    weight has this power of its own ``F``. ``docs/admm.md`` has the measurements. Labels are drawn
    from the network's own predictions, so ``F`` does not vanish on a network that fits its data. ``F``
    is that of the weights with batch norms folded into them.
    """
    factors = {name: layer.row_factor for name, layer in network.layers.items()}
    network = network.fold_norms()
    generator = torch.Generator().manual_seed(seed_of(seed, "fisher"))
    order = torch.randperm(len(images), generator=generator)[:_FISHER_IMAGES]
    layers = network.layers
    fisher = {name: torch.zeros_like(layer.mask) for name, layer in layers.items()}
    for index in order.split(_FISHER_BATCH):
        logits = network(network.encode(images.at(index)))
        shares = logits.detach().softmax(1).cpu()
        drawn = torch.multinomial(shares, 1, generator=generator)[:, 0]
        loss = F.cross_entropy(logits, drawn.to(logits.device))
        gradients = torch.autograd.grad(loss, [layer.weight for layer in layers.values()])
        for name, gradient in zip(layers, gradients, strict=True):
            fisher[name] += gradient.square()
    return {
        name: _importance(fisher[name], layer.mask, curvature) * factors[name]
        for name, layer in layers.items()
    }


def _importance(fisher: Tensor, mask: Tensor, curvature: float) -> Tensor:
    mean = fisher[mask > 0].mean()
    if curvature == 0:
        return (mean ** (_FISHER_POWER / 2)).expand_as(fisher)
    return (fisher + FISHER_FLOOR * mean) ** (curvature / 2)
