"""``pyadmm compare MODEL.admm``: the sparse design against all-dense designs.

The same network is mapped three times on the same LUTs: as the search maps it (zeros cost no cycle), with
dense kernels on its original shapes (every zero is stored and multiplied), and with dense kernels
on its compact shapes (what is left when only inactive channels are removed). A dense design is the
fastest that the search finds with the LUTs of the sparse one; flip-flops, DSP blocks and block RAM
it may use as far as the board allows. The cycles of all three come from one source: the schedule
(*modelled*), or simulation of all three on the same images, bit for bit (*cosim*).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.cosim import simulate
from pyadmm.hardware.boards import Board
from pyadmm.hardware.design_space import CHIP_SHARE, Choice, search
from pyadmm.hardware.lowering import hardware_form
from pyadmm.model import CompressedModel
from pyadmm.model.types import Resources

Basis = Literal["modelled", "cosim"]


@dataclass(frozen=True)
class ComparedDesign:
    """One design of a network and its cycles.

    :param name: ``sparse``, ``dense`` or ``dense, compact``.
    :param kernels: per layer, what it was mapped to, in words.
    :param resources: modelled, as in the search.
    :param interval_cycles: between two images, mean.
    :param latency_cycles: of the first image.
    :param busy_cycles: per layer, cycles per image in which its engines work; modelled, between two
        images.
    """

    name: str
    kernels: dict[str, str]
    resources: Resources
    interval_cycles: float
    latency_cycles: int
    busy_cycles: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Sparse against dense on the same area; cycles are counted, resources modelled.

    :param dense: on the network's own shapes; ``dense_compact`` without its inactive channels.
    :param images: how many were simulated, with equal logits everywhere; 0 where cycles are
        modelled.
    """

    model: str
    board: str
    images: int
    basis: Basis
    sparse: ComparedDesign
    dense: ComparedDesign
    dense_compact: ComparedDesign

    @property
    def designs(self) -> tuple[ComparedDesign, ...]:
        """The three designs: sparse, dense, and dense with compact shapes."""
        return self.sparse, self.dense, self.dense_compact

    def speedup(self, dense: ComparedDesign | None = None) -> float:
        """Images per second of the sparse design over those of ``dense`` at the same clock."""
        return (dense or self.dense).interval_cycles / self.sparse.interval_cycles

    def latency_speedup(self, dense: ComparedDesign | None = None) -> float:
        """Latency of ``dense`` over that of the sparse design."""
        return (dense or self.dense).latency_cycles / self.sparse.latency_cycles

    def layer_speedups(self, dense: ComparedDesign | None = None) -> dict[str, float]:
        """Per layer, busy cycles of ``dense`` over those of the sparse design."""
        other = (dense or self.dense).busy_cycles
        return {name: other[name] / busy for name, busy in self.sparse.busy_cycles.items()}

    def facts(self) -> dict[str, Any]:
        """All figures as plain data."""
        speedups = {
            design.name: {
                "interval": self.speedup(design),
                "latency": self.latency_speedup(design),
                "layers": self.layer_speedups(design),
            }
            for design in self.designs[1:]
        }
        return {**asdict(self), "speedups": speedups}

    def table(self) -> str:
        """The figures as text."""
        how = f"{self.images} images simulated, all logits equal"
        lines = [f"{self.model} on {self.board}: {how if self.images else 'cycles modelled'}"]
        for design in self.designs:
            use = design.resources
            lines.append(
                f"{design.name}: {design.interval_cycles:,.0f} cycles per image, latency "
                f"{design.latency_cycles:,}; modelled LUT {use.lut:,.0f}, FF {use.ff:,.0f}, "
                f"DSP {use.dsp:,.0f}, BRAM18 {use.bram18:,.0f}"
            )
            for name, kernel in design.kernels.items():
                lines.append(f"  {name}: {kernel}, busy {design.busy_cycles[name]:,.0f} cycles")
        for design in self.designs[1:]:
            layers = self.layer_speedups(design).items()
            lines.append(
                f"sparse over {design.name}: {self.speedup(design):.1f}x images per second, "
                f"{self.latency_speedup(design):.1f}x latency; busy cycles "
                + ", ".join(f"{name} {ratio:.1f}x" for name, ratio in layers)
            )
        return "\n".join(lines)


def compare(
    model: CompressedModel,
    board: Board,
    images: NDArray[np.uint8] | None = None,
    *,
    chosen: Choice | None = None,
    share: float = CHIP_SHARE,
) -> Comparison:
    """Compare ``model`` on its sparse and on its dense designs.

    :param images: uint8 ``(N, C, H, W)``, at least 2, to count cycles by simulation; ``None``: they
        are modelled.
    :param chosen: the kernels of its compact shapes; ``None``: the search's.
    :param share: of the chip that the sparse design may take.
    :raises PyadmmError: where a design does not fit, or where a simulated logit is wrong.
    """
    if images is not None and len(images) < 2:
        raise PyadmmError(f"comparison: an interval needs at least 2 images, not {len(images)}")
    small = hardware_form(model)
    chosen = search(small, board, share).best if chosen is None else chosen
    budget = replace(board.resources.scaled(share), lut=chosen.resources.lut)
    mapped = (
        ("sparse", small, chosen),
        ("dense", model, search(model, board, family="dense", budget=budget).best),
        ("dense, compact", small, search(small, board, family="dense", budget=budget).best),
    )
    if images is None:
        designs = [_modelled(name, choice) for name, _, choice in mapped]
    else:
        bench = _Bench(board, images, model.run(images))
        designs = [bench.measure(*design) for design in mapped]
    if images is None:
        return Comparison(model.name, board.name, 0, "modelled", *designs)
    return Comparison(model.name, board.name, len(images), "cosim", *designs)


def _modelled(name: str, choice: Choice) -> ComparedDesign:
    busy = {layer: float(kernel.cycles) for layer, kernel in choice.kernels.items()}
    return _design(name, choice, choice.interval, choice.latency, busy)


def _design(
    name: str, choice: Choice, interval: float, latency: int, busy: dict[str, float]
) -> ComparedDesign:
    kernels = {
        layer: f"{c.family} {c.tile_rows} rows x {c.groups} groups ({c.dsp_groups} in DSP blocks)"
        for layer, c in choice.configs.items()
    }
    return ComparedDesign(name, kernels, choice.resources, interval, latency, busy)


@dataclass(frozen=True)
class _Bench:
    """Board, images and expected logits on which all designs are simulated."""

    board: Board
    images: NDArray[np.uint8]
    golden: NDArray[np.int64]

    def measure(self, name: str, model: CompressedModel, choice: Choice) -> ComparedDesign:
        """The counted cycles of one design; raises where a logit is wrong."""
        result = simulate(model, self.board, choice.configs, self.images)
        wrong = int((result.logits != self.golden).any(1).sum())
        if wrong or result.interval_cycles is None:
            raise PyadmmError(
                f"comparison: {wrong} of {len(self.images)} images have other logits on the "
                f"{name} design than in the integer model; this is a defect of pyadmm: please "
                "report it"
            )
        return _design(
            name, choice, result.interval_cycles, result.latency_cycles, result.busy_cycles
        )
