"""Settings of compression without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyadmm.core.errors import PyadmmError

METHODS = ("admm", "magnitude", "greedy")


@dataclass(frozen=True)
class PostTraining:
    """Settings of a compression without training.

    :param sparsity: share of all weights that becomes 0.
    :param weight_bits: bits of the levels of all layers, 2 to 8.
    :param activation_bits: bits of the outputs of all layers, 2 to 8.
    :param method: ``admm``; ``magnitude`` and ``greedy`` are for comparison.
    :param damping: share of a layer's mean input variance that holds weights where they were; by
        default chosen for each layer by cross validation over the images.
    :param views: versions of every calibration image that layers are solved with: itself, and
        mirrored, cropped or moved ones. By default up to four of large pictures, fewer of many.
    :param most_sparse: largest share of zeros of a layer.
    :param break_even: least pruning ratio, by layer, from which on a sparse kernel is faster; a
        layer is dense or has at least this ratio.
    :param seed: seed of the sampled positions.
    """

    sparsity: float = 0.0
    weight_bits: int = 8
    activation_bits: int = 8
    method: str = "admm"
    damping: float | None = None
    views: int | None = None
    most_sparse: float = 0.97
    break_even: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 0.99:
            raise PyadmmError(
                f"post-training: sparsity must be from 0 to 0.99, not {self.sparsity}"
            )
        for what, bits in (("weight", self.weight_bits), ("activation", self.activation_bits)):
            if not 2 <= bits <= 8:
                raise PyadmmError(f"post-training: {what} bits must be 2 to 8, not {bits}")
        if self.method not in METHODS:
            raise PyadmmError(
                f"post-training: method must be {', '.join(METHODS)}, not {self.method!r}"
            )
        if self.damping is not None and not self.damping > 0:
            raise PyadmmError(f"post-training: damping must be above 0, not {self.damping}")
        if self.views is not None and self.views < 1:
            raise PyadmmError(f"post-training: views must be at least 1, not {self.views}")
