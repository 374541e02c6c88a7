"""The preset ``quick`` on networks that it was not made for: what is chosen, and what is left alone."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pyadmm import zoo
from pyadmm.compression.adaptation import adapted, choose_ratio
from pyadmm.compression.pipeline import compress, to_adapted
from pyadmm.core.errors import PyadmmError
from pyadmm.settings import CompressSettings, from_dict, preset
from pyadmm.training.data import Data, Images

SHAPE = (1, 12, 12)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 3)),
    )


def bars(count: int) -> tuple[Tensor, Tensor]:
    """Images with a bright third: which one it is, is the class."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 90, (count, *SHAPE), generator=generator)
    labels = torch.arange(count) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4 * label : 4 * label + 4] += 150
    return images.to(torch.uint8), labels


def trained() -> nn.Module:
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    images, labels = bars(240)
    for _ in range(12):
        for x, y in zip(images.split(48), labels.split(48), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x / 255), y).backward()
            optimizer.step()
    return model.eval()


def data() -> Data:
    return Data(*(Images(*bars(count)) for count in (240, 120)))


def test_lenet5_keeps_the_preset() -> None:
    network, settings = to_adapted(zoo.entry("lenet5").build(), preset("quick"), (1, 28, 28))
    assert settings == replace(preset("quick"), adapt=())
    assert next(iter(network.layers.values())).facts.weight_bits == 3


def test_another_network_keeps_its_channels_and_gets_finer_levels() -> None:
    network, settings = to_adapted(small(), preset("quick"), SHAPE)
    assert (settings.filters_kept, settings.neurons_kept) == (1.0, 1.0)
    assert (settings.weight_bits, settings.activation_bits) == (6, 8)
    assert settings.admm.lr < preset("quick").admm.lr
    assert settings.adapt == ("pruning_ratio", "training")
    assert {layer.facts.weight_bits for layer in network.layers.values()} == {6}


@pytest.mark.parametrize(
    "values",
    [
        {"pruning_ratio": 7.0},
        {"filters_kept": 0.7},
        {"neurons_kept": 0.7},
        {"weight_bits": 2},
        {"activation_bits": 5},
        {"admm": {"lr": 0.1}},
        {"quantize": {"lr": 0.1}},
        {"distill": {"weight": 0.2}},
    ],
    ids=str,
)
def test_what_the_user_says_is_not_changed(values: dict[str, object]) -> None:
    said = from_dict(values)
    _, settings = to_adapted(small(), said, SHAPE)
    (name,) = values
    assert getattr(settings, name) == getattr(said, name)
    assert said.adapt != preset("quick").adapt
    if name in ("admm", "quantize", "distill"):
        assert settings.admm == said.admm
        assert settings.quantize == said.quantize
    if name == "pruning_ratio":
        assert (
            choose_ratio(to_adapted(small(), said, SHAPE)[0], settings, data(), None).trials == ()
        )


def test_other_presets_leave_nothing_to_be_chosen() -> None:
    settings = preset("standard")
    network, _ = to_adapted(small(), replace(settings, pruning_ratio=4.0), SHAPE)
    assert adapted(settings, network) is settings


def test_an_unknown_field_to_adapt_is_refused() -> None:
    with pytest.raises(PyadmmError, match="adapt must be some of pruning_ratio, .*, not 'bits'"):
        CompressSettings(adapt=("bits",))


@pytest.mark.slow
def test_trials_choose_a_ratio_and_the_accuracy_stays() -> None:
    model, read = trained(), data()
    phase = {"lr": 5e-3, "batch_size": 24}
    values = {"continuous": {"epochs": 8}, "admm": phase, "quantize": {"epochs": 8, **phase}}
    network, settings = to_adapted(model, from_dict(values), SHAPE)
    chosen = choose_ratio(network, settings, read, None)
    first, *others = chosen.trials
    assert first[0] == 1.0
    kept = [ratio for ratio, accuracy in others if accuracy >= first[1] - 0.031]
    assert chosen.settings.pruning_ratio == max([1.0, *kept])
    assert chosen.settings.adapt == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # that accuracy is lost
        compressed = compress(model, chosen.settings, read.train, read.validation)
    assert compressed.pruning_ratio >= 0.98 * chosen.settings.pruning_ratio


def test_few_images_are_trained_in_small_batches_and_more_epochs() -> None:
    few = Data(*(Images(*bars(count)) for count in (60, 12)))
    network, settings = to_adapted(small(), from_dict({"pruning_ratio": 2.0}), SHAPE)
    found = choose_ratio(network, settings, few, None).settings
    assert (found.admm.batch_size, found.quantize.batch_size) == (16, 16)
    assert found.continuous.epochs == found.quantize.epochs == 100  # 400 steps, 4 in an epoch
