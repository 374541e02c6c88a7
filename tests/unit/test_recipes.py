"""The recipes load, and their targets fit the networks of the zoo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pyadmm import settings, zoo
from pyadmm.compression import pipeline as compression
from pyadmm.compression.schedule import keep, layer_targets
from pyadmm.flow.config import read_config
from pyadmm.network.trace import trace

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(p for n in ("alexnet", "resnet50", "vgg16") for p in FOLDER.glob(f"{n}-*.yaml"))


def test_there_is_one_for_every_figure_of_the_paper() -> None:
    names = ["alexnet-231x", "alexnet-24x", "resnet50-38x", "resnet50-7x"]
    assert [path.stem for path in RECIPES] == [*names, "vgg16-173x", "vgg16-26x"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_plans(path: Path) -> None:
    config = read_config(path)
    chosen = settings.override(settings.preset(config.preset), config.compress, path.name)
    shape = zoo.entry(config.model).shape
    with torch.device("meta"):
        network = trace(zoo.build(config.model), compression.input_spec(chosen.input, shape))
    targets = layer_targets([la.facts.spec for la in network.layers.values()], chosen)
    weights = {name: layer.facts.spec.weights for name, layer in network.layers.items()}
    left = {n: keep(weights[n], t.ratio) for n, t in targets.items() if t.ratio is not None}
    free = sum(count for name, count in weights.items() if name not in left)
    budget = network.weights / chosen.pruning_ratio - sum(left.values())
    # Importance decides how free layers share the rest; here they share it evenly.
    left |= {n: round(budget * weights[n] / free) for n in weights if n not in left}
    total = sum(left.values())
    goal = int(path.stem.rpartition("-")[2].removesuffix("x"))
    if chosen.weight_bits == 8:
        assert network.weights / total == pytest.approx(goal, rel=0.01)
    else:  # the paper counts 32 bits a weight before
        bits = sum(count * targets[name].weight_bits for name, count in left.items())
        assert 32 * network.weights / bits >= 0.99 * goal


@pytest.mark.parametrize(
    ("name", "ratio", "bits"),
    [
        ("resnet20-cifar10", 10, 4),
        ("resnet20-cifar10-60x", 14.6, 3),
        ("resnet20-cifar10-teacher", 10, 4),
    ],
)
def test_a_resnet20_recipe_fits_its_network(name: str, ratio: float, bits: int) -> None:
    config = read_config(FOLDER / f"{name}.yaml")
    chosen = settings.override(settings.preset(config.preset), config.compress, name)
    chosen = replace(chosen, compiled=False)  # which would ask for a compiler
    network = compression.to_network(zoo.build(config.model), chosen, zoo.entry(config.model).shape)
    assert (config.data, chosen.pruning_ratio, chosen.weight_bits) == ("cifar10", ratio, bits)
    assert network.weights == 268_336
    assert len(network.norms) == 19
