"""Feature maps between the solved layers and the others, of all calibration images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pyadmm.compression.post_training.prior import (
    averages_whole_map,
    places_within,
    within_images,
)
from pyadmm.model import INPUT
from pyadmm.network.graph import Network
from pyadmm.network.layers import Coded
from pyadmm.network.steps import Step

_BATCH_VALUES = 1 << 22
"""Values of the largest map that go through a step at once."""
_HALF_FROM = 1 << 24
"""Dense maps with more values are kept in 16 bits."""


class Frontier:
    """Maps of the dense and of the compressed network that later steps still read.

    Codes are kept as whole numbers of 8 or 16 bits.

    :param images: bytes ``(N, C, H, W)``.
    """

    def __init__(self, network: Network, images: Tensor) -> None:
        codes = network.encode(images)
        self.scale = network.input.format.scale
        self.dense: dict[str, Tensor] = {INPUT: _narrow(codes)}
        self.codes: dict[str, tuple[Tensor, float]] = {INPUT: (_narrow(codes), self.scale)}
        self.sources = network.sources
        chain = [step.name for step in network.chain]
        self.last_use = {s: name for name in chain for s in self.sources[name]}
        self.count = len(images)
        self.within: dict[str, Tensor] = {}
        """Covariance within the maps, for each step that averages whole maps."""

    def batches(self, name: str) -> Iterator[slice]:
        """Batches of the images for step ``name``; each begins at an even index."""
        largest = max(self.codes[s][0][0].numel() for s in self.sources[name])
        size = 2 * max(1, min(self.count, _BATCH_VALUES // largest) // 2)
        for start in range(0, self.count, size):
            yield slice(start, min(start + size, self.count))

    def dense_inputs(self, name: str, part: slice) -> list[Tensor]:
        """Real inputs of a step of the dense network."""
        return [self._dense(source, part) for source in self.sources[name]]

    def _dense(self, source: str, part: slice) -> Tensor:
        found = self.dense[source][part].float()
        return found * self.scale if source == INPUT else found

    def coded_inputs(self, name: str, part: slice) -> list[Coded]:
        """Codes that a step of the compressed network reads, and their scales."""
        found = [self.codes[source] for source in self.sources[name]]
        return [(codes[part].float(), torch.tensor(scale)) for codes, scale in found]

    def real_inputs(self, name: str, part: slice) -> list[Tensor]:
        """The same as real numbers."""
        return [codes * scale for codes, scale in self.coded_inputs(name, part)]

    @torch.no_grad()
    def advance(self, dense: Step, compressed: Step) -> None:
        """Add the outputs of a step, and drop the maps that no other step reads."""
        name = compressed.name
        made: list[Tensor] = []
        codes: list[Tensor] = []
        scale = 1.0
        for part in self.batches(name):
            self._see_within(compressed, part)
            made.append(_kept(dense(*self.dense_inputs(name, part)), self.count))
            found, step = compressed.forward_codes(*self.coded_inputs(name, part))
            codes.append(found.to(torch.int16))
            scale = float(step)
        self.dense[name] = torch.cat(made)
        self.codes[name] = _narrow(torch.cat(codes)), scale
        for source in self.sources[name]:
            if self.last_use[source] == name:
                self.dense.pop(source, None)
                self.codes.pop(source, None)

    def _see_within(self, step: Step, part: slice) -> None:
        size = self.codes[self.sources[step.name][0]][0].shape[2:]
        if averages_whole_map(step, size):
            x = self.real_inputs(step.name, part)[0]
            places = places_within(x.shape[1], size.numel(), self.count)
            known = self.within.get(step.name, x.new_zeros(()))
            self.within[step.name] = known + within_images(x, places)


def _kept(values: Tensor, count: int) -> Tensor:
    """Real maps in the type in which they are kept: 16 bits where they are large."""
    return values.half() if values[0].numel() * count >= _HALF_FROM else values


def _narrow(codes: Tensor) -> Tensor:
    """Whole numbers in the narrowest type that holds them."""
    low, high = int(codes.min()), int(codes.max())
    for kind in (torch.uint8, torch.int8):
        if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max:
            return codes.to(kind)
    return codes.to(torch.int16)
