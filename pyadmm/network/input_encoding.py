"""Encoding of byte images as the integers that a network reads."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pyadmm.core.errors import PyadmmError
from pyadmm.model import INPUT, InputSpec
from pyadmm.model.types import QFormat
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.settings import (
    InputSettings,
)


def input_spec(
    settings: InputSettings, shape: tuple[int, int, int], *, signed: bool = False
) -> InputSpec:
    """Encoding of bytes as input integers; the network reads ``integer * format.scale``.

    :param signed: whether they are of type int8, as what ``settings`` says of them is.

    >>> input_spec(InputSettings(bits=4), (1, 28, 28)).format
    QFormat(bits=4, signed=False, scale=0.06666666666666667)
    >>> input_spec(InputSettings(bits=8, offset=(128,)), (1, 28, 28)).format.bits
    8
    >>> input_spec(InputSettings(bits=8), (1, 28, 28), signed=True).format.lo
    -128
    """
    shift = 8 - settings.bits
    offset, scale = settings.offset, settings.scale
    if settings.mean:
        _require_channels(settings, shape)
        offset = tuple(round(255 * mean) for mean in settings.mean)
        scale = len(settings.std) / sum(settings.std)
    if any(offset) or signed:
        least, most = (-128, 127) if signed else (0, 255)
        lowest, highest = (least - max(offset)) >> shift, (most - min(offset)) >> shift
        bits = max((-lowest - 1).bit_length(), highest.bit_length()) + 1
        form = QFormat(bits, True, scale * 2**shift / 255)
    else:
        form = QFormat(settings.bits, False, scale / (2**settings.bits - 1))
    return InputSpec(shape, form, offset, shift, signed)


def _require_channels(settings: InputSettings, shape: tuple[int, int, int]) -> None:
    if len(settings.mean) != shape[0]:
        raise PyadmmError(
            f"settings, input: mean and std have {len(settings.mean)} values, but images have "
            f"{shape[0]} channels; give one value per channel"
        )


def channel_gain(settings: InputSettings) -> Tensor:
    """The part of the normalisation that differs between channels, ``(C, 1, 1)``."""
    std = torch.tensor(settings.std or (1.0,))
    return (std.reciprocal() * std.mean()).reshape(-1, 1, 1)


@torch.no_grad()
def merge_normalisation(network: Network, settings: InputSettings) -> None:
    """Multiply the weights that read the input by what :func:`channel_gain` leaves to do."""
    if len(set(settings.std)) <= 1:
        return
    for step in network.chain:
        if INPUT not in network.sources[step.name]:
            continue
        if not isinstance(step, WeightedStep) or step.facts.spec.groups > 1:
            raise PyadmmError(
                f"layer {step.name}: reads the input, so it must be a layer without groups to take "
                f"up a std per channel, {settings.std}; use equal values"
            )
        gain = channel_gain(settings)[..., 0].to(step.weight.device)
        scaled = step.as_windows(step.weight) * gain
        step.weight.copy_(scaled.reshape(step.weight.shape))


_LARGEST_INPUT = 4.0
"""Real inputs above this, such as pixels of 0 to 255, make weights too small to train well."""


@torch.no_grad()
def condition_input(network: Network) -> None:
    """Move the scale of large inputs into the weights that read them, in place.

    The network computes the same. Adam's steps have the same size for small and large weights, so with
    pixels of 0 to 255, whose weights are small, a usual learning rate would destroy the first layer.
    """
    form = network.input.format
    largest = form.scale * form.max_magnitude
    readers = [step for step in network.chain if INPUT in network.sources[step.name]]
    if largest <= _LARGEST_INPUT or not all(isinstance(step, WeightedStep) for step in readers):
        return
    for step in readers:
        assert isinstance(step, WeightedStep)
        step.weight.mul_(largest)
    network.input = replace(network.input, format=replace(form, scale=form.scale / largest))
