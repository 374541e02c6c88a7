"""The Gauss-Newton matrix of the loss in the remaining weights and the biases."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from pyadmm.compression.fisher import some_of
from pyadmm.compression.phase import PhaseContext
from pyadmm.core.errors import PyadmmError
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.settings import TrainSettings
from pyadmm.training import distributed
from pyadmm.training.augmentation import Augmentation, batches
from pyadmm.training.data import Images
from pyadmm.training.devices import device_of
from pyadmm.training.seeds import seed_of

MOST_VARIABLES = 8192
"""Of a matrix of curvature, which then takes half a gigabyte."""
_BATCH = 250
_GRADIENTS = 1 << 24
"""Single images' gradients that are held at once, numbers."""


@dataclass(frozen=True)
class Variables:
    """The remaining weights and the biases as one vector: layer by layer, weights before biases.

    :param names: of the layers.
    :param places: of each layer's weights, in its flat weight.
    :param biases: of each layer.
    """

    names: tuple[str, ...]
    places: tuple[Tensor, ...]
    biases: tuple[int, ...]

    @classmethod
    def of(cls, network: Network) -> Variables:
        """The weights and biases of ``network`` as variables.

        :raises PyadmmError: where they are too many for a matrix.
        """
        layers = network.layers
        places = tuple(layer.mask.flatten().nonzero()[:, 0].cpu() for layer in layers.values())
        biases = tuple(len(layer.bias) for layer in layers.values())
        count = sum(map(len, places)) + sum(biases)
        if count > MOST_VARIABLES:
            raise PyadmmError(
                f"settings, rounding: {count:,} weights and biases are left, their curvature is "
                f"only taken of up to {MOST_VARIABLES:,}; prune more, or set candidates to 0"
            )
        return cls(tuple(layers), places, biases)

    def gather(self, tensors: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """The entries of ``tensors`` for each variable, float64, on the CPU.

        :param tensors: by layer, of its weight's and its bias's shape, or ``(N, …)`` of them: then
            the result is ``(N, …)`` too.
        """
        parts = []
        for name, places, biases in zip(self.names, self.places, self.biases, strict=True):
            weight, bias = tensors[name]
            lead = bias.shape[: bias.ndim - 1]
            chosen = weight.reshape(*lead, -1)[..., places.to(weight.device)]
            parts += [chosen.cpu(), bias.reshape(*lead, biases).cpu()]
        return torch.cat(parts, -1).double()

    def split(self, values: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """``values`` ``(V,)`` by layer: those of its remaining weights, and those of its biases."""
        sizes = [n for both in zip(map(len, self.places), self.biases, strict=True) for n in both]
        parts = values.split(sizes)
        return {name: (parts[2 * i], parts[2 * i + 1]) for i, name in enumerate(self.names)}

    @property
    def are_weights(self) -> Tensor:
        """Which variables are weights, bool ``(V,)``."""
        kinds = [
            torch.full((size,), kind)
            for places, biases in zip(self.places, self.biases, strict=True)
            for size, kind in ((len(places), True), (biases, False))
        ]
        return torch.cat(kinds)


def curvature(
    network: Network, count: int, train: TrainSettings, context: PhaseContext, seed: int
) -> Tensor:
    """Gauss-Newton matrix ``E[J' M J]`` on augmented training images, float64 ``(V, V)``, on the CPU.

    ``J`` are the gradients of an image's logits in the :class:`Variables` of ``network`` (in floats),
    ``M`` is the curvature of the loss in the logits, which does not depend on labels or teacher
    (Schraudolph, Neural Computation 2002). ``M`` is sampled: each image contributes a random vector of
    covariance ``M`` (curvature propagation: Martens et al., ICML 2012).

    :param network: without batch norms.
    :param count: of images, at most.
    :param train: how the images are augmented.
    :raises PyadmmError: where there are too many variables, or none that matters.
    """
    network = network.at(Numerics.FLOAT)
    variables = Variables.of(network)
    gradients = _gradients_along(network, variables)
    weights = sum(layer.weight.numel() + layer.bias.numel() for layer in network.layers.values())
    size = max(1, min(_BATCH, _GRADIENTS // weights))
    distill = context.settings.distill
    soft = distill.weight if context.teacher is not None else 0.0
    device = device_of(network)
    images = some_of(context.data.train, seed, count)
    normals = _normals(network, images, seed_of(seed, "roots"))
    places = torch.empty(len(images.pool), dtype=torch.int64)
    places[images.rows(torch.arange(len(images)))] = torch.arange(len(images))
    total = torch.zeros(2 * (len(variables.are_weights),), dtype=torch.float64)
    how = Augmentation.of(train, native=context.settings.sparse)
    for batch in batches(images, size, seed, how, device=device):
        codes = network.encode(batch.images)
        with torch.no_grad():
            logits = network(codes)
        hard_normal, soft_normal = normals[:, places[batch.index.cpu()]].to(logits)
        roots = (1 - soft) ** 0.5 * _root(logits, hard_normal)
        roots += soft**0.5 * _root(logits / distill.temperature, soft_normal)
        rows = gradients(codes, roots)
        total += rows.T @ rows * (batch.counted / len(codes))
    matrix = distributed.total(total) / len(images)
    if not 0 < float(matrix.trace()) < math.inf:
        raise PyadmmError(
            f"{context.name}: no weight matters to the loss of the network that is to be rounded; "
            "prune less, or train longer before"
        )
    return matrix


def _gradients_along(network: Network, variables: Variables) -> Callable[[Tensor, Tensor], Tensor]:
    """Function of codes and vectors: of each image, the gradient of its vector times its logits."""
    layers = {name: (f"{at}.weight", f"{at}.bias") for name, at in _prefixes(network).items()}
    known = dict(network.named_parameters())
    parameters = {name: known[name].detach() for both in layers.values() for name in both}

    def along(values: dict[str, Tensor], codes: Tensor, vector: Tensor) -> Tensor:
        logits: Tensor = functional_call(network, values, (codes[None],))
        return (logits[0] * vector).sum()

    of_each = vmap(grad(along), in_dims=(None, 0, 0))

    def gradients(codes: Tensor, vectors: Tensor) -> Tensor:
        found = of_each(parameters, codes, vectors)
        return variables.gather({n: (found[w], found[b]) for n, (w, b) in layers.items()})

    return gradients


def _prefixes(network: Network) -> dict[str, str]:
    """The prefix of the parameter names of each layer."""
    layers = network.layers
    return {step.name: f"steps.{i}" for i, step in enumerate(network.chain) if step.name in layers}


@torch.no_grad()
def _normals(network: Network, images: Images, seed: int) -> Tensor:
    """Two normal vectors for each image, the same in every process: ``(2, N, classes)``."""
    classes = network(network.encode(images.at(slice(1)))).shape[1]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, len(images), classes, generator=generator)


def _root(logits: Tensor, normal: Tensor) -> Tensor:
    """Random vectors whose covariance is the curvature of cross-entropy, ``diag(p) - p p'``."""
    shares = logits.softmax(1)
    scaled = shares.sqrt() * normal
    return scaled - shares * scaled.sum(1, keepdim=True)
