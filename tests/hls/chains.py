"""Random sequential models with awkward shapes, for the tests of the back ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyadmm.model import INPUT, CompressedModel, InputSpec, MaxPool, Node
from pyadmm.model.types import LayerSpec, QFormat
from tests.unit.models import U4, random_layer


@dataclass(frozen=True)
class Recipe:
    """One random layer and the max-pool ``(kernel, stride)`` behind it.

    :param kernel: ``(KH, KW)`` of a convolution; ``None``: linear on the whole map.
    :param output: ``None``: raw accumulators (logits).
    """

    outputs: int
    kernel: tuple[int, int] | None = None
    stride: int | tuple[int, int] = 1
    padding: int = 0
    groups: int = 1
    density: float = 0.3
    weight_bits: int = 3
    output: QFormat | None = U4
    per_channel: bool = False
    pool: tuple[int, int] | None = None


def random_chain(
    name: str, input_spec: InputSpec, recipes: Sequence[Recipe], rng: np.random.Generator
) -> CompressedModel:
    """A model with layers ``layer0 …``, each followed by its ``pool0 …`` where it has one."""
    nodes: list[Node] = []
    source, shape, x = INPUT, input_spec.shape, input_spec.format
    for index, recipe in enumerate(recipes):
        layer = random_layer(
            rng,
            layer_spec(f"layer{index}", shape, recipe),
            source,
            density=recipe.density,
            weight_bits=recipe.weight_bits,
            output=recipe.output,
            x_magnitude=x.max_magnitude,
            per_channel=recipe.per_channel,
        )
        nodes.append(layer)
        source, shape, x = layer.name, layer.spec.output_shape, layer.output
        if recipe.pool is not None:
            pool = MaxPool(f"pool{index}", source, *recipe.pool)
            nodes.append(pool)
            source, shape = pool.name, pool.output_shape([shape])
    return CompressedModel(name, input_spec, tuple(nodes))


def layer_spec(name: str, shape: tuple[int, int, int], recipe: Recipe) -> LayerSpec:
    """Shape of a recipe's layer on an input of ``shape``."""
    channels, height, width = shape
    if recipe.kernel is None:
        return LayerSpec(name, "linear", (recipe.outputs, channels * height * width), shape)
    weight = (recipe.outputs, channels // recipe.groups, *recipe.kernel)
    return LayerSpec(name, "conv", weight, shape, recipe.stride, recipe.padding, recipe.groups)
